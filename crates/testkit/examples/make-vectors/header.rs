// SPDX-License-Identifier: MIT OR Apache-2.0
//! Every member of H: missing, of the wrong type, out of its bounds, and at its bounds.

use crate::cases::{Cases, Step};
use crate::craft::{SIGNED, b64u, quoted};
use crate::world::{SOURCE, World};

const E110: &str = "E110_UNSUPPORTED";
const E111: &str = "E111_MALFORMED";

pub(crate) fn cases(cases: &mut Cases, world: &World) {
    members(cases, world);
    missing(cases, world);
    not_yet(cases, world);
    bounds(cases, world);
    bodies(cases, world);
    shapes(cases, world);
    traces(cases, world);
    good(cases, world);
}

fn members(cases: &mut Cases, world: &World) {
    let long = |count: usize| quoted(&"a".repeat(count));
    let id = |bytes: usize| quoted(&b64u(&vec![7; bytes]));
    let five = quoted(&vec![b64u(&[7; 32]); 5].join(","));
    let table: &[(&str, &str, &str, &str, &str)] = &[
        ("v", "zero", "0", E111, "versions count from 1"),
        ("v", "two", "2", E110, "a header of version 2 may be honest and newer than we are"),
        ("v", "text", "\"1\"", E111, "a number in quotes is another value"),
        ("kind", "unknown", "\"dance\"", E110, "a later version may know it"),
        ("kind", "upper-case", "\"Event\"", E110, "words are compared byte for byte"),
        ("kind", "number", "1", E111, "kind is text"),
        ("id", "short", &long(9), E111, "ids have at least 10 characters"),
        ("id", "long", &long(65), E111, "ids have at most 64 characters"),
        ("id", "space", "\"0123456789 \"", E111, "an id must survive logs and subjects"),
        ("id", "number", "1234567890", E111, "id is text"),
        ("typ", "empty-word", "\"orders..created\"", E111, "dotted words are not empty"),
        ("typ", "leading-dot", "\".orders\"", E111, "dotted words are not empty"),
        ("typ", "long", &long(129), E111, "types have at most 128 characters"),
        ("typ", "slash", "\"../orders\"", E111, "a type is part of a schema's path"),
        ("sv", "zero", "0", E111, "versions are 1 to 999"),
        ("sv", "thousand", "1000", E111, "versions are 1 to 999"),
        ("sv", "text", "\"3\"", E111, "pydantic would take it, others would not"),
        ("sv", "fraction", "3.0", E111, "integers have no fraction"),
        ("sv", "exponent", "3e0", E111, "integers have no exponent"),
        ("occ", "no-offset", "\"2026-03-05T10:12:33\"", E111, "a time without offset is not one"),
        ("occ", "no-date", "\"yesterday\"", E111, "occurred_at is RFC 3339"),
        ("occ", "no-such-day", "\"2026-02-29T10:12:33Z\"", E111, "2026 is no leap year"),
        ("occ", "number", "1772705553", E111, "the source has it both ways; text it is"),
        ("src", "short", "\"ab\"", E111, "producers have at least 3 characters"),
        ("src", "long", &long(65), E111, "producers have at most 64 characters"),
        ("src", "leading-dash", "\"-orders\"", E111, "names begin with a letter or digit"),
        ("aud", "two-parts", "\"example.org/test\"", E111, "domain, environment and stream"),
        ("aud", "four-parts", "\"example.org/test/a/b\"", E111, "streams have no slash"),
        ("aud", "empty-part", "\"example.org//orders\"", E111, "no part is empty"),
        ("aud", "list", "[\"example.org/test/a\"]", E111, "one signature, one destination"),
        ("iat", "zero", "0", E111, "times are positive"),
        ("iat", "negative", "-1", E111, "times are positive"),
        ("iat", "fraction", "1772705553500.5", E111, "milliseconds are whole"),
        ("iat", "exponent", "1772705553500e0", E111, "integers have no exponent"),
        ("iat", "too-large", "9007199254740992", E111, "2^53 is where doubles begin to lie"),
        ("iat", "text", "\"1772705553500\"", E111, "iat is an integer"),
        ("iat", "true", "true", E111, "only text and integers"),
        ("exp", "zero", "0", E111, "deadlines are positive"),
        ("exp", "text", "\"never\"", E111, "exp is an integer"),
        ("exp", "null", "null", E111, "absent is left out, never null"),
        ("ten", "empty", "\"\"", E111, "an empty tenant is none at all to some readers"),
        ("ten", "long", &long(65), E111, "tenants have at most 64 characters"),
        ("ten", "space", "\"t 1\"", E111, "tenants are names"),
        ("act", "empty", "\"\"", E111, "act has at least one byte"),
        ("act", "long", &long(129), E111, "act has at most 128 bytes"),
        ("act", "control", "\"a\\u000ab\"", E111, "a line feed would forge log lines"),
        ("req", "empty", "\"\"", E111, "req has at least one byte"),
        ("req", "long", &long(129), E111, "req has at most 128 bytes"),
        ("req", "control", "\"a\\u0085b\"", E111, "C1 controls too"),
        ("lane", "short", &id(15), E111, "16 bytes"),
        ("lane", "long", &id(17), E111, "16 bytes"),
        ("lane", "padded", "\"BwcHBwcHBwcHBwcHBwcHBw==\"", E111, "base64url has no padding here"),
        ("lane", "loose-bits", "\"BwcHBwcHBwcHBwcHBwcHBx\"", E111, "one value, one spelling"),
        ("lane", "number", "7", E111, "lane is text"),
        ("ep", "zero", "0", E111, "terms count from 1"),
        ("ep", "text", "\"1\"", E111, "ep is an integer"),
        ("seq", "zero", "0", E111, "numbers count from 1"),
        ("seq", "too-large", "9007199254740992", E111, "at most 2^53-1"),
        ("seq", "text", "\"1\"", E111, "seq is an integer"),
        ("okey", "empty", "\"\"", E111, "okey has at least one byte"),
        ("okey", "long", &long(257), E111, "okey has at most 256 bytes"),
        ("okey", "control", "\"a\\u0000b\"", E111, "no control characters"),
        ("ov", "zero", "0", E111, "versions count from 1"),
        ("ov", "text", "\"1\"", E111, "ov is an integer"),
        ("oph", "short", &id(15), E111, "16 bytes"),
        ("oph", "number", "1", E111, "oph is text"),
        ("ct", "parameter", "\"application/json; charset=utf-8\"", E111, "no parameters"),
        ("ct", "upper-case", "\"Application/json\"", E111, "lower case only"),
        ("ct", "no-slash", "\"json\"", E111, "type and subtype"),
        ("ct", "empty-subtype", "\"application/\"", E111, "type and subtype"),
        ("bl", "text", "\"10\"", E111, "bl is an integer"),
        ("bl", "below-minus-one", "-2", E111, "only -1 stands for no body"),
        ("bd", "short", &id(31), E111, "32 bytes"),
        ("bd", "hex", &quoted(&"07".repeat(32)), E111, "base64url, not hexadecimal"),
        ("sd", "short", &id(31), E111, "32 bytes"),
        ("sd", "number", "1", E111, "sd is text"),
        ("cause", "five", &five, E111, "at most four causes"),
        ("cause", "empty", "\"\"", E111, "absent is left out"),
        ("cause", "short", &id(31), E111, "causes are message ids of 32 bytes"),
        ("cause", "number", "1", E111, "cause is text"),
    ];
    for (member, what, raw, expect, why) in table {
        let copy = world.order().set(member, raw).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, expect);
        cases.one(&format!("header/{member}-{what}"), why, step);
    }
}

