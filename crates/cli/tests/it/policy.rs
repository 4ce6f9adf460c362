// SPDX-License-Identifier: MIT OR Apache-2.0
//! The policy decides at both ends, and says by which rule.

use crate::shop::{Shop, ids};

// A producer whose right was taken away: what it sent is held, and handled once it is given back.
#[test]
fn what_the_policy_denies_is_held_until_it_allows() {
    let shop = Shop::new();
    let published = shop.publish(2);
    shop.edit("policy.yaml", "owner: svc-orders ", "owner: svc-payouts ");
    assert_eq!(shop.consume().ok(), "");
    let kept = shop.run(&["kept", "ls"]).ok();
    assert_eq!(kept.matches("E301_GRANT").count(), 2, "{kept}");
    assert!(kept.contains("`svc-orders` may not publish"), "{kept}");
    shop.edit("policy.yaml", "owner: svc-payouts ", "owner: svc-orders ");
    assert_eq!(ids(&shop.consume()), published);
}

#[test]
fn explain_names_the_rule() {
    let shop = Shop::new();
    let explain = |args: &[&str]| shop.run(&[&["policy", "explain"], args].concat()).ok();
    let all = explain(&[]);
    assert!(all.contains("streams.orders.created.owner: svc-orders"), "{all}");
    assert!(all.contains("may handle as billing"), "{all}");
    assert!(!all.contains("may not"), "{all}");
    let one = explain(&["--service", "svc-orders", "--stream", "payout.approve"]);
    assert!(one.contains("may not publish"), "{one}");
    assert!(one.contains("streams.payout.approve.handled_by does not name it"), "{one}");
    for fact in ["shop/dev/payout.approve", "command", "payout.approve 1..999", "none"] {
        assert!(one.contains(fact), "{fact}: {one}");
    }
    let typ = explain(&["--service", "svc-orders", "--stream", "orders.created", "--type", "x"]);
    assert!(typ.contains("streams.orders.created.types does not carry `x`"), "{typ}");
    let tenant = explain(&["--stream", "orders.created", "--tenant", "acme"]);
    assert!(tenant.contains("nobody may"), "{tenant}");
    assert!(!all.contains("extra members") && !one.contains("extra members"), "{one}");
    shop.edit(
        "policy.yaml",
        "    sensitive: true",
        "    sensitive: true\n    extra_members: false\n    append_time: none",
    );
    let closed = explain(&["--stream", "payout.approve"]);
    assert!(closed.contains("bytes, no extra members, lateness not judged"), "{closed}");
    shop.run(&["policy", "explain", "--stream", "x"]).failed(64, "there is orders.created");
}

#[test]
fn lint_points_at_what_allows_too_much() {
    let shop = Shop::new();
    assert_eq!(shop.run(&["policy", "lint"]).ok(), "2 streams, 0 findings\n");
    shop.edit(
        "policy.yaml",
        "    sensitive: true",
        "    sensitive: true\n    shared_keys: true\n    rung: observe\n    append_time: none",
    );
    shop.edit("policy.yaml", "  svc-orders:\n", "  svc-orders:\n  svc-idle:\n");
    shop.edit(
        "policy.yaml",
        "    key: order_id",
        "    types: {orders.created: 1, orders.gone: 1}\n    key: order_id",
    );
    let ended = shop.run(&["policy", "lint"]);
    assert_eq!(ended.code, 1);
    let rules =
        ["below-enforce", "shared-on-sensitive", "idle-service", "no-schema", "no-append-time"];
    for rule in rules {
        assert!(ended.out.contains(rule), "{rule}: {}", ended.out);
    }
    assert!(ended.out.contains("`orders.gone` in the versions it carries: all is held with E405"));
    assert_eq!(ended.out.matches("no-schema").count(), 1, "{}", ended.out);
    shop.edit(
        "policy.yaml",
        "    key: order_id",
        "    content: text/plain\n    extra_members: false",
    );
    let ended = shop.run(&["policy", "lint"]);
    assert!(ended.out.contains("idle-extra-members"), "{}", ended.out);
    assert!(!ended.out.contains("no-schema"), "what is no envelope has no schema: {}", ended.out);
}
