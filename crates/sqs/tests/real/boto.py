# SPDX-License-Identifier: MIT OR Apache-2.0
"""Does one thing that standard input asks for, and prints what came of it, both as JSON."""

import base64
import json
import os
import sys

import boto3
from botocore.config import Config

ASK = json.load(sys.stdin)


def client(service):
    return boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=os.environ["ENDPOINT"],
        verify=os.environ["CA"],
        # A session that lasts a second is wanted here, and AWS's own least is 15 minutes.
        config=Config(parameter_validation=False),
    )


def attributes(given):
    def value(kind, text):
        if kind.startswith("Binary"):
            return {"DataType": kind, "BinaryValue": base64.b64decode(text)}
        return {"DataType": kind, "StringValue": text}

    return {name: value(kind, text) for name, (kind, text) in given.items()}


def send(queue, messages):
    sqs = client("sqs")
    url = sqs.get_queue_url(QueueName=queue)["QueueUrl"]
    return [
        sqs.send_message(
            QueueUrl=url,
            MessageBody=message["body"],
            MessageAttributes=attributes(message.get("attributes", {})),
            MessageGroupId=message["group"],
            MessageDeduplicationId=message["id"],
        )["MessageId"]
        for message in messages
    ]


def publish(topic, message):
    sent = client("sns").publish(
        TopicArn=f"arn:aws:sns:us-east-1:000000000000:{topic}",
        Message=message["body"],
        MessageAttributes=attributes(message["attributes"]),
        MessageGroupId=message["group"],
        MessageDeduplicationId=message["id"],
    )
    return sent["MessageId"]


def session(seconds):
    keys = client("sts").get_session_token(DurationSeconds=seconds)["Credentials"]
    return {name: keys[name] for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")}


def blind(queue):
    """A user who may find and take messages, and may not see what the queue is set to."""
    iam = client("iam")
    name = f"blind-{os.getpid()}"
    iam.create_user(UserName=name)
    actions = ["sqs:GetQueueUrl", "sqs:ReceiveMessage"]
    allow = {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:sqs:*:*:{queue}"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName=name, PolicyName="blind", PolicyDocument=policy)
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return {name: key[name] for name in ("AccessKeyId", "SecretAccessKey")}


def main():
    if "session" in ASK:
        return session(ASK["session"])
    if "blind" in ASK:
        return blind(ASK["blind"])
    if "topic" in ASK:
        return publish(ASK["topic"], ASK["message"])
    return send(ASK["queue"], ASK["messages"])


print(json.dumps(main()))
