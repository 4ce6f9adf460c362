#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Writes edges.txt: where Ed25519 verifiers are known to differ, and what Chancery rules."""

from hashlib import sha256
from pathlib import Path

from curve import BASE, IDENTITY, L, P, add, decode, encode, expand, number, same, small_order, times, verify

SEED = sha256(b"chancery test key: edges").digest()
SCALAR, PREFIX = expand(SEED)
PUBLIC = times(SCALAR, BASE)


def torsion():
    """A point of order 8: the rest of any point once its large part is gone."""
    n = 2
    while True:
        point = decode(n.to_bytes(32, "little"))
        if point is not None:
            small = times(L, point)
            if not same(times(4, small), IDENTITY):
                return small
        n += 1


T = torsion()


def sign(message, key=None, scalar=SCALAR, nonce_extra=IDENTITY):
    key = encode(PUBLIC) if key is None else key
    r = number(PREFIX, message)
    point = encode(add(times(r, BASE), nonce_extra))
    s = (r + number(point, key, message) * scalar) % L
    return point + s.to_bytes(32, "little")


def message_where(wanted, key, nonce_extra=IDENTITY):
    """The first message whose challenge is `wanted` modulo 8."""
    n = 0
    while True:
        message = b"chancery edge %d" % n
        point = sign(message, key, nonce_extra=nonce_extra)[:32]
        if number(point, key, message) % 8 == wanted:
            return message
        n += 1


def cases():
    key, message = encode(PUBLIC), b"chancery"
    good = sign(message)
    s = int.from_bytes(good[32:], "little")
    yield "good", key, message, good
    yield "empty-message", key, b"", sign(b"")
    yield "s-plus-order", key, message, good[:32] + (s + L).to_bytes(32, "little")
    yield "s-top-bit", key, message, good[:32] + (s | 1 << 255).to_bytes(32, "little")
    for n in range(8):
        small = encode(times(n, T))
        signature = encode(IDENTITY) + bytes(32)
        yield f"small-order-key-{n}", small, message, signature
        zero = number(small, key, message) * SCALAR % L
        yield f"small-order-r-{n}", key, message, small + zero.to_bytes(32, "little")
    mixed = encode(add(PUBLIC, T))
    fits = message_where(0, mixed)
    yield "mixed-key-without-cofactor", mixed, fits, sign(fits, mixed)
    differs = message_where(1, mixed)
    yield "mixed-key-only-with-cofactor", mixed, differs, sign(differs, mixed)
    yield "mixed-r-only-with-cofactor", key, message, sign(message, nonce_extra=T)
    for sign_bit in (0, 1):
        for k in range(19):
            far = (P + k | sign_bit << 255).to_bytes(32, "little")
            if decode(far, strict=False) is not None:
                yield f"non-canonical-key-{k}-{sign_bit}", far, message, good
                yield f"non-canonical-r-{k}-{sign_bit}", key, message, far + good[32:]
    minus_zero = (1 | 1 << 255).to_bytes(32, "little")
    yield "minus-zero-key", minus_zero, message, encode(IDENTITY) + bytes(32)


def verdict_on(key, message, signature):
    point = decode(key)
    if point is None or small_order(point):
        return "refuse-key"
    return "accept" if verify(key, message, signature) else "refuse"


def main():
    lines = ["# name verdict key message signature; hexadecimal. Written by make.py."]
    for name, key, message, signature in cases():
        verdict = verdict_on(key, message, signature)
        lines.append(f"{name} {verdict} {key.hex()} {message.hex() or '-'} {signature.hex()}")
    Path(__file__).with_name("edges.txt").write_text("\n".join(lines) + "\n")


main()
