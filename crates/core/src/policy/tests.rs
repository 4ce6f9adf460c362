// SPDX-License-Identifier: MIT OR Apache-2.0
//! Deny by default, and no typing error that grants.

use super::*;

const GOOD: &str = "\
version: 1
domain: example.org
environment: prod
times: { publish_within: 30s, retention: 1d }
services:
  svc-orders: { role: seller, tenants: [t_1, t_2] }
  svc-shop: { role: seller }
  svc-billing: { tenants: any }
streams:
  orders.created:
    kind: event
    owner: svc-orders
    handled_by: { billing: svc-billing }
    types: { orders.created: 2..4, orders.closed: 1, orders.opened: 3.. }
    tenants: [t_1, t_3]
  orders.paid:
    kind: command
    owner: role:seller
    key: order_id
    ordered: true
    unsigned: [svc-shop]
    rung: mark
";

fn policy() -> Policy {
    Policy::from_yaml(GOOD).unwrap()
}

fn refused(from: &str, to: &str) -> Misuse {
    let changed = GOOD.replacen(from, to, 1);
    assert_ne!(changed, GOOD, "{from}");
    Policy::from_yaml(&changed).expect_err(to)
}

#[test]
fn what_is_not_written_is_denied() {
    let policy = policy();
    let (created, paid) = (&policy.streams["orders.created"], &policy.streams["orders.paid"]);
    assert!(policy.may_publish("svc-orders", created));
    assert!(!policy.may_publish("svc-shop", created));
    assert!(!policy.may_publish("seller", paid) && !policy.may_publish("role:seller", paid));
    assert!(policy.may_publish("svc-shop", paid) && policy.may_publish("svc-orders", paid));
    assert!(!policy.may_publish("svc-billing", paid) && !policy.may_publish("", paid));
    assert!(policy.may_handle("svc-billing", "billing", created));
    assert!(!policy.may_handle("svc-billing", "other", created));
    assert!(!policy.may_handle("svc-orders", "billing", created));
    assert!(!policy.may_handle("svc-billing", "billing", paid), "nobody handles it");
}

#[test]
fn tenants_need_both_sides() {
    let policy = policy();
    let (created, paid) = (&policy.streams["orders.created"], &policy.streams["orders.paid"]);
    assert!(created.carries_tenant(Some("t_1")) && !created.carries_tenant(Some("t_2")));
    assert!(!created.carries_tenant(None), "a stream with tenants refuses none");
    assert!(paid.carries_tenant(None) && !paid.carries_tenant(Some("t_1")));
    assert!(policy.may_touch_tenant("svc-orders", Some("t_1")));
    assert!(!policy.may_touch_tenant("svc-orders", Some("t_3")));
    assert!(!policy.may_touch_tenant("svc-shop", Some("t_1")), "no claim, no tenant");
    assert!(policy.may_touch_tenant("svc-billing", Some("t_9")));
    assert!(!policy.may_touch_tenant("svc-nobody", None), "not even none");
}

#[test]
fn defaults_are_the_strict_ones() {
    let stream = &policy().streams["orders.created"];
    assert_eq!((stream.rung, stream.shared_keys), (Rung::Enforce, false));
    assert!(stream.extra_members, "the source's envelope may grow");
    assert!(stream.append_time, "a stream without one has to say so");
    assert_eq!(
        (stream.content.as_slice(), stream.bytes_max),
        (&["application/json".to_owned()][..], 1 << 20)
    );
    assert_eq!(policy().streams["orders.paid"].types["orders.paid"], Versions::ALL);
    assert_eq!(stream.types["orders.opened"], Versions { min: 3, max: 999 });
    assert!(
        !stream.types["orders.created"].contains(1) && !stream.types["orders.created"].contains(5)
    );
}

#[test]
fn the_horizon_is_the_sum_of_all_delays() {
    let times = policy().times;
    assert_eq!(times.publish_within_ms, 30_000);
    assert_eq!(times.horizon_ms(), 30_000 + DAY_MS + 7 * DAY_MS + HOUR_MS + MINUTE_MS);
    let endless = Times { retention_ms: i64::MAX, ..times };
    assert_eq!(endless.horizon_ms(), i64::MAX);
}

