// SPDX-License-Identifier: MIT OR Apache-2.0
//! The demo on a real server: its attacks are published by the broker's stock client.

use std::process::{Command, Stdio};

use crate::place::{Kind, servers};
use crate::shop::{CHANCERY, Ended};

// Threat: a broker's own way with headers, keys and times lets through what another stops.
pub(crate) fn every_attack_is_refused_for_its_own_reason(kind: Kind) {
    let brokers = servers(&kind.server());
    let demo = Command::new(CHANCERY)
        .args(["--json", "demo", "--broker", kind.name(), "--brokers"])
        .arg(brokers)
        .stdin(Stdio::null())
        .output();
    let ended = Ended::of(demo.unwrap());
    assert_eq!(ended.code, 0, "{ended:?}");
    let verdict = ended.json().remove(0);
    let attacks = verdict["attacks"].as_array().unwrap();
    assert!(attacks.len() >= 29, "{verdict}");
    for attack in attacks {
        assert_eq!(attack["reason"], attack["expected"], "{attack}");
        assert_eq!(attack["refused"], true, "{attack}");
    }
    for fault in verdict["faults"].as_array().unwrap() {
        assert_eq!(fault["survived"], true, "{fault}");
    }
    let honest = &verdict["honest"];
    assert_eq!(honest["handled"], honest["published"], "{honest}");
    for none in ["lost", "doubled", "foreign"] {
        assert_eq!(honest[none], 0, "{honest}");
    }
}
