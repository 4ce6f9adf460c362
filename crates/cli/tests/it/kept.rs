// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is set aside: seen without its content, released, given up, and all of it on record.

use chancery_core::Field;
use chancery_local::Broker;

use crate::shop::{Running, Shop, ids, order};

/// Appends what anybody with access to the broker could.
fn stranger(shop: &Shop, body: &[u8]) {
    let broker = Broker::open(&shop.path("data/broker")).unwrap();
    let fields = [Field::new("x-any", "thing")];
    broker.append_raw("orders.created", &fields, None, Some(body)).unwrap();
}

#[test]
fn an_unsigned_message_is_kept_and_never_shown_unasked() {
    let shop = Shop::new();
    shop.publish(1);
    stranger(&shop, b"{\"secret\":\"hunter2\"}");
    shop.publish(1);
    let consumed = shop.consume();
    assert_eq!(ids(&consumed).len(), 2, "the honest ones");
    let listed = shop.run(&["--json", "kept", "ls"]).json();
    let item = &listed[0]["kept"][0];
    assert_eq!(item["reason"], "E201_UNSIGNED");
    assert_eq!(item["disposition"], "quarantine");
    let id = item["id"].as_str().unwrap();
    for quiet in [
        shop.run(&["kept", "ls"]),
        shop.run(&["kept", "show", id]),
        shop.run(&["explain", id]),
        shop.run(&["evidence", "show"]),
    ] {
        assert!(!quiet.out.contains("hunter2") && !quiet.err.contains("hunter2"), "{quiet:?}");
    }
    for args in [["kept", "show", id, "--payload"], ["kept", "show", "--payload", id]] {
        assert!(shop.run(&args).ok().contains("hunter2"));
    }
    assert!(shop.run(&["explain", id]).ok().contains("chancery why E201_UNSIGNED"));
    shop.run(&["kept", "discard", id, "--operator", "ada"]).ok();
    assert_eq!(shop.run(&["kept", "ls"]).ok(), "nothing is set aside\n");
    let record = shop.run(&["evidence", "show", "--last", "1"]).ok();
    assert!(record.contains("discard") && record.contains("by ada"), "{record}");
    shop.run(&["kept", "show", id]).failed(64, "nothing that is set aside is called");
}

// Escape sequences in a stranger's message must not reach the operator's terminal.
#[test]
fn a_payload_cannot_steer_the_terminal() {
    let shop = Shop::new();
    stranger(&shop, b"\x1b]0;owned\x07");
    shop.consume();
    let shown = shop.run(&["kept", "show", "1", "--payload"]).ok();
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
}

#[test]
fn a_held_message_is_handled_once_its_schema_is_there() {
    let shop = Shop::new();
    let schema = shop.read("schemas/orders.created/1.json");
    shop.write("schemas/orders.created/2.json", &schema);
    let held = shop.publish(1).remove(0);
    std::fs::remove_file(shop.path("schemas/orders.created/2.json")).unwrap();
    let args = ["consume", "orders.created", "--group", "billing"];
    let mut running = Running::start(&shop, &args);
    crate::shop::eventually("it is held", || {
        shop.run(&["kept", "ls"]).out.contains("E405_SCHEMA_UNKNOWN")
    });
    let explained = shop.run(&["explain", &held]).ok();
    assert!(explained.contains("judged now, it is refused: E405_SCHEMA_UNKNOWN"), "{explained}");
    // The consumer runs on and sees the folder change.
    shop.write("schemas/orders.created/2.json", &schema);
    assert_eq!(running.next()["id"], held.as_str());
    running.told("in force now");
    crate::shop::eventually("nothing is set aside", || {
        shop.run(&["kept", "ls"]).out == "nothing is set aside\n"
    });
    running.signal("TERM");
    assert_eq!(running.wait(), 0);
}

#[test]
fn a_parked_message_runs_when_it_is_released() {
    let shop = Shop::new();
    let published = shop.publish(2);
    let fail = ["--idle-exit", "1", "--attempts", "1", "--exec", "false"];
    let consume = ["consume", "orders.created", "--group", "billing"];
    shop.run(&[&consume[..], &fail].concat()).ok();
    assert_eq!(shop.consume().ok(), "", "parked messages do not run by themselves");
    shop.run(&["kept", "release"]).failed(64, "names no message");
    let released = shop.run(&["kept", "release", "--all", "--reason", "E601"]).ok();
    assert_eq!(released.matches("released").count(), 2, "{released}");
    assert_eq!(ids(&shop.consume()), published);
    let record = shop.run(&["evidence", "show", &published[0]]).ok();
    for kind in ["park", "release", "done"] {
        assert!(record.contains(kind), "{record}");
    }
    assert!(record.contains("by tester"), "{record}");
}

#[test]
fn a_key_goes_on_past_a_lost_version() {
    let shop = Shop::new();
    shop.edit("policy.yaml", "    key: order_id ", "    ordered: true\n    key: order_id ");
    shop.edit(
        "schemas/orders.created/1.json",
        "\"order_id\": {",
        "\"n\": {\"type\": \"integer\"},\n    \"order_id\": {",
    );
    let line = |n: u32| order("o_1", 1).replace('{', &format!("{{\"n\":{n},"));
    let publish = ["publish", "orders.created", "--version", "n"];
    let third = shop.fed(&publish, &line(3)).ok();
    assert_eq!(shop.consume().ok(), "");
    assert!(shop.run(&["kept", "ls"]).ok().contains("E511_GAP"));
    shop.run(&["kept", "release", "--skip-to", "3"]).failed(64, "needs one ordering key");
    let skip_to =
        |key: &str, version: &str| shop.run(&["kept", "release", key, "--skip-to", version]);
    skip_to("o_1", "4").failed(64, "go on with version 3 at most");
    skip_to("o_2", "3").failed(64, "nothing of it is set aside");
    assert_eq!(skip_to("o_1", "3").ok(), "o_1 goes on\n");
    assert_eq!(ids(&shop.consume()), [third.trim()]);
    let again = ["kept", "release", "o_1", "--stream", "orders.created", "--group", "billing"];
    shop.run(&[&again[..], &["--skip-to", "3"]].concat()).failed(64, "at version 3 already");
}

#[test]
fn filters_are_checked_before_they_are_trusted() {
    let shop = Shop::new();
    shop.run(&["kept", "ls", "--stream", "orders.craeted"]).failed(64, "did you mean");
    shop.run(&["kept", "ls", "--group", "biling"]).failed(64, "did you mean");
    shop.run(&["kept", "ls", "--reason", "E9"]).failed(64, "is not a reason");
    shop.run(&["kept", "ls", "--disposition", "gone"]).failed(2, "hold");
    shop.run(&["kept", "discard"]).failed(2, "IDS");
}
