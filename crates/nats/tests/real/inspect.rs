// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a live stream cannot promise is said, and what it can is not.

use chancery::{Broker, Live, Promise, TimeSource};
use chancery_testkit::conformance::STREAM;
use chancery_testkit::servers::Server;
use serde_json::json;

use crate::world::{Corner, administer, config, connect, consumer, name, placed};

fn settings(live: &Live) -> Vec<&str> {
    live.findings.iter().map(|finding| finding.setting.as_str()).collect()
}

#[tokio::test]
async fn the_hardened_stream_promises_all_but_what_nobody_can_see() {
    let billing = connect(&config("billing")).await.unwrap();
    let live = billing.inspect(STREAM, Some("billing")).await.unwrap();
    assert!(live.server.starts_with("nats-server 2."), "{}", live.server);
    assert_eq!(live.append_time, TimeSource::Broker);
    assert!(live.identity.as_ref().is_some_and(|id| id.starts_with('U')), "{live:?}");
    assert_eq!(settings(&live), ["sync_interval=?"]);
    assert!(!live.findings[0].certain);
}

#[tokio::test]
async fn the_stream_as_found_is_found_out() {
    let url = Server::as_found("nats").endpoint("client");
    let broker = connect(&json!({"url": url, "insecure": true})).await.unwrap();
    let live = broker.inspect(STREAM, Some("billing")).await.unwrap();
    for setting in [
        "allow_rollup_hdrs=true",
        "ack_policy=none",
        "priority_policy=none",
        "broker.url=nats://…",
        "deny_delete=false, deny_purge=false",
    ] {
        assert!(settings(&live).contains(&setting), "{setting} is not in {live:?}");
    }
    let other = broker.inspect("payments.approve", Some("payout")).await.unwrap();
    for setting in ["storage=memory", "discard=old, max_msgs=1000"] {
        assert!(settings(&other).contains(&setting), "{setting} is not in {other:?}");
    }
    let promises = |promise| live.findings.iter().any(|finding| finding.promise == promise);
    assert!(promises(Promise::Order) && promises(Promise::NothingLost));
    assert!(promises(Promise::Identity));
    let fault = broker.subscribe(STREAM, "billing").await.unwrap_err();
    assert!(fault.detail.contains("ack policy"), "{fault}");
    let fault = broker.subscribe("payments.approve", "payout").await.unwrap_err();
    assert!(fault.detail.contains("pinned_client"), "{fault}");
}

/// Threat: what may not be seen passes for good.
#[tokio::test]
async fn what_a_service_may_not_see_is_no_promise() {
    let payout = connect(&config("payout")).await.unwrap();
    let live = payout.inspect(STREAM, None).await.unwrap();
    assert_eq!(live.findings.len(), 1, "{live:?}");
    assert!(!live.findings[0].certain);
    assert!(live.findings[0].fix.contains("$JS.API.STREAM.INFO.orders_created"), "{live:?}");
}

/// The command of a finding mends it: asked again, it is gone.
#[tokio::test]
async fn the_commands_mend_what_they_are_for() {
    let corner = Corner::new();
    let mut broken = consumer(&corner.id, "broken");
    broken.1["config"]["max_deliver"] = 5.into();
    let admin = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    let before = admin.inspect(STREAM, None).await.unwrap();
    let edited = json!({
        "name": name(&corner.id), "subjects": [format!("{}.*", crate::world::subject(&corner.id))],
        "storage": "file", "retention": "limits", "discard": "old", "max_msgs": 1000,
        "max_age": 3_600_000_000_000_u64, "num_replicas": 1, "deny_delete": true,
        "deny_purge": true, "duplicate_window": 120_000_000_000_u64,
    });
    administer(vec![broken, (format!("$JS.API.STREAM.UPDATE.{}", name(&corner.id)), edited)]);
    let live = admin.inspect(STREAM, Some("broken")).await.unwrap();
    let found = settings(&live);
    for setting in ["discard=old, max_msgs=1000", "max_age=3600s", "max_deliver=5"] {
        assert!(found.contains(&setting), "{setting} is not in {found:?}");
    }
    for finding in live.findings.iter().filter(|finding| finding.certain) {
        let mut nats = crate::world::tool("nats");
        let folder = crate::world::server().client("admin");
        nats.args(["--no-context", "-s", &crate::world::server().endpoint("client")]);
        nats.arg("--tlsca").arg(folder.join("ca.pem")).arg("--nkey").arg(folder.join("user.nk"));
        let command = finding.fix.strip_prefix("nats ").unwrap();
        let output = nats.args(command.split(' ')).arg("-f").output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {told}", finding.fix);
    }
    let after = admin.inspect(STREAM, Some("broken")).await.unwrap();
    assert!(after.findings.iter().all(|finding| !finding.certain), "{after:?}");
    assert_eq!(after.findings.len(), before.findings.len());
    let lag = admin.lag(STREAM, "broken").await.unwrap();
    assert_eq!(lag.messages, Some(0));
}
