# SPDX-License-Identifier: MIT OR Apache-2.0
# SQS by boto3, with an admin's access key. A stream is a FIFO queue for each group that reads it.

import base64
import json
import os
import uuid


class Broker:
    def __init__(self, home, prefix):
        clients = f"{home}/clients/admin"
        os.environ["AWS_CONFIG_FILE"] = f"{clients}/config"
        os.environ["AWS_SHARED_CREDENTIALS_FILE"] = f"{clients}/credentials"
        import boto3
        self.prefix, self.queues, self.dead = prefix, {}, {}
        self.sqs = boto3.client(
            "sqs", endpoint_url=endpoint(home, "sqs"), verify=f"{clients}/ca.pem")

    def create(self, name, more):
        attributes = {"FifoQueue": "true", "MessageRetentionPeriod": "604800"} | more
        name = f"{self.prefix}-{name}.fifo"
        url = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
        return url, arn["Attributes"]["QueueArn"]

    def make(self, streams):
        for stream, groups in streams.items():
            name = stream.replace(".", "_")
            if not groups:
                continue
            self.dead[stream], arn = self.create(f"{name}-dlq", {})
            policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": "1000"})
            more = {"RedrivePolicy": policy, "VisibilityTimeout": "5"}
            self.queues[stream] = {
                group: self.create(f"{name}-{group}", more)[0] for group in groups}

    def remove(self):
        urls = [url for queues in self.queues.values() for url in queues.values()]
        return [(url, lambda url=url: self.sqs.delete_queue(QueueUrl=url))
                for url in (*urls, *self.dead.values())]

    def urls(self, stream):
        if stream.endswith(".dlq"):
            return [self.dead[stream.removesuffix(".dlq")]]
        return self.queues[stream].values()

    # An attacker writes messages as readers take them apart: header and signature in one attribute.
    def append(self, stream, fields, key, body):
        values = {name: value.decode() for name, value in fields}
        if "chancery" in values and "chancery-sig" in values:
            values["chancery"] += "~" + values.pop("chancery-sig")
        try:
            text = body.decode()
        except UnicodeDecodeError:
            values["te"], text = "b64", base64.b64encode(body).decode()
        attributes = {
            name: {"DataType": "String", "StringValue": value} for name, value in values.items()}
        for url in self.urls(stream):
            self.send(url, text, attributes, key.decode() if key else str(uuid.uuid4()))

    def send(self, url, text, attributes, group):
        self.sqs.send_message(
            QueueUrl=url, MessageBody=text, MessageAttributes=attributes, MessageGroupId=group,
            MessageDeduplicationId=str(uuid.uuid4()))

    def taken(self, url, wait):
        answer = self.sqs.receive_message(
            QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=wait, VisibilityTimeout=30,
            MessageAttributeNames=["All"], AttributeNames=["MessageGroupId"])
        return answer.get("Messages", [])

    def move(self, messages, source, targets):
        for message in messages:
            for url in targets:
                self.send(url, message["Body"], message.get("MessageAttributes", {}),
                          message["Attributes"]["MessageGroupId"])
            self.sqs.delete_message(QueueUrl=source, ReceiptHandle=message["ReceiptHandle"])
        return len(messages)

    def dead_letter(self, stream, group, max):
        url, dead = self.queues[stream][group], 0
        while dead < max and (messages := self.taken(url, 10)):
            dead += self.move(messages[:max - dead], url, [self.dead[stream]])
        return dead

    # To every group: whoever was the first to give a message up, the others may have handled it.
    def redrive(self, stream):
        url, driven = self.dead[stream], 0
        while messages := self.taken(url, 2):
            driven += self.move(messages, url, self.queues[stream].values())
        return driven
