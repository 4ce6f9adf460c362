# SPDX-License-Identifier: MIT OR Apache-2.0
# RabbitMQ by pika, as the admin of the virtual host. Dead letters are the broker's own: a queue's
# dead-letter exchange.

import ssl
from urllib.parse import unquote, urlsplit

import pika


class Broker:
    def __init__(self, home, prefix):
        self.prefix, self.exchanges, self.queues = prefix, [], []
        clients = f"{home}/clients/admin"
        at = urlsplit(read(clients, "uri"))
        tls = ssl.create_default_context(cafile=f"{clients}/ca.pem")
        # Nobody speaks while nobody asks anything: no heartbeats.
        self.connection = pika.BlockingConnection(pika.ConnectionParameters(
            host=at.hostname, port=at.port, virtual_host=unquote(at.path[1:]), heartbeat=0,
            credentials=pika.PlainCredentials(unquote(at.username), unquote(at.password)),
            ssl_options=pika.SSLOptions(tls, at.hostname)))
        self.channel = self.connection.channel()
        self.channel.confirm_delivery()

    def name(self, *parts):
        return ".".join((self.prefix, *parts))

    def make(self, streams):
        for stream in streams:
            self.channel.exchange_declare(self.name(stream), "topic", durable=True)
            self.exchanges.append(self.name(stream))
        for stream, groups in streams.items():
            for group in groups or [None]:
                queue = self.name(stream, group) if group else self.name(stream)
                arguments = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
                if group:
                    arguments |= {"x-single-active-consumer": True,
                                  "x-dead-letter-strategy": "at-least-once",
                                  "x-dead-letter-exchange": self.name(f"{stream}.dlq")}
                self.channel.queue_declare(queue, durable=True, arguments=arguments)
                self.channel.queue_bind(queue, self.name(stream), "#")
                self.queues.append(queue)

    def remove(self):
        queues = [(name, lambda name=name: self.channel.queue_delete(name))
                  for name in self.queues]
        return queues + [(name, lambda name=name: self.channel.exchange_delete(name))
                         for name in self.exchanges]

    def append(self, stream, fields, key, body):
        headers = {name: value.decode() for name, value in fields}
        self.publish(stream, "" if key is None else key.decode(), headers, body)

    def publish(self, stream, routing_key, headers, body):
        properties = pika.BasicProperties(headers=headers, delivery_mode=2)
        self.channel.basic_publish(
            self.name(stream), routing_key, body, properties, mandatory=True)

    def dead_letter(self, stream, group, max):
        dead = 0
        channel = self.connection.channel()
        channel.basic_qos(prefetch_count=max)
        for method, _, _ in channel.consume(self.name(stream, group), inactivity_timeout=10):
            if method is None:
                break
            channel.basic_nack(method.delivery_tag, requeue=False)
            dead += 1
            if dead == max:
                break
        channel.cancel()
        channel.close()
        return dead

    def redrive(self, stream):
        driven = 0
        channel = self.connection.channel()
        for method, properties, body in channel.consume(
                self.name(f"{stream}.dlq"), inactivity_timeout=3):
            if method is None:
                break
            # With all that dead-lettering has put there, as a shovel does it.
            self.publish(stream, method.routing_key, properties.headers, body)
            channel.basic_ack(method.delivery_tag)
            driven += 1
        channel.cancel()
        channel.close()
        return driven
