// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a verified body may still be refused for: parser differentials, the envelope, the schema.

use crate::cases::{Cases, Step};
use crate::craft::{Message, b64u, quoted, sha256};
use crate::world::{SOURCE, World};

const E104: &str = "E104_JSON_AMBIGUOUS";
const E105: &str = "E105_JSON_LIMITS";
const E108: &str = "E108_ENVELOPE_MISMATCH";
const E115: &str = "E115_ENVELOPE_INVALID";
const E401: &str = "E401_SCHEMA";

pub(crate) fn cases(cases: &mut Cases, world: &World) {
    json(cases, world);
    unsafe_formats(cases, world);
    own_rules(cases, world);
    mismatches(cases, world);
    schemas(cases, world);
    key_fields(cases, world);
}

fn json(cases: &mut Cases, world: &World) {
    let changed = |from: &str, to: &str| SOURCE.replacen(from, to, 1).into_bytes();
    let doubled = "\"payload\": { \"amount\": 1, \"order_id\"";
    let deep = |levels: usize| {
        format!("\"payload\": {{ \"deep\": {}{},", "[".repeat(levels), "]".repeat(levels))
    };
    let wide = |count: usize| format!("\"payload\": {{ \"wide\": [{}1],", "1,".repeat(count - 1));
    let mut not_utf8 = changed("USD", "US?");
    let at = not_utf8.iter().position(|b| *b == b'?').expect("put there");
    not_utf8[at] = 0xff;
    let table: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        (
            "doubled-member",
            changed("\"payload\"", "\"tenant_id\": \"t_456\", \"payload\""),
            E104,
            "one parser takes the first tenant, another the last",
        ),
        (
            "doubled-in-payload",
            changed("\"payload\": { \"order_id\"", doubled),
            E104,
            "at any depth",
        ),
        (
            "doubled-by-escape",
            changed("\"payload\"", "\"tenant\\u005fid\": \"t_456\", \"payload\""),
            E104,
            "escapes decoded",
        ),
        ("not-utf8", not_utf8, E104, "JSON is UTF-8"),
        ("lone-surrogate", changed("USD", "\\ud800"), E104, "half a character"),
        ("byte-order-mark", changed("{\n", "\u{feff}{\n"), E104, "no mark before the document"),
        ("trailing-text", changed("}\n}", "}\n} {}"), E104, "one document"),
        ("nan", changed("129.50", "NaN"), E104, "not JSON"),
        ("infinite", changed("129.50", "1e999"), E104, "no double is near it"),
        ("comment", changed("{\n", "{ // hello\n"), E104, "not JSON"),
        ("single-quotes", changed("\"USD\"", "'USD'"), E104, "not JSON"),
        ("empty", Vec::new(), E104, "not JSON"),
        ("depth", changed("\"payload\": {", &deep(30)), "ok", "32 deep"),
        ("too-deep", changed("\"payload\": {", &deep(31)), E105, "33 deep"),
        ("wide", changed("\"payload\": {", &wide(19_900)), "ok", "below 20 000 values and names"),
        ("too-wide", changed("\"payload\": {", &wide(20_000)), E105, "above"),
        (
            "large-integer",
            changed("129.50", "9223372036854775807"),
            "ok",
            "64-bit integers are honest traffic",
        ),
    ];
    for (file, body, expect, why) in table {
        let copy = world.order().body(Some(&body)).signed(&[&world.orders]);
        cases.one(&format!("json/{file}"), why, Step::new("orders.created", copy, expect));
    }
    let copy = world.order().body(None).signed(&[&world.orders]);
    let why = "a null value is no envelope";
    cases.one("json/tombstone", why, Step::new("orders.created", copy, E104));
}

fn unsafe_formats(cases: &mut Cases, world: &World) {
    for (file, body) in [
        ("java", &b"\xac\xed\x00\x05sr"[..]),
        ("pickle-2", b"\x80\x02}q\x00."),
        ("pickle-5", b"\x80\x05\x95\x00"),
        ("yaml-directive", b"%YAML 1.1\n---\n"),
        ("yaml-document", b"--- !!python/object/apply:os.system\n"),
        ("yaml-tag", b"!!python/object/apply:os.system [id]"),
    ] {
        let copy = world.blob(Some(body)).signed(&[&world.orders]);
        let step = Step::new("blobs.stored", copy, "E109_UNSAFE_FORMAT");
        cases.one(
            &format!("body/unsafe-{file}"),
            "a reader of this format runs what it reads",
            step,
        );
    }
    let copy = world.order().body(Some(b"--- {}")).signed(&[&world.orders]);
    let step = Step::new("orders.created", copy, "E109_UNSAFE_FORMAT");
    cases.one("body/unsafe-as-json", "under a JSON content type too", step);
}

