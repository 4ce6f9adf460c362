// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is found of queues as people leave them.

use super::*;

fn found(name: &str, attributes: &[(&str, &str)]) -> Vec<(Promise, String)> {
    let queue = Queue::new(name.to_owned(), format!("https://sqs/1/{name}"), None);
    let good = [
        ("QueueArn", "arn:aws:sqs:eu-west-1:1:q.fifo"),
        ("RedrivePolicy", r#"{"deadLetterTargetArn": "arn:dead", "maxReceiveCount": "1000"}"#),
        ("MessageRetentionPeriod", "1209600"),
        ("ContentBasedDeduplication", "false"),
    ];
    let mut all: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in good.iter().chain(attributes) {
        all.insert((*name).to_owned(), (*value).to_owned());
    }
    all.retain(|_, value| !value.is_empty());
    let findings = judge(&queue, &all);
    assert!(findings.iter().all(|finding| finding.certain && finding.fix.starts_with("aws sqs ")));
    findings.into_iter().map(|finding| (finding.promise, finding.setting)).collect()
}

#[test]
fn each_setting_that_breaks_a_promise_is_found() {
    assert_eq!(found("q.fifo", &[]), []);
    let lost = |setting: &str| vec![(Promise::NothingLost, setting.to_owned())];
    assert_eq!(found("q.fifo", &[("RedrivePolicy", "")]), lost("RedrivePolicy="));
    for (policy, setting) in [
        (r#"{"deadLetterTargetArn": "arn:dead", "maxReceiveCount": "3"}"#, "maxReceiveCount=3"),
        (r#"{"deadLetterTargetArn": "arn:dead", "maxReceiveCount": 10}"#, "maxReceiveCount=10"),
        (r#"{"deadLetterTargetArn": "arn:dead"}"#, "maxReceiveCount=?"),
        ("not json", "maxReceiveCount=?"),
    ] {
        assert_eq!(found("q.fifo", &[("RedrivePolicy", policy)]), lost(setting));
    }
    assert_eq!(
        found("q.fifo", &[("MessageRetentionPeriod", "3600")]),
        lost("MessageRetentionPeriod=3600")
    );
    assert_eq!(
        found("q.fifo", &[("ContentBasedDeduplication", "true")]),
        lost("ContentBasedDeduplication=true")
    );
    assert_eq!(found("q", &[]), [(Promise::Order, "FifoQueue=false".to_owned())]);
}

// Threat: a queue that anybody in the world may write to.
#[test]
fn a_policy_for_everybody_is_found() {
    let is_found = |policy: &str| {
        let promises = found("q.fifo", &[("Policy", policy)]);
        promises.iter().any(|(promise, _)| *promise == Promise::Identity)
    };
    for open in [
        r#"{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "sqs:*"}]}"#,
        r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}}}"#,
        r#"{"Statement": {"Effect": "Allow", "Principal": {"AWS": ["1", "*"]}}}"#,
        r#"{"Statement": {"Effect": "Allow", "NotPrincipal": {"AWS": "1"}}}"#,
        "not json",
        r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Condition": {"Bool": {"aws:SecureTransport": "true"}}}}"#,
    ] {
        assert!(is_found(open), "{open}");
    }
    for closed in [
        r#"{"Statement": [{"Effect": "Deny", "Principal": "*"}]}"#,
        r#"{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::1:user/a"}}]}"#,
        r#"{"Statement": {"Effect": "Allow", "Principal": "*", "Condition": {"ArnEquals": {"aws:SourceArn": "arn:aws:sns:x:1:t"}}}}"#,
        r#"{"Statement": []}"#,
    ] {
        assert!(!is_found(closed), "{closed}");
    }
}

#[test]
fn what_may_not_be_seen_is_never_taken_as_good() {
    let promises = |name: &str| -> Vec<Promise> {
        let findings = unseen(&Queue::new(name.to_owned(), String::new(), None));
        assert!(findings.iter().all(|finding| !finding.certain));
        findings.iter().map(|finding| finding.promise).collect()
    };
    assert_eq!(promises("q.fifo"), [Promise::NothingLost, Promise::Identity]);
    assert_eq!(promises("q"), [Promise::Order, Promise::NothingLost, Promise::Identity]);
}
