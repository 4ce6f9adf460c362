// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines in, ids out; what is refused is told by line and stops nothing.

use crate::shop::{Shop, ids, order, orders};

#[test]
fn a_bad_line_is_told_by_number_and_stops_nothing() {
    let shop = Shop::new();
    let input = format!(
        "{}nonsense\n\n{}{{\"order_id\":\"a\",\"order_id\":\"b\",\"amount\":1,\"currency\":\"USD\"}}\n[]\n{}",
        order("o_1", 1),
        order("o_2", 2).replace(":2", ":-2"),
        order("o_3", 3),
    );
    let ended = shop.fed(&["publish", "orders.created", "--rejects", "rejected"], &input);
    let ended = ended.failed(1, "line 2: E104_JSON_AMBIGUOUS");
    for says in ["line 4: E401_SCHEMA", "line 5: E104_JSON_AMBIGUOUS", "line 6: E"] {
        assert!(ended.err.contains(says), "no `{says}` in {}", ended.err);
    }
    assert_eq!(ended.out.lines().count(), 2, "one id per confirmed line");
    let rejected = shop.read("rejected");
    assert_eq!(rejected.lines().count(), 4);
    assert!(rejected.starts_with("nonsense\n"), "as they were: {rejected}");
    assert_eq!(ids(&shop.consume()), ended.out.lines().collect::<Vec<_>>());
}

// For consumers that know CloudEvents and not us; ours must still admit them.
#[test]
fn cloud_events_attributes_are_sent_on_request_and_admitted() {
    let shop = Shop::new();
    let args = ["publish", "orders.created", "--cloud-events"];
    let id = shop.fed(&args, &order("o_1", 1)).ok();
    let db = rusqlite::Connection::open(shop.path("data/broker/broker.db")).unwrap();
    let fields: Vec<u8> = db.query_row("SELECT fields FROM message", [], |row| row.get(0)).unwrap();
    let text = String::from_utf8_lossy(&fields);
    for name in ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_time"] {
        assert!(text.contains(name), "no {name}");
    }
    assert_eq!(ids(&shop.consume()), [id.trim()]);
}

// What is refused may be anybody's data; it is in the rejects, not in a log.
#[test]
fn a_refusal_never_quotes_the_payload() {
    let shop = Shop::new();
    let secret = "hunter2-hunter2";
    let line = format!("{{\"order_id\":\"o\",\"amount\":\"{secret}\",\"currency\":\"USD\"}}\n");
    let ended = shop.fed(&["publish", "orders.created"], &line).failed(1, "E401_SCHEMA");
    assert!(!ended.err.contains(secret) && !ended.out.contains(secret), "{ended:?}");
}

#[test]
fn the_payloads_bytes_stay_as_they_are() {
    let shop = Shop::new();
    let line = "{ \"currency\" : \"USD\",\t\"amount\": 1 , \"order_id\":\"\\u006f_1\" }";
    shop.fed(&["publish", "orders.created"], line).ok();
    let out = shop.consume().ok();
    assert!(out.contains(&format!("\"payload\":{line}")), "{out}");
}

#[test]
fn ids_and_versions_come_from_members() {
    let shop = Shop::new();
    shop.edit("policy.yaml", "    key: order_id ", "    ordered: true\n    key: order_id ");
    shop.edit(
        "schemas/orders.created/1.json",
        "\"order_id\": {",
        "\"n\": {\"type\": \"integer\"},\n    \"order_id\": {",
    );
    let line = |n: u32| {
        format!("{{\"order_id\":\"order-000{n}\",\"amount\":1,\"currency\":\"USD\",\"n\":1}}\n")
    };
    let args = ["publish", "orders.created", "--id", "order_id", "--version", "n"];
    assert_eq!(shop.fed(&args, &line(7)).ok(), "order-0007\n");
    assert_eq!(shop.fed(&args, &line(7)).ok(), "order-0007\n");
    assert_eq!(ids(&shop.consume()), ["order-0007"], "told twice, handled once");
    let args = ["publish", "orders.created", "--id", "nope", "--version", "n"];
    let missing = shop.fed(&args, &line(8));
    missing.failed(1, "`nope`, named by --id, is missing");
    let unordered = shop.fed(&["publish", "orders.created", "--id", "order_id"], &line(9));
    unordered.failed(64, "--version FIELD");
}

