# SPDX-License-Identifier: MIT OR Apache-2.0
"""What any client of RabbitMQ can do, by pika: reads one JSON request, prints one JSON answer.

Credentials are read from the files that services have in hand; none is an argument."""

import base64
import json
import ssl
import sys
import threading
import urllib.request

import pika


def connect(at):
    context = ssl.create_default_context(cafile=at["ca"])
    if "certificate" in at:
        context.load_cert_chain(at["certificate"], at["key"])
    options = pika.SSLOptions(context, "localhost")
    if "uri" in at:
        parameters = pika.URLParameters(open(at["uri"]).read().strip())
        parameters.ssl_options = options
    else:
        parameters = pika.ConnectionParameters(
            host="localhost",
            port=at["port"],
            virtual_host=at["vhost"],
            ssl_options=options,
            credentials=pika.credentials.ExternalCredentials(),
        )
    parameters.socket_timeout = 10
    return pika.BlockingConnection(parameters)


def raw(text):
    return base64.b64decode(text)


def value(given):
    if isinstance(given, dict) and "bytes" in given:
        return raw(given["bytes"])
    if isinstance(given, dict) and "nested" in given:
        deep = "x"
        for _ in range(given["nested"]):
            deep = [deep]
        return deep
    if isinstance(given, dict) and "filled" in given:
        return "x" * given["filled"]
    return given


def properties(given):
    given = dict(given)
    headers = {name: value(it) for name, it in given.get("headers", {}).items()}
    # Names that are not text cannot stand in JSON.
    headers.update({raw(name): value(it) for name, it in given.pop("raw_headers", [])})
    given["headers"] = headers
    return pika.BasicProperties(**given)


def http(step):
    """One request to the management interface, with the credentials in its URL."""
    url = open(step["management"]).read().strip()
    login, place = url.removeprefix("https://").split("@")
    body = json.dumps(step.get("body", {})).encode()
    request = urllib.request.Request(f"https://{place}{step['path']}", body, method=step["method"])
    request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    request.add_header("Content-Type", "application/json")
    context = ssl.create_default_context(cafile=step["ca"])
    with urllib.request.urlopen(request, timeout=10, context=context) as answer:
        return answer.status


def shown(given):
    if isinstance(given, bytes):
        return {"bytes": base64.b64encode(given).decode()}
    if isinstance(given, dict):
        return {name: shown(it) for name, it in given.items()}
    if isinstance(given, list):
        return [shown(it) for it in given]
    return given if isinstance(given, (str, int, float, bool, type(None))) else str(given)


def run(channel, step):
    do = step.pop("do")
    if do == "exchange":
        channel.exchange_declare(durable=True, **step)
    elif do == "queue":
        channel.queue_declare(durable=True, **step)
    elif do == "bind":
        channel.queue_bind(**step)
    elif do == "delete-exchange":
        channel.exchange_delete(**step)
    elif do == "delete-queue":
        channel.queue_delete(**step)
    elif do == "publish":
        channel.basic_publish(
            exchange=step["exchange"],
            routing_key=value(step["routing_key"]),
            body=raw(step.get("body", "")),
            properties=properties(step.get("properties", {})),
            mandatory=True,
        )
    elif do == "http":
        return http(step)
    elif do == "reject":
        # Gives what comes back, until the broker has had enough of it.
        times = 0
        for method, _, _ in channel.consume(step["queue"], inactivity_timeout=2):
            if method is None:
                break
            channel.basic_nack(method.delivery_tag, requeue=True)
            times += 1
        channel.cancel()
        return times
    elif do == "move":
        # Takes one message and publishes it elsewhere as it is, as tools for redrives do.
        for method, props, body in channel.consume(step["queue"], inactivity_timeout=10):
            if method is None:
                raise RuntimeError("nothing came")
            channel.basic_publish(step["exchange"], method.routing_key, body, props, mandatory=True)
            channel.basic_ack(method.delivery_tag)
            break
        channel.cancel()
    elif do == "peek":
        method, props, body = channel.basic_get(step["queue"])
        if method is None:
            return None
        channel.basic_nack(method.delivery_tag, requeue=True)
        return {
            "routing_key": method.routing_key,
            "user_id": props.user_id,
            "timestamp": props.timestamp,
            "headers": shown(props.headers or {}),
            "body": base64.b64encode(body).decode(),
        }
    else:
        raise RuntimeError(f"`{do}` is no step")
    return None


def main():
    request = json.load(sys.stdin)
    try:
        connection = connect(request["at"])
        channel = connection.channel()
        channel.confirm_delivery()
        answers = [run(channel, step) for step in request["steps"]]
        connection.close()
        print(json.dumps({"ok": answers}))
    except Exception as error:  # told to the test, whatever it is
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))


# What is nested deeply is written by recursion.
sys.setrecursionlimit(1_000_000)
threading.stack_size(512 << 20)
thread = threading.Thread(target=main)
thread.start()
thread.join()
