// SPDX-License-Identifier: MIT OR Apache-2.0
//! A key's life: made, followed, declared stolen, renewed, and never readable by others.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use crate::shop::{Shop, ids, order};

fn keys(shop: &Shop, service: &str) -> Vec<Value> {
    let listed = shop.run(&["--json", "keys", "ls"]).json();
    let keys = listed[0]["keys"].as_array().unwrap().clone();
    keys.into_iter().filter(|k| k["purpose"] == "message" && k["name"] == service).collect()
}

// Whoever can read a key can sign with it, so one that others can read is used for nothing.
#[test]
fn a_key_that_others_can_read_is_refused() {
    let shop = Shop::new();
    let key = shop.path("keys/svc-orders.message.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
    shop.fed(&["publish", "orders.created"], &order("o", 1))
        .failed(64, "holds a secret and has mode 640");
    shop.run(&["doctor"]).failed(64, "chmod 600");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(shop.path("keys"), fs::Permissions::from_mode(0o755)).unwrap();
    let ended = shop.run(&["doctor"]);
    assert_eq!(ended.code, 1);
    assert!(ended.out.contains("has mode 755"), "{}", ended.out);
}

#[test]
fn a_rotated_key_signs_and_the_last_ones_messages_stay_good() {
    let shop = Shop::new();
    let first = shop.publish(1);
    shop.run(&["keys", "rotate", "svc-orders"]).ok();
    let second = shop.publish(1);
    assert_eq!(keys(&shop, "svc-orders").len(), 2);
    assert_eq!(fs::read_dir(shop.path("keys")).unwrap().count(), 6, "the old secret is gone");
    assert_eq!(ids(&shop.consume()), [first, second].concat());
}

#[test]
fn a_rotation_that_broke_off_is_no_harm() {
    let shop = Shop::new();
    fs::remove_file(shop.path("keys/root.key")).unwrap();
    let count = fs::read_dir(shop.path("keys")).unwrap().count();
    shop.run(&["keys", "rotate", "svc-orders"]).failed(64, "run this where the root key is kept");
    assert_eq!(fs::read_dir(shop.path("keys")).unwrap().count(), count);
    shop.publish(1);
}

#[test]
fn a_revoked_key_signs_nothing_and_its_later_messages_are_held() {
    let shop = Shop::new();
    shop.publish(1);
    let kid = keys(&shop, "svc-orders")[0]["key"].as_str().unwrap().to_owned();
    shop.run(&["keys", "revoke", &kid, "--since", "2020-01-01T00:00:00Z"]).ok();
    shop.fed(&["publish", "orders.created"], &order("o", 1)).failed(64, "is marked as compromised");
    assert_eq!(shop.consume().ok(), "");
    assert!(shop.run(&["kept", "ls"]).ok().contains("E207_KEY_REVOKED"));
    shop.run(&["keys", "revoke", "nope"]).failed(64, "is not in the trust bundle");
    shop.run(&["keys", "revoke", &kid, "--since", "yesterday"]).failed(64, "RFC 3339");
    let later = ["keys", "revoke", &kid, "--since", "2199-01-01T00:00:00Z"];
    shop.run(&later).failed(64, "is in the future");
    // Nothing takes an earlier declaration back.
    shop.run(&["keys", "revoke", &kid]).ok();
    shop.consume();
    assert!(shop.run(&["kept", "ls"]).ok().contains("E207_KEY_REVOKED"));
    shop.run(&["keys", "rotate", "svc-orders"]).ok();
    shop.publish(1);
}

#[test]
fn an_expired_key_is_told_with_what_to_do() {
    let shop = Shop::new();
    shop.run(&["keys", "rotate", "svc-orders", "--overlap", "0"]).ok();
    // The newest is gone: what is left has expired.
    let other = Shop::new();
    fs::copy(other.path("keys/svc-orders.message.key"), shop.path("keys/svc-orders.message.key"))
        .unwrap();
    shop.fed(&["publish", "orders.created"], &order("o", 1))
        .failed(64, "is not in the trust bundle")
        .failed(64, "chancery keys rotate svc-orders");
}

#[test]
fn keys_belong_to_services_of_the_policy() {
    let shop = Shop::new();
    shop.run(&["keys", "add", "svc-order"]).failed(64, "did you mean `svc-orders`?");
    shop.run(&["keys", "add", "svc-orders"]).failed(64, "keys rotate svc-orders");
    shop.run(&["keys", "add", "--evidence", "svc-billing"]).failed(64, "one key for life");
    shop.edit("policy.yaml", "  svc-orders:\n", "  svc-orders:\n  svc-new:\n");
    shop.run(&["keys", "rotate", "svc-new"]).failed(64, "keys add svc-new");
    shop.run(&["keys", "add", "svc-new"]).ok();
    shop.run(&["keys", "add", "--evidence", "svc-new"]).ok();
    assert_eq!(keys(&shop, "svc-new").len(), 1);
}

#[test]
fn a_key_made_by_hand_or_for_something_else_is_refused() {
    let shop = Shop::new();
    let key = shop.read("keys/svc-orders.message.key");
    shop.write("keys/svc-orders.message.key", &key.replace("message", "evidence"));
    shop.fed(&["publish", "orders.created"], &order("o", 1)).failed(64, "holds no key of an owner");
    shop.write("keys/svc-orders.message.key", &key.replace("chancery-key-1", "my-key"));
    let ended = shop.fed(&["publish", "orders.created"], &order("o", 1));
    let secret = key.split_whitespace().last().unwrap();
    assert!(!ended.err.contains(secret), "{ended:?}");
    ended.failed(64, "is not a key file");
}

#[test]
fn a_renewed_bundle_lasts_longer_and_never_goes_back() {
    let shop = Shop::new();
    let old = shop.read("trust/bundle.json");
    shop.publish(2);
    shop.run(&["keys", "renew", "--days", "3650"]).ok();
    let listed = shop.run(&["--json", "keys", "ls"]).json();
    assert_eq!(listed[0]["version"], 2);
    shop.run(&["consume", "orders.created", "--group", "billing", "--max", "1"]).ok();
    // Somebody puts the older bundle back: its keys may be stolen since.
    shop.write("trust/bundle.json", &old);
    let ended = shop.consume().failed(69, "E208_BUNDLE_ROLLBACK");
    assert_eq!(ended.out, "");
    shop.run(&["keys", "renew", "--days", "0"]).failed(2, "--days");
}