fn missing(cases: &mut Cases, world: &World) {
    for member in [
        "v", "kind", "id", "typ", "sv", "occ", "src", "aud", "iat", "lane", "seq", "ct", "bl", "bd",
    ] {
        let copy = world.order().without(member).signed(&[&world.orders]);
        let why = "a member that every header has";
        let step = Step::new("orders.created", copy, E111);
        cases.one(&format!("header/{member}-missing"), why, step);
    }
    let copy = world.payout().without("exp").signed(&[&world.payments]);
    let step = Step::new("payouts.requested", copy, E111);
    cases.one(
        "header/exp-missing-on-command",
        "an order without a deadline is an order for ever",
        step,
    );
}

fn not_yet(cases: &mut Cases, world: &World) {
    for (name, raw) in [
        ("ce", "\"gzip\""),
        ("ref", "\"https://example.org/blob\""),
        ("rto", "\"example.org/test/replies\""),
        ("crit", "\"x_legal_hold\""),
        ("foo", "\"bar\""),
        ("Kind", "\"event\""),
        ("x_abcdefghijklmnopqrstuvwxy", "1"),
        ("x_", "1"),
        ("x_Upper", "1"),
    ] {
        let copy = world.order().set(name, raw).signed(&[&world.orders]);
        let why = "what we cannot honour is held for a release that can, never ignored";
        let file =
            if name == "Kind" { "kind-in-other-case".to_owned() } else { name.to_lowercase() };
        let step = Step::new("orders.created", copy, E110);
        cases.one(&format!("header/unsupported-{file}"), why, step);
    }
    for (file, raw) in [
        ("true", "true"),
        ("null", "null"),
        ("fraction", "1.5"),
        ("list", "[]"),
        ("unsafe", "9007199254740992"),
    ] {
        let copy = world.order().set("x_note", raw).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E111);
        cases.one(
            &format!("header/extension-{file}"),
            "extensions too are text or safe integers",
            step,
        );
    }
}