fn own_rules(cases: &mut Cases, world: &World) {
    for name in ["event_id", "event_type", "schema_version", "occurred_at", "producer", "payload"] {
        let copy = world.order().untold(name).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E115);
        cases.one(&format!("envelope/{name}-missing"), "every envelope has it", step);
    }
    for (name, file, raw) in [
        ("event_id", "short", "\"012345678\""),
        ("event_id", "number", "1234567890"),
        ("event_type", "empty", "\"\""),
        ("event_type", "space", "\"orders created\""),
        ("schema_version", "zero", "0"),
        ("schema_version", "thousand", "1000"),
        ("schema_version", "text", "\"3\""),
        ("schema_version", "fraction", "3.0"),
        ("occurred_at", "integer", "1772705553"),
        ("occurred_at", "no-offset", "\"2026-03-05T10:12:33\""),
        ("producer", "empty", "\"\""),
        ("producer", "short", "\"ab\""),
        ("tenant_id", "null", "null"),
        ("tenant_id", "space", "\"t 1\""),
        (
            "traceparent",
            "upper-case",
            "\"00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01\"",
        ),
        ("request_id", "empty", "\"\""),
        ("request_id", "number", "1"),
        ("actor_id", "null", "null"),
        ("payload", "null", "null"),
        ("payload", "list", "[]"),
        ("payload", "text", "\"{}\""),
    ] {
        let copy = world.order().tell(name, raw).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E115);
        cases.one(&format!("envelope/{name}-{file}"), "the envelope's own rules", step);
    }
    let long = quoted(&"a".repeat(129));
    for name in ["request_id", "actor_id"] {
        let copy = world.order().tell(name, &long).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E115);
        cases.one(&format!("envelope/{name}-long"), "at most 128 bytes", step);
    }
    let copy = world.order().body(Some(b"[]")).signed(&[&world.orders]);
    cases.one("envelope/list", "an envelope is an object", Step::new("orders.created", copy, E115));
    let copy = world.order().tell("nonce", "\"n\"").tell("tracestate", "\"a=b\"");
    let step = Step::new("orders.created", copy.signed(&[&world.orders]), "ok");
    cases.one("envelope/other-members", "left alone, never deleted", step);
    let strict = || world.order().set("aud", "\"example.org/test/orders.strict\"");
    let step = |copy: Message, expect: &str| {
        Step::new("orders.strict", copy.signed(&[&world.orders]), expect)
    };
    cases.one("envelope/known-members", "a stream that takes no others", step(strict(), "ok"));
    let other = strict().tell("nonce", "\"n\"");
    let why = "a stream that takes no others holds it: another policy may take it";
    cases.one("envelope/other-member-held", why, step(other, "E116_ENVELOPE_MEMBER"));
}

fn mismatches(cases: &mut Cases, world: &World) {
    for (name, raw) in [
        ("event_id", "\"01JH9R7N9YJ0J3Y0A4NQ9Z6K8Y\""),
        ("event_type", "\"orders.deleted\""),
        ("schema_version", "2"),
        ("occurred_at", "\"2026-03-05T10:12:34Z\""),
        ("producer", "\"svc-billing\""),
        ("tenant_id", "\"t_456\""),
        ("traceparent", "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00\""),
        ("request_id", "\"r-1\""),
        ("actor_id", "\"u-1\""),
    ] {
        let copy = world.order().tell(name, raw).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E108);
        let why = "a consumer that knows nothing of the header would read something else";
        cases.one(&format!("envelope/{name}-other"), why, step);
    }
    for (name, short) in [("tenant_id", "ten"), ("traceparent", "tp")] {
        let copy = world.order().untold(name).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E108);
        cases.one(
            &format!("envelope/{name}-untold"),
            &format!("`{short}` is signed and not told"),
            step,
        );
    }
    let copy = world.order().set("act", "\"u-1\"").signed(&[&world.orders]);
    let step = Step::new("orders.created", copy, E108);
    cases.one("envelope/actor_id-untold", "`act` is signed and not told", step);
    let message = world.order().both("req", "\"r-1\"").both("act", "\"u-1\"");
    let step = Step::new("orders.created", message.signed(&[&world.orders]), "ok");
    cases.one("envelope/all-members", "request and actor too", step);
    attributes(cases, world);
    let escaped = SOURCE.replacen("svc-orders", "svc\\u002dorders", 1);
    let copy = world.order().body(Some(escaped.as_bytes())).signed(&[&world.orders]);
    let step = Step::new("orders.created", copy, "ok");
    cases.one("envelope/escaped", "values are compared, not spellings", step);
}

