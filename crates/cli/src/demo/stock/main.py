# SPDX-License-Identifier: MIT OR Apache-2.0
# One request a line on standard input, one answer a line on standard output. `Broker` is above:
# the same for every broker, each by its stock client. At the end of the input, even when whoever
# asked was killed, everything that was made goes.

import base64
import json
import sys


def bytes_of(text):
    return base64.urlsafe_b64decode(text + "==")


def unpacked(ask):
    if "fields" in ask:
        ask["fields"] = [(name, bytes_of(value)) for name, value in ask["fields"]]
    for name in ("key", "body"):
        if ask.get(name) is not None:
            ask[name] = bytes_of(ask[name])
    return ask


def main():
    home, prefix = sys.argv[1:]
    try:
        broker = Broker(home, prefix)  # noqa: F821
    except Exception as error:
        print(json.dumps({"error": f"cannot connect: {type(error).__name__}: {error}"}), flush=True)
        return
    try:
        for line in sys.stdin:
            ask = unpacked(json.loads(line))
            try:
                answer = {"ok": getattr(broker, ask.pop("do"))(**ask)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), flush=True)
    finally:
        for what, gone in broker.remove():
            try:
                gone()
            except Exception as error:
                print(f"{what} is left on the server: {error}", file=sys.stderr)


def read(home, name):
    with open(f"{home}/{name}", encoding="utf-8") as file:
        return file.read().strip()


def endpoint(home, listener):
    for line in read(home, "endpoints").splitlines():
        name, _, url = line.partition("=")
        if name == listener:
            return url
    raise KeyError(f"{home}/endpoints has no {listener}")


main()