fn bounds(cases: &mut Cases, world: &World) {
    let long = |count: usize| quoted(&"a".repeat(count));
    for (member, file, raw) in [
        ("id", "shortest", long(10)),
        ("id", "longest", long(64)),
        ("id", "marks", quoted("a.b_c:d-e0")),
        ("occ", "offset", quoted("2026-03-05T12:12:33.129+02:00")),
        ("occ", "leap-second", quoted("2016-12-31T23:59:60Z")),
        ("act", "longest", long(128)),
        ("act", "escaped", quoted("Zo\\u00eb \\ud83d\\ude00")),
        ("req", "longest", long(128)),
    ] {
        let copy = world.order().enveloped_again().both(member, &raw).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, "ok");
        cases.one(&format!("header/{member}-{file}"), "at the bound, and in it", step);
    }
    let four = quoted(&vec![b64u(&[7; 32]); 4].join(","));
    for (member, file, raw) in [
        ("exp", "on-event", (SIGNED + 60_000).to_string()),
        ("ep", "largest", "9007199254740991".to_owned()),
        ("seq", "largest", "9007199254740991".to_owned()),
        ("cause", "four", four),
        ("x_abcdefghijklmnopqrstuvwx", "longest", "-9007199254740991".to_owned()),
        ("x_note", "text", quoted("anything")),
    ] {
        let copy = world.order().set(member, &raw).signed(&[&world.orders]);
        let name = if member.starts_with("x_") { "extension" } else { member };
        let step = Step::new("orders.created", copy, "ok");
        cases.one(&format!("header/{name}-{file}"), "at the bound, and in it", step);
    }
    let long_destination = format!("{}/{}/{}", "d".repeat(64), "e".repeat(64), "s".repeat(127));
    let copy = world.order().set("aud", &quoted(&long_destination)).signed(&[&world.orders]);
    let step = Step::new("orders.created", copy, E111);
    cases.one("header/aud-long", "destinations have at most 256 characters", step);
}

fn bodies(cases: &mut Cases, world: &World) {
    for (file, raw, why) in [
        ("one-more", (SOURCE.len() + 1).to_string(), "the length is signed apart from the digest"),
        ("null-body", "-1".to_owned(), "the header says there is no body and there is one"),
    ] {
        let copy = world.order().set("bl", &raw).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, "E210_BODY_DIGEST");
        cases.one(&format!("header/bl-{file}"), why, step);
    }
}

