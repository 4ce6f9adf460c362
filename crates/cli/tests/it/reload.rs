// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder changes while a consumer runs.

use crate::shop::{Running, Shop};

#[test]
fn a_bad_change_is_told_once_and_the_old_stays_in_force() {
    let shop = Shop::new();
    let mut running = Running::start(&shop, &["consume", "orders.created", "--group", "billing"]);
    let first = shop.publish(1);
    assert_eq!(running.next()["id"], first[0].as_str());
    let policy = shop.read("policy.yaml");
    shop.write("policy.yaml", "version: 1\n");
    running.told("a change is not in force");
    shop.write("policy.yaml", &policy);
    let second = shop.publish(1);
    assert_eq!(running.next()["id"], second[0].as_str());
    // A new key is known without a restart.
    shop.run(&["keys", "rotate", "svc-orders", "--overlap", "0"]).ok();
    running.told("in force now: bundle version 2");
    let third = shop.publish(1);
    assert_eq!(running.next()["id"], third[0].as_str());
    running.signal("INT");
    assert_eq!(running.wait(), 0);
}
