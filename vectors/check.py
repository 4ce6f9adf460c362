#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""An independent oracle over vectors/cases: framing, key ids, PAE, digests, signatures.

Standard library only; nothing of it is shared with the generator or with chancery-core. It does
not judge policy, time or JSON, but for an envelope's extra members: it says whether a vector's
cryptography is what its code claims.
"""

import base64
import hashlib
import hmac
import json
import re
import sys
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "ed25519"))
import curve  # noqa: E402

HEADER_TYPE = "application/vnd.chancery.header.v1+json"
BATCH_TYPE = "application/vnd.chancery.batch.v1"
ENTRY = re.compile(r"([A-Za-z0-9_-]{22}):([A-Za-z0-9_-]+)")
PREAMBLE = "chancery-vector name why snapshot reader attempts_max reads".split()
STEP = "delivery again now snapshot handler expect step stream position appended key field".split()
STEP += "message_id pae_sha256 body_digest body".split()
MEMBERS = "event_id event_type schema_version occurred_at producer payload".split()
MEMBERS += "tenant_id traceparent request_id actor_id".split()
CLOSED = re.compile(r"^  (\S+):\n(?:    .*\n)*?    extra_members: false$", re.M)


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def from_b64u(text, size=None):
    """Bytes, or None unless `text` is their one spelling."""
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except ValueError:
        return None
    return data if b64u(data) == text and size in (None, len(data)) else None


def pae(kind, payload):
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind.encode(), len(payload), payload)


def body_digest(body, salt):
    length = (2**64 - 1 if body is None else len(body)).to_bytes(8, "big")
    return sha256(b"chancery/body/1\n", length, salt or b"", body or b"")


class Key:
    def __init__(self, line):
        self.name, self.alg, seed, public, self.kid, self.principal = line.split(" ")
        self.seed, self.public = bytes.fromhex(seed), from_b64u(public, 32)
        self.given = self.name != "legacy-absent"
        if self.alg == "ed25519":
            derived = curve.public(self.seed)
        else:
            derived = sha256(b"chancery/secret/1\n", self.seed)
        assert derived == self.public, f"{self.name}: public part"
        kid = sha256(b"chancery/kid/1\n", self.alg.encode(), b"\n", self.public)[:16]
        assert b64u(kid) == self.kid, f"{self.name}: kid"

    def verify(self, message, signature):
        if self.alg == "ed25519":
            return curve.verify(self.public, message, signature)
        return hmac.digest(self.seed, message, "sha256") == signature


def read(path):
    """The preamble and the deliveries of one file."""
    data, at = path.read_bytes(), 0
    steps, current = [], {}
    preamble, allowed = current, PREAMBLE
    while at < len(data):
        end = data.index(b"\n", at)
        line, at = data[at:end].decode(), end + 1
        if line == "":
            current, allowed = {"field": []}, STEP
            steps.append(current)
            continue
        name, value = line.split(": ", 1)
        assert name in allowed, f"{path}: {name}"
        if name == "field":
            field, form, *rest = value.split(" ", 2)
            text = rest[0] if rest else ""
            raw = text.encode() if form == "text" else base64.b64decode(text, validate=True)
            current["field"].append((field, raw))
            continue
        assert name not in current, f"{path}: {name} twice"
        current[name] = value
        if name == "body":
            at = read_body(current, value, data, at)
    assert f"{preamble['name']}.vec" == path.relative_to(HERE / "cases").as_posix(), path
    return preamble, steps


def read_body(step, form, data, at):
    if form == "null":
        step["body"] = None
    elif form.startswith("fill "):
        _, count, byte = form.split(" ")
        step["body"] = bytes.fromhex(byte) * int(count)
    else:
        step["body"], at = data[at : at + int(form)], at + int(form)
        assert data[at : at + 1] == b"\n"
        at += 1
    return at


def root_from(leaf, index, size, proof):
    """RFC 9162 section 2.1.3.2; None if the proof does not fit."""
    last, node = size - 1, leaf
    for sibling in proof:
        if last == 0:
            return None
        if index & 1 or index == last:
            node = sha256(b"\1", sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\1", node, sibling)
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


def signatures(h, block, keys):
    """(kid, verified) of each known key's signature; None if the block is not of the grammar."""
    version, _, rest = block.partition(";")
    if version == "1":
        entries, signed = rest.split(","), pae(HEADER_TYPE, h)
    elif version == "m1" and rest.count(";") == 3:
        entry, size, index, proof = rest.split(";")
        if not (size.isdigit() and index.isdigit() and int(index) < int(size) <= 65536):
            return None
        raw = from_b64u(proof)
        entries, signed = [entry], None
        if raw is not None and len(raw) % 32 == 0:
            hashes = [raw[n : n + 32] for n in range(0, len(raw), 32)]
            root = root_from(sha256(b"\0", h), int(index), int(size), hashes)
            signed = root and pae(BATCH_TYPE, int(size).to_bytes(8, "big") + root)
    else:
        return None
    found = []
    for entry in entries:
        match = ENTRY.fullmatch(entry)
        if match is None or from_b64u(match[1], 16) is None:
            return None
        key = keys.get(match[1])
        if key is not None:
            signature = from_b64u(match[2])
            good = signed is not None and signature is not None and key.verify(signed, signature)
            found.append((key, good))
    return found