fn shapes(cases: &mut Cases, world: &World) {
    let h = world.order().h();
    let inside = h.trim_start_matches('{').trim_end_matches('}');
    let many: Vec<String> = (0..130).map(|n| format!("\"x_{n}\":1")).collect();
    let table = [
        ("leading-space", format!(" {h}"), "one spelling: H begins with its brace"),
        ("trailing-newline", format!("{h}\n"), "H is printable ASCII"),
        ("raw-utf8", h.replace("svc-orders", "svc-ørders"), "H is printable ASCII"),
        ("delete-character", h.replace("svc", "s\u{7f}vc"), "H is printable ASCII"),
        ("empty", String::new(), "H is an object"),
        ("text", quoted("header"), "H is an object"),
        ("doubled-member", format!("{{{inside},\"ten\":\"t_456\"}}"), "first or last? refused"),
        ("doubled-by-escape", format!("{{{inside},\"t\\u0065n\":\"t_456\"}}"), "the same name"),
        ("nested-object", format!("{{{inside},\"x_a\":{{}}}}"), "H is flat"),
        ("trailing-comma", format!("{{{inside},}}"), "not JSON"),
        ("comment", format!("{{{inside}/**/}}"), "not JSON"),
        ("two-objects", format!("{h}{h}"), "one document"),
        ("unfinished", format!("{{{inside},\"x_a\":}}"), "not JSON"),
        ("lone-surrogate", format!("{{{inside},\"act\":\"\\ud83d\"}}"), "no character"),
        ("too-many-members", format!("{{{inside},{}}}", many.join(",")), "a bound on work"),
    ];
    for (file, h, why) in table {
        let copy = world.order().raw(&h, &world.orders);
        let step = Step::new("orders.created", copy, E111);
        cases.one(&format!("header/shape-{file}"), why, step);
    }
    let spaced = format!("{{ {} }}", inside.replace(",\"", " , \"").replace("\":", "\" : "));
    let copy = world.order().raw(&spaced, &world.orders);
    let step = Step::new("orders.created", copy, "ok");
    cases.one(
        "header/shape-inner-spaces",
        "exact bytes are signed, there is no canonical form",
        step,
    );
    let reversed: Vec<&str> = inside.split(",\"").collect();
    let reversed: Vec<String> =
        reversed.iter().rev().map(|m| format!("\"{}", m.trim_start_matches('"'))).collect();
    let copy = world.order().raw(&format!("{{{}}}", reversed.join(",")), &world.orders);
    let step = Step::new("orders.created", copy, "ok");
    cases.one(
        "header/shape-other-order",
        "exact bytes are signed, there is no canonical form",
        step,
    );
}

fn traces(cases: &mut Cases, world: &World) {
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let zeros = "0".repeat(32);
    let table = [
        ("version-ff", format!("ff-{trace}-{parent}-01")),
        ("upper-case", format!("00-{}-{parent}-01", trace.to_uppercase())),
        ("zero-trace", format!("00-{zeros}-{parent}-01")),
        ("zero-parent", format!("00-{trace}-0000000000000000-01")),
        ("short-trace", format!("00-{}-{parent}-01", &trace[1..])),
        ("short-flags", format!("00-{trace}-{parent}-1")),
        ("no-flags", format!("00-{trace}-{parent}")),
        ("tail-in-version-0", format!("00-{trace}-{parent}-01-more")),
        ("trailing-dash", format!("00-{trace}-{parent}-01-")),
        ("future-long-flags", format!("cc-{trace}-{parent}-01.what")),
        ("future-line-feed", format!("cc-{trace}-{parent}-01-a\\u000d\\u000aset-cookie:b")),
        ("outer-space", format!(" 00-{trace}-{parent}-01")),
        ("empty", String::new()),
    ];
    for (file, tp) in table {
        let copy =
            world.order().enveloped_again().both("tp", &quoted(&tp)).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E111);
        cases.one(&format!("header/tp-{file}"), "W3C Trace Context, section 3.2", step);
    }
    for (file, tp) in [
        ("not-sampled", format!("00-{trace}-{parent}-00")),
        ("all-flags", format!("00-{trace}-{parent}-ff")),
        ("future", format!("cc-{trace}-{parent}-01")),
        ("future-with-more", format!("cc-{trace}-{parent}-01-what-the-future-brings")),
    ] {
        let copy =
            world.order().enveloped_again().both("tp", &quoted(&tp)).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, "ok");
        cases.one(&format!("header/tp-{file}"), "W3C Trace Context, section 3.2", step);
    }
}

fn good(cases: &mut Cases, world: &World) {
    let pad = |to: usize| {
        let bare = world.order().set("x_pad", "\"\"").h().len();
        world.order().set("x_pad", &quoted(&"p".repeat(to - bare)))
    };
    let copy = pad(4096).signed(&[&world.orders]);
    cases.one("header/longest", "4096 bytes are allowed", Step::new("orders.created", copy, "ok"));
    let copy = pad(4097).signed(&[&world.orders]);
    let step = Step::new("orders.created", copy, "E101_TOO_LARGE");
    cases.one("header/too-long", "4097 bytes are not", step);
}
