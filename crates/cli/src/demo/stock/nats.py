# SPDX-License-Identifier: MIT OR Apache-2.0
# NATS JetStream by nats-py, as the admin of the account.

import asyncio
import json
import ssl
import threading

import nats


class Broker:
    def __init__(self, home, prefix):
        self.prefix, self.made = prefix, []
        self.loop = asyncio.new_event_loop()
        # In a thread of its own, so that pings are answered while nobody asks anything.
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        clients = f"{home}/clients/admin"
        tls = ssl.create_default_context(cafile=f"{clients}/ca.pem")
        seed = f"{clients}/user.nk"
        self.nc = self.run(nats.connect(
            endpoint(home, "client"), tls=tls, nkeys_seed=seed, error_cb=self.quiet))
        self.js = self.nc.jetstream()

    # Whoever asks is told; nobody else need be.
    async def quiet(self, error):
        pass

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    def name(self, stream):
        return f"{self.prefix}_{stream}".replace(".", "_")

    def subject(self, stream, key):
        return f"{self.prefix}.{stream}." + ("_" if key is None else key.decode())

    def api(self, call, body):
        answer = self.run(self.nc.request(f"$JS.API.{call}", json.dumps(body).encode(), timeout=10))
        answer = json.loads(answer.data)
        if "error" in answer:
            raise RuntimeError(f"{call}: {answer['error']['description']}")
        return answer

    def make(self, streams):
        for stream, groups in streams.items():
            name = self.name(stream)
            self.api(f"STREAM.CREATE.{name}", {
                "name": name, "subjects": [f"{self.prefix}.{stream}.*"], "storage": "file",
                "retention": "limits", "discard": "new", "max_age": 7 * 86_400 * 10**9,
                "duplicate_window": 120 * 10**9, "deny_delete": True,
                "deny_purge": True,
            })
            self.made.append(name)
            for group in groups:
                self.api(f"CONSUMER.DURABLE.CREATE.{name}.{group}", {"stream_name": name, "config": {
                    "durable_name": group, "deliver_policy": "all", "ack_policy": "explicit",
                    "ack_wait": 3 * 10**9, "max_deliver": -1, "max_ack_pending": 1000,
                    "priority_groups": ["chancery"], "priority_policy": "pinned_client",
                    "priority_timeout": 3 * 10**9,
                }})

    def remove(self):
        return [(name, lambda name=name: self.api(f"STREAM.DELETE.{name}", {}))
                for name in self.made]

    def append(self, stream, fields, key, body):
        headers = {name: value.decode() for name, value in fields}
        self.run(self.js.publish(self.subject(stream, key), body, headers=headers))

    # An operator's tool takes the group's share for a moment.
    def dead_letter(self, stream, group, max):
        name, moved = self.name(stream), 0
        inbox = self.nc.new_inbox()
        taken = self.run(self.nc.subscribe(inbox))
        ask = {"batch": max, "expires": 10 * 10**9, "group": "chancery"}
        self.run(self.nc.publish(f"$JS.API.CONSUMER.MSG.NEXT.{name}.{group}",
                                 json.dumps(ask).encode(), reply=inbox))
        while moved < max:
            message = self.run(taken.next_msg(timeout=15))
            if not message.reply.startswith("$JS.ACK."):
                break
            key = message.subject.rsplit(".", 1)[1].encode()
            self.copy(f"{stream}.dlq", key, message.data, message.headers)
            self.run(message.ack_sync())
            moved += 1
        self.run(taken.unsubscribe())
        return moved

    def redrive(self, stream):
        name = self.name(f"{stream}.dlq")
        state = self.run(self.js.stream_info(name)).state
        for sequence in range(state.first_seq, state.last_seq + 1):
            message = self.run(self.js.get_msg(name, sequence))
            key = message.subject.rsplit(".", 1)[1].encode()
            self.copy(stream, key, message.data, message.headers)
        return state.messages

    def copy(self, stream, key, body, headers):
        headers = {name: text for name, text in (headers or {}).items()
                   if not name.startswith("Nats-")}
        subject = self.subject(stream, None if key == b"_" else key)
        self.run(self.js.publish(subject, body, headers=headers))
