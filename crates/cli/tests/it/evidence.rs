// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is on record can be shown, and cannot be changed unnoticed.

use std::fs;

use crate::shop::{Shop, ids};
use crate::start::verifier;

fn consumed(count: u64) -> (Shop, Vec<String>) {
    let shop = Shop::new();
    let published = shop.publish(count);
    assert_eq!(ids(&shop.consume()), published);
    (shop, published)
}

#[test]
fn a_changed_record_is_found() {
    let (shop, _) = consumed(3);
    let entries = shop.path("evidence/svc-billing/tile/entries/000.p/4");
    let mut bytes = fs::read(&entries).unwrap();
    let at = bytes.windows(9).position(|part| part == b"snapshot\"").unwrap();
    bytes[at] = b'S';
    fs::write(&entries, bytes).unwrap();
    let ended = shop.run(&["evidence", "verify"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.contains("svc-billing: BROKEN"), "{}", ended.out);
    assert!(ended.out.contains("is not the one that was sealed"), "{}", ended.out);
}

#[test]
fn a_removed_checkpoint_is_found() {
    let (shop, _) = consumed(1);
    fs::remove_file(shop.path("evidence/svc-billing/checkpoint")).unwrap();
    let ended = shop.run(&["evidence", "verify"]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("there is no checkpoint"), "{}", ended.out);
    fs::remove_dir_all(shop.path("evidence/svc-billing")).unwrap();
    let ended = shop.run(&["evidence", "verify"]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("the database has signed"), "{}", ended.out);
}

// An older copy of the folder verifies in itself; the database and a checkpoint kept elsewhere
// know better.
#[test]
fn a_cut_tail_is_found() {
    let (shop, _) = consumed(1);
    let log = shop.path("evidence/svc-billing");
    let copy = shop.path("copy");
    let cp = |from: &std::path::Path, to: &std::path::Path| {
        let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status();
        assert!(status.unwrap().success());
    };
    cp(&log, &copy);
    shop.publish(2);
    shop.consume();
    fs::copy(log.join("checkpoint"), shop.path("newer")).unwrap();
    let key = verifier(&shop, "svc-billing");
    let alone = ["evidence", "verify", "--dir", "copy", "--key", &key];
    let said = shop.run(&alone).ok();
    assert!(said.contains("nothing after"), "{said}");
    let at_least = [&alone[..], &["--at-least", "newer"]].concat();
    let ended = shop.run(&at_least);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("its tail was cut off"), "{}", ended.out);

    fs::remove_dir_all(&log).unwrap();
    cp(&copy, &log);
    let ended = shop.run(&["evidence", "verify"]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("the database has signed"), "{}", ended.out);
}

#[test]
fn another_logs_key_proves_nothing() {
    let (shop, published) = consumed(1);
    let bundle = shop.run(&["evidence", "bundle", "--event", &published[0]]).ok();
    shop.write("proof", &bundle);
    let other = verifier(&Shop::new(), "svc-billing");
    let ended = shop.run(&["evidence", "check", "proof", "--key", &other]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.out.starts_with("not proven"), "{}", ended.out);
    let key = verifier(&shop, "svc-billing");
    for (from, to) in [("index 1", "index 0"), ("extra ", "extra AAAA")] {
        shop.write("forged", &bundle.replacen(from, to, 1));
        let ended = shop.run(&["evidence", "check", "forged", "--key", &key]);
        assert_eq!(ended.code, 1, "{from}");
    }
    shop.run(&["evidence", "check", "proof", "--key", "nonsense"]).failed(64, "--key");
}

#[test]
fn events_are_found_by_id_message_and_position() {
    let (shop, published) = consumed(2);
    let shown = shop.run(&["--json", "evidence", "show", &published[1]]);
    let record = &shown.json()[0];
    assert_eq!(record["record"]["kind"], "done");
    let message = record["record"]["message"]["id"].as_str().unwrap().to_owned();
    for name in [&*message, "orders.created/2"] {
        assert_eq!(shop.run(&["--json", "evidence", "show", name]).json()[0], *record);
        assert!(shop.run(&["explain", name]).ok().contains("done"));
    }
    let none = shop.run(&["evidence", "show", "nothing"]);
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    shop.run(&["evidence", "bundle", "--event", "nothing"]).failed(64, "nothing sealed is about");
    assert_eq!(shop.run(&["evidence", "show", "--last", "1"]).ok().lines().count(), 1);
}

#[test]
fn records_hold_no_payload() {
    let shop = Shop::new();
    let line = "{\"order_id\":\"a-very-secret-order\",\"amount\":1,\"currency\":\"USD\"}";
    // The ordering key is signed, so it is in the header; other members are nowhere.
    shop.fed(&["publish", "orders.created"], &line.replace("USD", "QQQ")).ok();
    shop.consume();
    let shown = shop.run(&["--json", "evidence", "show"]).ok();
    assert!(!shown.contains("QQQ"), "{shown}");
}

#[test]
fn without_anything_on_record_nothing_is_wrong() {
    let shop = Shop::new();
    assert_eq!(shop.run(&["evidence", "verify"]).ok(), "nothing is on record yet\n");
    assert_eq!(shop.run(&["evidence", "show"]).ok(), "");
    assert_eq!(shop.run(&["evidence", "seal"]).ok(), "");
}

// Effects go on while nothing can be sealed; what waits is told, and sealed later.
#[test]
fn a_sealer_that_cannot_write_stops_no_message() {
    let shop = Shop::new();
    let published = shop.publish(2);
    fs::remove_dir(shop.path("evidence")).unwrap();
    shop.write("evidence", "a file where a folder should be");
    let consumed = shop.consume();
    assert_eq!(ids(&consumed), published);
    assert_eq!(consumed.err.matches("evidence is not being sealed").count(), 1, "{consumed:?}");
    shop.run(&["evidence", "seal"]).failed(74, "evidence/svc-billing");
    fs::remove_file(shop.path("evidence")).unwrap();
    shop.run(&["evidence", "seal"]).ok();
    assert!(shop.run(&["evidence", "verify"]).ok().contains("0 committed and not sealed"));
}

// An emptied ledger lets everything run again that the broker still has.
#[test]
fn an_older_or_emptied_database_is_found() {
    let (shop, _) = consumed(2);
    for name in ["svc-billing.db", "svc-billing.db-wal", "svc-billing.db-shm"] {
        let _ = fs::remove_file(shop.path(&format!("data/{name}")));
    }
    shop.publish(1);
    shop.consume();
    let ended = shop.run(&["evidence", "verify"]);
    assert!(ended.code == 1 && ended.out.contains("was emptied"), "{ended:?}");
    let ended = shop.run(&["doctor"]);
    assert!(ended.code == 1 && ended.out.contains("BAD      evidence"), "{ended:?}");
}