// A consumer that knows CloudEvents reads the attributes of its broker's binding.
fn attributes(cases: &mut Cases, world: &World) {
    let signed = || world.order().signed(&[&world.orders]);
    for (name, file, value) in [
        ("ce_id", "id", "01JH9R7N9YJ0J3Y0A4NQ9Z6K8Y"),
        ("ce_source", "source", "svc-billing"),
        ("ce_type", "type", "orders.deleted"),
        ("ce_time", "time", "2026-03-05T10:12:34Z"),
        ("ce_partitionkey", "partitionkey", "another"),
        (
            "ce_traceparent",
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00",
        ),
        ("ce-type", "dash", "orders.deleted"),
        ("cloudEvents_type", "underscore", "orders.deleted"),
        ("cloudEvents:type", "colon", "orders.deleted"),
    ] {
        let step = Step::new("orders.created", signed().field(name, value), E108);
        let why =
            "a consumer that knows CloudEvents and not the header would be told something else";
        cases.one(&format!("envelope/attribute-{file}"), why, step);
    }
    let told = signed()
        .field("ce_specversion", "1.0")
        .field("ce_type", "orders.created")
        .field("ce_source", "svc-orders")
        .field("ce_dataschema", "anything")
        .field("traceparent", "of this hop");
    let why = "equal attributes, and what is none of the header's";
    cases.one("envelope/attributes-equal", why, Step::new("orders.created", told, "ok"));
    let doubled = signed().field("ce_type", "orders.created").field("ce_type", "orders.deleted");
    let step = Step::new("orders.created", doubled, E108);
    cases.one("envelope/attribute-doubled", "one consumer reads the first, another the last", step);
}

fn schemas(cases: &mut Cases, world: &World) {
    for (file, payload, why) in [
        ("missing-member", r#"{"order_id":"o_789","currency":"USD"}"#, "`amount` is required"),
        (
            "wrong-type",
            r#"{"order_id":"o_789","amount":"129.50","currency":"USD"}"#,
            "nothing is coerced",
        ),
        ("negative", r#"{"order_id":"o_789","amount":-1,"currency":"USD"}"#, "below the minimum"),
        (
            "pattern",
            r#"{"order_id":"o_789","amount":1,"currency":"usd"}"#,
            "the pattern wants capitals",
        ),
    ] {
        let copy = world.order().tell("payload", payload).signed(&[&world.orders]);
        cases.one(&format!("schema/{file}"), why, Step::new("orders.created", copy, E401));
    }
    let order = || world.order().enveloped_again();
    let document = include_bytes!("schemas/orders.created.3.json");
    let ours = quoted(&b64u(&sha256(&[document])));
    let other = quoted(&b64u(&sha256(&[b"another document"])));
    let copy = order().set("sd", &ours).signed(&[&world.orders]);
    cases.one(
        "schema/digest",
        "the very document of the producer",
        Step::new("orders.created", copy, "ok"),
    );
    let copy = order().set("sd", &other).signed(&[&world.orders]);
    let step = Step::new("orders.created", copy, "E403_SCHEMA_DIGEST");
    cases.one("schema/digest-other", "the producer validated against something else", step);
    let copy = order().both("sv", "2").signed(&[&world.orders]);
    let step = Step::new("orders.created", copy, "E405_SCHEMA_UNKNOWN");
    cases.one("schema/unknown", "the policy has the version, the folder has no schema", step);
}

fn key_fields(cases: &mut Cases, world: &World) {
    let numbered = |okey: &str, member: &str| {
        let payload = format!("{{\"order_id\":{member},\"quantity\":1}}");
        let message = world.change("x", 1).set("okey", &quoted(okey)).tell("payload", &payload);
        message.signed(&[&world.orders]).key(okey)
    };
    let (exact, rounded) = ("9223372036854775807", "9223372036854775806");
    let e520 = "E520_KEY_FIELD";
    for (file, copy, expect, why) in [
        ("number", numbered(exact, exact), "ok", "a number stands for its exact text"),
        (
            "number-rounded",
            numbered(rounded, exact),
            e520,
            "both are the same double, they are not the same order",
        ),
        ("number-spelt-otherwise", numbered("1", "1.0"), e520, "exact text"),
        ("other", numbered("o_1", "\"o_2\""), e520, "signed for one order, says another"),
        ("not-text", numbered("true", "true"), e520, "text or number"),
    ] {
        cases.one(&format!("schema/key-{file}"), why, Step::new("orders.changed", copy, expect));
    }
}