#[test]
fn destinations_are_compared_whole() {
    let policy = policy();
    assert_eq!(policy.destination("a.b"), "example.org/prod/a.b");
    assert!(policy.is_destination("example.org/prod/a.b", "a.b"));
    for aud in [
        "example.org/prod/a.bc",
        "example.org/prod/a",
        "example.org/prod/",
        "a.b",
        "example.org/prod//a.b",
        "example.orgg/prod/a.b",
        "example.org/pro/a.b",
        "xexample.org/prod/a.b",
    ] {
        assert!(!policy.is_destination(aud, "a.b"), "{aud}");
    }
}

/// A misspelt member that is passed over is a rule that nobody wrote.
#[test]
fn unknown_members_are_named_with_their_line() {
    for (from, to, line) in [
        ("version: 1", "version: 1\nallow: all", "2"),
        ("role: seller,", "rolle: seller,", "6"),
        ("handled_by:", "handeld_by:", "13"),
        ("retention: 1d", "retension: 1d", "4"),
    ] {
        let misuse = refused(from, to).to_string();
        assert!(misuse.contains("unknown") && misuse.contains(line), "{misuse}");
    }
}

#[test]
fn yaml_that_is_wrong_or_says_things_twice_is_refused_with_its_line() {
    for (from, to) in [
        ("kind: event", "kind: [event"),
        ("kind: event", "kind: event\n    kind: command"),
        (
            "  svc-shop: { role: seller }",
            "  svc-shop: { role: seller }\n  svc-shop: { role: boss }",
        ),
        ("kind: event", "kind: events"),
        ("ordered: true", "ordered: perhaps"),
        ("version: 1", "version: one"),
    ] {
        assert!(refused(from, to).to_string().contains("line"), "{to}: {}", refused(from, to));
    }
}

/// Threat: a few bytes of aliases that unfold to gigabytes.
#[test]
fn aliases_do_not_unfold_without_end() {
    let mut bomb = String::from("a: &a [x,x,x,x,x,x,x,x,x,x]\n");
    for (name, before) in ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip("abcdefgh".chars()) {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{before}"); 10].join(","));
    }
    assert!(Policy::from_yaml(&format!("{GOOD}{bomb}")).is_err());
    assert!(Policy::from_yaml(&format!("{GOOD}#{}", "x".repeat(1 << 20))).is_err());
}

#[test]
fn every_name_must_be_defined() {
    for (from, to, said) in [
        ("owner: svc-orders", "owner: svc-ordres", "svc-ordres"),
        ("owner: role:seller", "owner: role:buyer", "buyer"),
        ("owner: svc-orders", "owner: []", "no owner"),
        ("billing: svc-billing }", "billing: svc-bill }", "svc-bill"),
        ("unsigned: [svc-shop]", "unsigned: [svc-old]", "svc-old"),
    ] {
        let misuse = refused(from, to).to_string();
        assert!(misuse.contains(said) && misuse.contains("streams."), "{misuse}");
    }
}

#[test]
fn values_out_of_bounds_are_misuse() {
    for (from, to) in [
        ("version: 1", "version: 2"),
        ("domain: example.org", "domain: example/org"),
        ("environment: prod", "environment: ''"),
        ("  svc-shop:", "  ab:"),
        ("role: seller,", "role: 'a b',"),
        ("  orders.paid:", "  orders..paid:"),
        ("tenants: [t_1, t_3]", "tenants: ['t 1']"),
        ("{ billing:", "{ 'a b':"),
        ("orders.closed: 1", "'orders closed': 1"),
        ("2..4", "4..2"),
        ("2..4", "0..4"),
        ("2..4", "1..1000"),
        ("2..4", "two"),
        ("2..4", "-1"),
        ("publish_within: 30s", "publish_within: 30"),
        ("publish_within: 30s", "publish_within: -30s"),
        ("publish_within: 30s", "publish_within: s"),
        ("publish_within: 30s", "publish_within: 99999999999d"),
        ("retention: 1d", "retention: 40000d"),
        ("key: order_id\n", ""),
        ("rung: mark", "bytes_max: 16777217"),
        ("rung: mark", "content: JSON"),
        ("rung: mark", "content: application/x-java-serialized-object"),
        ("rung: mark", "content: [application/json, application/python-pickle]"),
        ("rung: mark", "content: application/yaml"),
        ("rung: mark", "content: text/x-yaml"),
    ] {
        let _ = refused(from, to);
    }
}
