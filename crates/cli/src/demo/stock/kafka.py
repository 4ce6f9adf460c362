# SPDX-License-Identifier: MIT OR Apache-2.0
# Kafka by confluent-kafka, as a super user.

import time

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

PARTITIONS = 3


class Broker:
    def __init__(self, home, prefix):
        self.prefix, self.topics, self.groups = prefix, [], [f"{prefix}.redrive"]
        clients = f"{home}/clients/admin"
        self.login = {
            "bootstrap.servers": endpoint(home, "scram").removeprefix("kafka://"),
            "security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
            "sasl.username": "admin", "sasl.password": read(clients, "password"),
            "ssl.ca.location": f"{clients}/ca.pem",
        }
        self.admin = AdminClient(self.login)
        self.admin.list_topics(timeout=10)
        # As a Java client spreads keys over partitions.
        self.producer = Producer(self.login | {"acks": "all", "partitioner": "murmur2_random"})

    def name(self, stream):
        return f"{self.prefix}.{stream}"

    def make(self, streams):
        config = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete",
                  "retention.ms": "604800000", "retention.bytes": "-1"}
        self.groups += {f"{self.prefix}.{group}" for groups in streams.values() for group in groups}
        topics = [NewTopic(self.name(stream), PARTITIONS, 1, config=config) for stream in streams]
        for topic, made in self.admin.create_topics(topics).items():
            made.result(30)
            self.topics.append(topic)
        # Made is not yet known everywhere.
        while any(topic not in self.admin.list_topics(timeout=10).topics for topic in self.topics):
            time.sleep(0.1)

    def remove(self):
        topics = self.admin.delete_topics(self.topics) if self.topics else {}
        # A group that nobody ever joined is not there.
        groups = self.admin.delete_consumer_groups(self.groups, request_timeout=10)
        return [(name, lambda gone=gone: gone.result(30)) for name, gone in topics.items()] + [
            (name, lambda gone=gone: gone.exception(30)) for name, gone in groups.items()]

    def append(self, stream, fields, key, body):
        self.produce(stream, fields, key, body)
        self.flush()

    def produce(self, stream, headers, key, body):
        def told(error, _):
            if error:
                self.failed = error
        self.failed = None
        self.producer.produce(
            self.name(stream), body, key, headers=headers or [], on_delivery=told)

    def flush(self):
        if self.producer.flush(20) or self.failed:
            raise RuntimeError(f"not appended: {self.failed}")

    def consumer(self, group):
        return Consumer(self.login | {
            "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"})

    # Kafka has no dead letters of its own: an operator's tool takes the group's place for a moment.
    def dead_letter(self, stream, group, max):
        consumer, dead = self.consumer(f"{self.prefix}.{group}"), 0
        consumer.subscribe([self.name(stream)])
        while dead < max and (message := consumer.poll(20)):
            if message.error():
                raise RuntimeError(str(message.error()))
            self.produce(f"{stream}.dlq", message.headers(), message.key(), message.value())
            self.flush()
            consumer.commit(message, asynchronous=False)
            dead += 1
        consumer.close()
        return dead

    def redrive(self, stream):
        consumer, driven = self.consumer(f"{self.prefix}.redrive"), 0
        dlq = self.name(f"{stream}.dlq")
        for partition in range(PARTITIONS):
            low, high = consumer.get_watermark_offsets(TopicPartition(dlq, partition), timeout=10)
            consumer.assign([TopicPartition(dlq, partition, low)])
            for _ in range(low, high):
                message = consumer.poll(20)
                self.produce(stream, message.headers(), message.key(), message.value())
                driven += 1
        self.flush()
        consumer.close()
        return driven
