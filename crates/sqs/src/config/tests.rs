// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is written in `chancery.yaml`, and what is refused of it.

use super::*;

fn read(json: serde_json::Value) -> Result<Settings, Misuse> {
    let config: Config = serde_json::from_value(json).unwrap();
    config.read(Path::new("/"))
}

#[test]
fn a_region_is_enough() {
    let settings = read(serde_json::json!({"url": "sqs://eu-west-1"})).unwrap();
    assert_eq!((&*settings.region, settings.visibility.as_secs()), ("eu-west-1", 30));
    assert_eq!(settings.queue("orders.created", "billing").unwrap(), "orders_created-billing.fifo");
}

// Threat: a password on the wire, or messages that anybody on the way may change.
#[test]
fn without_tls_only_who_says_so() {
    let url = "sqs://eu-west-1";
    for (endpoint, insecure, well) in [
        ("https://localhost:1", false, true),
        ("http://localhost:1", true, true),
        ("http://localhost:1", false, false),
        ("localhost:1", true, false),
        ("https://", false, false),
        ("ftp://localhost", true, false),
        ("https://me:hunter2@localhost", true, false),
    ] {
        let read =
            read(serde_json::json!({"url": url, "endpoint": endpoint, "insecure": insecure}));
        assert_eq!(read.is_ok(), well, "{endpoint}");
        let told = read.err().map(|misuse| misuse.to_string()).unwrap_or_default();
        assert!(!told.contains("hunter2"), "{told}");
    }
}

#[test]
fn what_is_out_of_bounds_or_unknown_is_misuse() {
    for (wrong, at) in [
        (serde_json::json!({"url": "sqs://"}), "broker.url"),
        (serde_json::json!({"url": "sqs://eu/west"}), "broker.url"),
        (serde_json::json!({"url": "https://sqs.eu-west-1.amazonaws.com"}), "broker.url"),
        (serde_json::json!({"url": "sqs://eu", "visibility_s": 2}), "broker.visibility_s"),
        (serde_json::json!({"url": "sqs://eu", "visibility_s": 43_201}), "broker.visibility_s"),
        (serde_json::json!({"url": "sqs://eu", "ca": "no/such.pem"}), "broker.ca"),
        (serde_json::json!({"url": "sqs://eu", "ca": "/dev/null"}), "broker.ca"),
        (serde_json::json!({"url": "sqs://eu", "credentials": "no/such"}), "broker.credentials"),
        (serde_json::json!({"url": "sqs://eu", "config": "/"}), "broker.config"),
        (
            serde_json::json!({"url": "sqs://eu", "streams": {"a": {"queues": {"g": "a b"}}}}),
            "broker.streams.a.queues.g",
        ),
        (
            serde_json::json!({"url": "sqs://eu", "streams": {"a": {"groups": ["g/h"]}}}),
            "broker.streams.a.groups",
        ),
    ] {
        assert_eq!(read(wrong.clone()).unwrap_err().at, at, "{wrong}");
    }
    for unknown in [
        serde_json::json!({"url": "sqs://eu", "secret": "s"}),
        serde_json::json!({"url": "sqs://eu", "streams": {"a": {"via": "mail"}}}),
        serde_json::json!({"url": "sqs://eu", "streams": {"a": {"queue": "q"}}}),
    ] {
        assert!(serde_json::from_value::<Config>(unknown.clone()).is_err(), "{unknown}");
    }
}

// Threat: an authority that cannot be read, and the system's trusted in its place.
#[test]
fn what_is_no_certificate_is_no_authority() {
    let folder = tempfile::tempdir().unwrap();
    for text in [
        "",
        "hello",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
    ] {
        std::fs::write(folder.path().join("ca.pem"), text).unwrap();
        let config: Config =
            serde_json::from_value(serde_json::json!({"url": "sqs://eu", "ca": "ca.pem"})).unwrap();
        assert_eq!(config.read(folder.path()).unwrap_err().at, "broker.ca", "{text}");
    }
}

// Threat: a group whose queue is not sent to waits for ever and nobody is told.
#[test]
fn every_group_has_its_queue_or_nothing_is_sent() {
    let settings = read(serde_json::json!({
        "url": "sqs://eu",
        "streams": {"a.b": {"groups": ["g", "h"], "queues": {"h": "other.fifo", "i": "https://q/i"}}},
    }))
    .unwrap();
    assert_eq!(settings.queues("a.b").unwrap(), ["a_b-g.fifo", "other.fifo", "https://q/i"]);
    let fault = settings.queues("a.c").unwrap_err();
    assert!(fault.detail.contains("`a.c`"), "{fault}");
}

#[test]
fn a_group_that_makes_no_queue_name_is_a_fault() {
    let settings = read(serde_json::json!({"url": "sqs://eu"})).unwrap();
    let long = "g".repeat(76);
    for group in ["", "a/b", "a.b", "ä", &long] {
        let named = settings.queue("s", group);
        assert_eq!(named.is_err(), !group.is_empty(), "{group}: {named:?}");
    }
}
