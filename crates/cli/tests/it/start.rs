// SPDX-License-Identifier: MIT OR Apache-2.0
//! The first ten minutes: init, publish, consume, verify, check.

use std::process::Command;

use crate::shop::{CHANCERY, Ended, Shop, ids, modes, order};

#[test]
fn from_nothing_to_a_proof_that_stands_alone() {
    let shop = Shop::new();
    let published = shop.fed(&["publish", "orders.created"], &order("o_1", 4200)).ok();
    let consumed = shop.consume();
    let line = &consumed.json()[0];
    assert_eq!(line["id"], published.trim());
    assert_eq!(line["producer"], "svc-orders");
    assert_eq!(line["key"], "o_1");
    assert_eq!(line["payload"]["amount"], 4200);
    let names = line.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for name in ["id", "key", "payload", "producer", "stream", "tenant", "time", "type", "version"]
    {
        assert!(names.contains(&name.to_owned()), "{name} is missing");
    }
    assert!(shop.run(&["evidence", "verify"]).ok().contains("svc-billing: sound; 2 records"));

    let bundle = shop.run(&["evidence", "bundle", "--event", published.trim()]).ok();
    let proof = shop.path("proof");
    std::fs::write(&proof, bundle).unwrap();
    let key = verifier(&shop, "svc-billing");
    // Anywhere, without the project.
    let check = Command::new(CHANCERY)
        .args(["evidence", "check", proof.to_str().unwrap(), "--key", &key])
        .current_dir("/")
        .output();
    let checked = Ended::of(check.unwrap()).ok();
    assert!(checked.starts_with("proven: record 1 of the 2"), "{checked}");
    assert!(checked.contains("done"), "{checked}");
}

pub(crate) fn verifier(shop: &Shop, service: &str) -> String {
    let listed = shop.run(&["--json", "keys", "ls"]);
    let keys = listed.json()[0]["keys"].as_array().unwrap().clone();
    let name = format!("shop/dev/{service}");
    let key = keys.iter().find(|key| key["purpose"] == "evidence" && key["name"] == name.as_str());
    key.unwrap()["key"].as_str().unwrap().to_owned()
}

// A second run must never take what a first one made.
#[test]
fn init_overwrites_nothing() {
    let shop = Shop::new();
    let before = shop.read("keys/root.key");
    let again = Command::new(CHANCERY).arg("init").arg(shop.dir()).output().unwrap();
    Ended::of(again).failed(64, "is not empty");
    assert_eq!(shop.read("keys/root.key"), before);
}

#[test]
fn init_says_what_to_type_next() {
    let root = tempfile::tempdir().unwrap();
    let made = Command::new(CHANCERY).args(["init", "a b"]).current_dir(&root).output().unwrap();
    let said = Ended::of(made).ok();
    for next in ["cd 'a b'", "chancery publish orders.created", "chancery evidence verify"] {
        assert!(said.contains(next), "{said}");
    }
    let odd = Command::new(CHANCERY)
        .args(["init", "x", "--domain", "a/b"])
        .current_dir(&root)
        .output()
        .unwrap();
    Ended::of(odd).failed(64, "--domain: is not a valid name");
    assert!(!root.path().join("x").exists());
}

// Whoever can read a key can sign with it.
#[test]
fn secrets_are_private_from_the_start() {
    let shop = Shop::new();
    for (name, mode) in modes(&shop.path("keys")) {
        assert_eq!(mode, 0o600, "keys/{name}");
    }
    for (name, mode) in modes(&shop.dir()) {
        if ["keys", "data", "evidence"].contains(&name.as_str()) {
            assert_eq!(mode, 0o700, "{name}");
        }
    }
    shop.publish(1);
    shop.consume().ok();
    for (name, mode) in modes(&shop.path("data/broker")) {
        assert_eq!(mode & 0o007, mode & 0o007 & 0o005, "data/broker/{name} may be written by all");
    }
}

#[test]
fn nothing_expires_within_a_year() {
    let shop = Shop::new();
    let keys = shop.run(&["--json", "keys", "ls"]).json();
    let year = |text: &str| text[..4].parse::<i32>().unwrap();
    let now = shop.run(&["--json", "doctor"]).json()[0]["checks"][1]["says"].clone();
    let now = year(now.as_str().unwrap());
    assert!(year(keys[0]["expires"].as_str().unwrap()) > now + 1);
    for key in keys[0]["keys"].as_array().unwrap() {
        if let Some(until) = key["until"].as_str() {
            assert!(year(until) > now + 1);
        }
    }
}

#[test]
fn commands_work_below_the_project_and_with_its_name() {
    let shop = Shop::new();
    let run = |args: &[&str], dir: &str| {
        Ended::of(Command::new(CHANCERY).args(args).current_dir(dir).output().unwrap())
    };
    let inside = shop.path("schemas");
    run(&["policy", "lint"], inside.to_str().unwrap()).ok();
    let dir = shop.dir();
    run(&["--project", dir.to_str().unwrap(), "policy", "lint"], "/").ok();
    run(&["policy", "lint"], "/").failed(64, "there is no project");
}

#[test]
fn every_report_is_json_when_asked() {
    let shop = Shop::new();
    let id = shop.publish(2).remove(0);
    let consumed = shop.run(&[
        "--json",
        "consume",
        "orders.created",
        "--group",
        "billing",
        "--idle-exit",
        "1",
    ]);
    assert_eq!(ids(&consumed).len(), 2);
    for args in [
        vec!["keys", "ls"],
        vec!["policy", "lint"],
        vec!["policy", "explain"],
        vec!["schema", "lint"],
        vec!["why"],
        vec!["why", "E302"],
        vec!["kept", "ls"],
        vec!["evidence", "show"],
        vec!["evidence", "verify"],
        vec!["evidence", "seal"],
        vec!["explain", &id],
        vec!["status"],
        vec!["doctor"],
    ] {
        let mut all = vec!["--json"];
        all.extend(&args);
        let ended = shop.run(&all);
        assert_eq!(ended.code, 0, "{args:?} {ended:?}");
        assert!(!ended.json().is_empty(), "{args:?}");
    }
    let failed = shop.run(&["--json", "policy", "explain", "--stream", "nope"]);
    let error: serde_json::Value = serde_json::from_str(&failed.err).unwrap();
    assert_eq!(error["error"]["exit"], 64);
    assert!(failed.out.is_empty());
}
