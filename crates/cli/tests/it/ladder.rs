// SPDX-License-Identifier: MIT OR Apache-2.0
//! A stream climbs: what runs below `enforce` says so, is counted, and is no open door.

use chancery_core::Field;
use chancery_local::Broker;
use serde_json::json;

use crate::shop::{Running, Shop, ids};

/// Appends what a producer that does not sign yet sends, or anyone in its name.
fn unsigned(shop: &Shop, producer: &str, id: &str) {
    let body = json!({
        "event_id": id, "event_type": "orders.created", "schema_version": 1,
        "occurred_at": "2026-03-05T10:12:33Z", "producer": producer,
        "payload": {"order_id": "o_1", "amount": 1, "currency": "USD"},
    });
    let broker = Broker::open(&shop.path("data/broker")).unwrap();
    let (body, key) = (body.to_string(), b"o_1");
    let fields: [Field; 0] = [];
    broker.append_raw("orders.created", &fields, Some(key), Some(body.as_bytes())).unwrap();
}

fn climb(shop: &Shop, rung: &str) {
    let rules = format!("    rung: {rung}\n    unsigned: [svc-orders]\n    key: order_id");
    shop.edit("policy.yaml", "    key: order_id", &rules);
}

#[test]
fn a_stream_climbs_from_observe_to_enforce() {
    let shop = Shop::new();
    climb(&shop, "observe");
    unsigned(&shop, "svc-orders", "unsigned-0001");
    unsigned(&shop, "svc-payouts", "forged-000001");
    let published = shop.publish(1);
    let seen = shop.consume();
    assert_eq!(ids(&seen), ["unsigned-0001", &published[0]]);
    let lines = seen.json();
    assert_eq!((&lines[0]["unproven"], &lines[0]["verified"]), (&json!(true), &json!(false)));
    assert_eq!((&lines[1]["unproven"], &lines[1]["verified"]), (&json!(true), &json!(true)));
    assert_eq!((&lines[0]["findings"], &lines[0]["key"]), (&json!([]), &json!("o_1")));
    assert!(shop.run(&["kept", "ls"]).ok().contains("E201_UNSIGNED"));

    // It has signed: from now on it must.
    shop.edit("policy.yaml", "rung: observe", "rung: mark");
    unsigned(&shop, "svc-orders", "unsigned-0002");
    let published = shop.publish(1);
    assert_eq!(ids(&shop.consume()), published);
    assert!(shop.run(&["kept", "ls"]).ok().contains("E212_SIGNATURE_STRIPPED"));

    let status = shop.run(&["status"]).ok();
    let says = "orders.created as billing is at `mark`: 3 ran, `enforce` would have refused 1";
    assert!(status.contains(says), "{status}");
    assert!(status.contains("  1 E201_UNSIGNED, last "), "{status}");
    let status = shop.run(&["--json", "status"]).json();
    assert!(status[0].to_string().contains("\"would_refuse\":1"), "{status:?}");
    let records = shop.run(&["--json", "evidence", "show"]).ok();
    assert!(records.contains("\"findings\":[\"E201_UNSIGNED\"]"), "{records}");

    shop.edit("policy.yaml", "rung: mark", "rung: enforce");
    let published = shop.publish(1);
    let line = &shop.consume().json()[0];
    assert_eq!((&line["id"], &line["unproven"]), (&json!(published[0]), &json!(null)));
    assert!(!shop.run(&["status"]).ok().contains("ran"), "a stream that is enforced is done");
}

#[test]
fn marked_findings_are_in_the_line_and_no_id_is_made_up() {
    let shop = Shop::new();
    climb(&shop, "mark");
    unsigned(&shop, "svc-orders", "unsigned-0001");
    let script = "cat; echo \"message=${CHANCERY_MESSAGE-none}\"";
    let args = ["consume", "orders.created", "--group", "billing", "--max", "1"];
    let exec = ["--exec", "sh", "-c", script];
    let out = shop.run(&[&args[..], &exec].concat()).ok();
    assert!(out.contains("\"unproven\":true,\"verified\":false"), "{out}");
    assert!(out.contains("\"findings\":[\"E201_UNSIGNED\"]"), "{out}");
    assert!(out.contains("message=none"), "{out}");
}

/// Threat: a stream is let down, and a running handler takes the unproven for proven.
#[test]
fn a_running_consumer_ends_when_its_stream_crosses_enforce() {
    let shop = Shop::new();
    let args = ["consume", "orders.created", "--group", "billing"];
    let mut running = Running::start(&shop, &args);
    let published = shop.publish(1);
    assert_eq!(running.next()["id"], published[0].as_str());
    climb(&shop, "observe");
    running.told("start the consumer again");
    assert_eq!(running.wait(), 64);
    let mut running = Running::start(&shop, &args);
    let published = shop.publish(1);
    assert_eq!(running.next()["id"], published[0].as_str());
    // Between rungs below it goes on.
    shop.edit("policy.yaml", "rung: observe", "rung: mark");
    running.told("in force now");
    let published = shop.publish(1);
    assert_eq!(running.next()["id"], published[0].as_str());
    shop.edit("policy.yaml", "rung: mark", "rung: enforce");
    running.told("start the consumer again");
    assert_eq!(running.wait(), 64);
}