#[test]
fn whole_envelopes_are_sent_as_they_are() {
    let shop = Shop::new();
    let envelope = |producer: &str| {
        format!(
            "{{\"event_id\":\"evt-0000001\",\"event_type\":\"orders.created\",\
             \"schema_version\":1,\"occurred_at\":\"2026-03-05T10:12:33Z\",\
             \"producer\":\"{producer}\",\"extra\":[1],\"payload\":{}}}\n",
            order("o_1", 1).trim()
        )
    };
    let args = ["publish", "orders.created", "--envelope"];
    assert_eq!(shop.fed(&args, &envelope("svc-orders")).ok(), "evt-0000001\n");
    shop.fed(&args, &envelope("svc-billing")).failed(1, "E108_ENVELOPE_MISMATCH");
    shop.fed(&args, &order("o_1", 1)).failed(1, "named by --envelope, is missing");
    assert_eq!(ids(&shop.consume()), ["evt-0000001"]);
}

#[test]
fn tenants_come_from_a_member_or_are_the_same_for_all() {
    let shop = Shop::new();
    shop.edit(
        "policy.yaml",
        "  svc-orders:\n  svc-billing:",
        "  svc-orders: {tenants: [acme, initech]}\n  svc-billing: {tenants: any}",
    );
    shop.edit("policy.yaml", "    key: order_id ", "    tenants: any\n    key: order_id ");
    let fixed = ["publish", "orders.created", "--tenant", "=acme"];
    shop.fed(&fixed, &order("o_1", 1)).ok();
    shop.fed(&["publish", "orders.created", "--tenant", "=evil"], &order("o_1", 1))
        .failed(64, "may not speak for tenant `evil`");
    shop.fed(&["publish", "orders.created", "--tenant", "order_id"], &order("initech", 1)).ok();
    shop.fed(&["publish", "orders.created", "--tenant", "order_id"], &order("evil", 1))
        .failed(1, "E304_TENANT");
    shop.fed(&["publish", "orders.created"], &order("o_1", 1)).failed(1, "E304_TENANT");
    let tenants: Vec<_> = shop.consume().json().iter().map(|l| l["tenant"].clone()).collect();
    assert_eq!(tenants, ["acme", "initech"]);
}

#[test]
fn many_lines_keep_their_order() {
    let shop = Shop::new();
    let args = ["--json", "publish", "orders.created"];
    let told = shop.fed(&args, &orders(300)).json();
    let lines: Vec<u64> = told.iter().map(|told| told["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, (1..=300).collect::<Vec<_>>());
    let consumed = shop.consume().json();
    let amounts: Vec<u64> =
        consumed.iter().map(|line| line["payload"]["amount"].as_u64().unwrap()).collect();
    assert_eq!(amounts, (1..=300).collect::<Vec<_>>());
}

#[test]
fn a_line_beyond_the_formats_limit_is_refused_alone() {
    let shop = Shop::new();
    let huge = format!("{{\"order_id\":\"{}\"}}\n{}", "a".repeat(20 << 20), order("o_1", 1));
    let ended = shop.fed(&["publish", "orders.created"], &huge).failed(1, "line 1: E101_TOO_LARGE");
    assert_eq!(ended.out.lines().count(), 1);
}

#[test]
fn without_a_key_or_a_right_nothing_is_sent() {
    let shop = Shop::new();
    let publish = |args: &[&str]| shop.fed(&[&["publish"], args].concat(), &order("o", 1));
    publish(&["order.created"]).failed(64, "did you mean `orders.created`?");
    publish(&["orders.created", "--as", "svc-billing"]).failed(64, "may not publish here");
    publish(&["orders.created", "--as", "svc-order"]).failed(64, "did you mean `svc-orders`?");
    publish(&["orders.created", "--type", "x"]).failed(64, "does not carry type `x`");
    std::fs::remove_file(shop.path("keys/svc-orders.message.key")).unwrap();
    publish(&["orders.created"]).failed(64, "holds no key of an owner");
    publish(&["orders.created", "--as", "svc-orders"]).failed(64, "has no key to sign");
    assert_eq!(shop.consume().ok(), "");
}

#[test]
fn versions_and_ids_that_cannot_be_are_told_in_the_users_words() {
    let shop = Shop::new();
    let publish = |args: &[&str]| {
        shop.fed(&[&["publish", "orders.created"], args].concat(), &crate::shop::orders(1))
    };
    publish(&["--version", "amount"]).failed(64, "is not ordered");
    publish(&["--id", "order_id"]).failed(1, "is not 10 to 64 of");
    shop.edit("policy.yaml", "    key: order_id", "    ordered: true\n    key: order_id");
    publish(&[]).failed(64, "--version FIELD");
}
