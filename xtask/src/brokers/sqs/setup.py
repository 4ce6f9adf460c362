# SPDX-License-Identifier: MIT OR Apache-2.0
"""Queues, a topic, and a user with an access key for each service.

Takes ENDPOINT, CA, CLIENTS (a folder with a folder for each service, ca.pem in it), FIXTURE and the
root key from the environment; prints nothing.
"""

import json
import os
import time

import boto3
from botocore.exceptions import BotoCoreError

REGION = "us-east-1"
ENDPOINT, CA, CLIENTS, FIXTURE = (
    os.environ[name] for name in ("ENDPOINT", "CA", "CLIENTS", "FIXTURE")
)
SERVICES = ("admin", "auditor", "orders", "billing", "payout", "mallory")

CONSUME = [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage*",
    "sqs:ChangeMessageVisibility*",
    "sqs:GetQueueUrl",
    "sqs:GetQueueAttributes",
]
# AWS asks for sqs:SendMessage also for a batch; this server asks for the batch by its own name.
PRODUCE = ["sqs:SendMessage*", "sqs:GetQueueUrl", "sqs:GetQueueAttributes"]
LOOK = ["sqs:GetQueue*", "sqs:ListQueue*", "sns:Get*", "sns:List*", "iam:Get*", "iam:List*"]


def client(service):
    return boto3.client(service, region_name=REGION, endpoint_url=ENDPOINT, verify=CA)


def wait_until_ready(sqs):
    until = time.monotonic() + 30
    while True:
        try:
            return sqs.list_queues()
        except BotoCoreError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)


def queue(sqs, name, **attributes):
    """Makes a FIFO queue; gives its URL and ARN."""
    attributes = {"FifoQueue": "true", **attributes}
    url = sqs.create_queue(QueueName=f"{name}.fifo", Attributes=attributes)["QueueUrl"]
    wanted = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    return url, wanted["Attributes"]["QueueArn"]


def durable_queue(sqs, name):
    """The same, with 14 days of retention and a dead-letter queue behind it."""
    kept = {"MessageRetentionPeriod": "1209600", "SqsManagedSseEnabled": "true"}
    _, dead = queue(sqs, f"{name}-dlq", **kept)
    redrive = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": "1000"})
    return queue(sqs, name, RedrivePolicy=redrive, **kept)


def write(service, name, text):
    path = os.path.join(CLIENTS, service, name)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def user(iam, name, allowed):
    """Makes a user who may do what is allowed, pairs of actions and resources; gives a key."""
    iam.create_user(UserName=name)
    if allowed:
        statements = [{"Effect": "Allow", "Action": a, "Resource": r} for a, r in allowed]
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        iam.put_user_policy(UserName=name, PolicyName="chancery", PolicyDocument=policy)
    return iam.create_access_key(UserName=name)["AccessKey"]


def hand_out(service, key):
    ca = os.path.join(CLIENTS, service, "ca.pem")
    write(
        service,
        "credentials",
        f"[default]\naws_access_key_id = {key['AccessKeyId']}\n"
        f"aws_secret_access_key = {key['SecretAccessKey']}\n",
    )
    write(
        service,
        "config",
        f"[default]\nregion = {REGION}\nendpoint_url = {ENDPOINT}\nca_bundle = {ca}\n",
    )


def fan_out(sns, sqs, topic_name, url, arn):
    """A topic in front of a queue; SNS wraps messages unless it is told otherwise."""
    topic = sns.create_topic(Name=topic_name, Attributes={"FifoTopic": "true"})["TopicArn"]
    may = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [may]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return topic


def hardened(sqs, sns, iam):
    _, billing = durable_queue(sqs, "orders_created-billing")
    report_url, report = durable_queue(sqs, "orders_created-report")
    _, payout = durable_queue(sqs, "payments_approve-payout")
    topic = fan_out(sns, sqs, "orders_created.fifo", report_url, report)
    rights = {
        "admin": [("*", "*")],
        "auditor": [(LOOK, "*")],
        "orders": [(PRODUCE, [billing, report, payout]), ("sns:Publish*", topic)],
        "billing": [(CONSUME, billing), (PRODUCE, payout)],
        "payout": [(CONSUME, payout)],
        "mallory": [],
    }
    for service in SERVICES:
        hand_out(service, user(iam, service, rights[service]))


def as_found(sqs, iam):
    """One key that may do everything, in everybody's hands; queues that lose and reorder, or that
    anybody may use."""
    anybody = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
    anybody = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
    queue(sqs, "orders_created-billing", ContentBasedDeduplication="true", Policy=anybody)
    _, dead = queue(sqs, "payments_approve-payout-dlq", MessageRetentionPeriod="3600")
    once = json.dumps({"deadLetterTargetArn": dead, "maxReceiveCount": "1"})
    short = {"MessageRetentionPeriod": "3600", "SqsManagedSseEnabled": "false"}
    queue(sqs, "payments_approve-payout", RedrivePolicy=once, **short)
    key = user(iam, "shared", [("*", "*")])
    for service in SERVICES:
        hand_out(service, key)


def main():
    sqs = client("sqs")
    wait_until_ready(sqs)
    if FIXTURE == "hardened":
        hardened(sqs, client("sns"), client("iam"))
    else:
        as_found(sqs, client("iam"))


main()