def field(step, name):
    return next((value for found, value in step["field"] if found == name), None)


def check_facts(step):
    h, salt = field(step, "chancery"), field(step, "chancery-salt")
    salt = None if salt is None else from_b64u(salt.decode("latin-1"), 16)
    if h is not None:
        assert step["message_id"] == b64u(sha256(b"chancery/mid/1\n", h)), "message_id"
        assert step["pae_sha256"] == sha256(pae(HEADER_TYPE, h)).hex(), "pae_sha256"
    digest = body_digest(step["body"], salt)
    if "body_digest" in step:
        assert step["body_digest"] == b64u(digest), "body_digest"
    return h, digest


def check_code(step, keys):
    """What the expected code says about the cryptography must be so."""
    expect = step["expect"]
    h, digest = check_facts(step)
    block = field(step, "chancery-sig")
    if expect == "E201_UNSIGNED":
        assert h is None and block is None
    if expect == "E212_SIGNATURE_STRIPPED":
        assert block is None  # and no header either, once the producer is known to sign
    if h is None or block is None or expect[:4] in ("E101", "E102", "E110", "E111"):
        return 0
    found = signatures(h, block.decode(), keys)
    assert found is not None, "the block is malformed"
    given = [(key, good) for key, good in found if key.given]
    if expect == "E202_UNKNOWN_KEY":
        assert not given, "a known key signed"
        return 0
    if expect == "E205_BAD_SIGNATURE":
        assert not all(good for _, good in given), "every signature verifies"
        return len(given)
    assert given and all(good for _, good in given), "a signature does not verify"
    header = json.loads(h)
    length = -1 if step["body"] is None else len(step["body"])
    whole = header["bl"] == length and header["bd"] == b64u(digest)
    assert whole == (expect != "E210_BODY_DIGEST"), "the body's digest"
    return len(given)


def check_members(step, closed):
    """On a stream without extra members, an envelope has one exactly where its code says so."""
    expect = step["expect"]
    if step["stream"] in closed and expect in ("ok", "E116_ENVELOPE_MEMBER"):
        extra = json.loads(step["body"]).keys() - set(MEMBERS)
        assert bool(extra) == (expect != "ok"), f"extra members: {sorted(extra)}"
    else:
        assert expect != "E116_ENVELOPE_MEMBER", "the stream takes extra members"


def trusted(snapshot, keys):
    """The keys of a snapshot's bundle, once its root's signature has verified."""
    folder = HERE / "snapshots" / snapshot
    envelope = json.loads((folder / "bundle.json").read_text())
    payload = base64.b64decode(envelope["payload"], validate=True)
    root = from_b64u((folder / "root.pub").read_text().strip(), 32)
    signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
    assert curve.verify(root, pae(envelope["payloadType"], payload), signature), snapshot
    return {entry["kid"]: keys[entry["kid"]] for entry in json.loads(payload)["keys"]}


def main():
    lines = (HERE / "keys.txt").read_text().splitlines()
    keys = [Key(line) for line in lines if not line.startswith("#")]
    keys = {key.kid: key for key in keys}
    rings, closed = {}, {}
    for path in (HERE / "snapshots").iterdir():
        rings[path.name] = trusted(path.name, keys)
        closed[path.name] = CLOSED.findall((path / "policy.yaml").read_text())
    files = sorted((HERE / "cases").rglob("*.vec"))
    verified, failed = 0, 0
    for path in files:
        preamble, steps = read(path)
        for number, step in enumerate(steps, 1):
            if "again" in step:
                continue
            try:
                snapshot = step.get("snapshot", preamble["snapshot"])
                verified += check_code(step, rings[snapshot])
                check_members(step, closed[snapshot])
            except AssertionError as error:
                failed += 1
                print(f"{preamble['name']} [{number}] {step['expect']}: {error}")
    print(f"{len(files)} vectors, {verified} signatures judged, {failed} failed")
    return 1 if failed or not files else 0


sys.exit(main())
