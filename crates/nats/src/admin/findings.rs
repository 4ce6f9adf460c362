// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the settings of a stream and a consumer cannot promise.

use chancery::{Finding, Promise};

use super::{ConsumerInfo, StreamConfig};
use crate::config::Names;

/// Shorter than this, a weekend's outage of a group loses messages: a day, in nanoseconds.
const AGE_MIN: u64 = 24 * 3_600 * 1_000_000_000;

fn finding(promise: Promise, what: &str, setting: String, fix: String) -> Finding {
    Finding { promise, certain: true, what: what.into(), setting, fix }
}

pub(super) fn of_stream(config: &StreamConfig) -> Vec<Finding> {
    let name = &config.name;
    let edit = |flags: &str| format!("nats stream edit {name} {flags}");
    let anew = || format!("nats stream backup {name} DIR, then make it anew and restore");
    let lost = |what: &str, setting: String, fix| finding(Promise::NothingLost, what, setting, fix);
    let mut found = Vec::new();
    if config.storage == "memory" {
        let what = "it forgets everything when the server restarts";
        found.push(lost(what, "storage=memory".into(), anew()));
    }
    if config.no_ack {
        let what = "what is appended is not confirmed";
        found.push(lost(what, "no_ack=true".into(), edit("--ack")));
    }
    let limits = [("max_msgs", config.max_msgs), ("max_bytes", config.max_bytes)];
    for (limit, value) in limits.into_iter().filter(|(_, value)| *value > 0) {
        if config.discard != "new" {
            let what = "when it is full it drops the oldest, whoever has not read them";
            found.push(lost(what, format!("discard=old, {limit}={value}"), edit("--discard new")));
        }
    }
    if config.max_msgs_per_subject > 0 {
        let what = "of each key it keeps the newest only, whoever has not read the others";
        let setting = format!("max_msgs_per_subject={}", config.max_msgs_per_subject);
        found.push(lost(what, setting.clone(), edit("--max-msgs-per-subject=-1")));
        found.push(finding(Promise::Order, what, setting, edit("--max-msgs-per-subject=-1")));
    }
    if config.max_age > 0 && config.max_age < AGE_MIN {
        let what = "it drops what is older, whoever has not read it: no night's outage is shorter";
        let setting = format!("max_age={}s", config.max_age / 1_000_000_000);
        found.push(lost(what, setting, edit("--max-age 7d")));
    }
    if config.allow_rollup_hdrs {
        let what = "whoever may append may remove all that is there, by a header (Nats-Rollup)";
        found.push(lost(what, "allow_rollup_hdrs=true".into(), edit("--no-allow-rollup")));
    }
    if config.allow_msg_ttl {
        let what = "whoever appends may let his message vanish before it is read (Nats-TTL)";
        found.push(lost(what, "allow_msg_ttl=true".into(), anew()));
    }
    if !config.deny_delete || !config.deny_purge {
        let setting =
            format!("deny_delete={}, deny_purge={}", config.deny_delete, config.deny_purge);
        let fix = edit("--deny-delete --deny-purge");
        let what = "whoever has the rights of an operator may remove messages, and nobody sees";
        found.push(Finding { certain: false, ..lost(what, setting, fix) });
    }
    if !config.sources.is_empty() {
        let what = "it copies other streams: the append time is the copy's, and two sources have \
                    no order between them";
        let setting = format!("sources={}", config.sources.len());
        let fix = "read the streams themselves, or a mirror of one".to_owned();
        found.push(finding(Promise::Freshness, what, setting.clone(), fix.clone()));
        found.push(finding(Promise::Order, what, setting, fix));
    }
    if config.num_replicas < 3 {
        let what = "a power cut may take what was confirmed in the last minutes: the server says \
                    to nobody how often it writes to disk";
        let fix = format!(
            "`jetstream {{ sync_interval: always }}` in the server, or {}",
            edit("--replicas 3")
        );
        found.push(Finding { certain: false, ..lost(what, "sync_interval=?".into(), fix) });
    }
    if config.retention == "workqueue" {
        let what = "it removes what one group has acknowledged: no other group can read it";
        let fix = edit("--retention limits");
        found.push(Finding { certain: false, ..lost(what, "retention=workqueue".into(), fix) });
    }
    found
}

pub(super) fn of_consumer(info: &ConsumerInfo, names: &Names, make: &str) -> Vec<Finding> {
    let (name, config) = (&info.name, &info.config);
    let edit = |flags: &str| format!("nats consumer edit {} {name} {flags}", names.stream);
    let anew = || format!("nats consumer rm {} {name}; {make}", names.stream);
    let lost = |what: &str, setting: String, fix| finding(Promise::NothingLost, what, setting, fix);
    let mut found = Vec::new();
    if config.ack_policy != "explicit" {
        let what = "what was delivered counts as done, also when its receiver dies";
        found.push(lost(what, format!("ack_policy={}", config.ack_policy), anew()));
    }
    if config.max_deliver > 0 {
        let what = "what was delivered so often without an acknowledgement is never delivered \
                    again: an outage of ours costs messages";
        let setting = format!("max_deliver={}", config.max_deliver);
        found.push(lost(what, setting, edit("--max-deliver=-1")));
    }
    if config.inactive_threshold > 0 {
        let what = "it is removed when nobody reads for a while, and with it what was read";
        let setting = format!("inactive_threshold={}s", config.inactive_threshold / 1_000_000_000);
        found.push(lost(what, setting, edit("--inactive-threshold 0s")));
    }
    if config.headers_only {
        found.push(lost(
            "it brings no bodies",
            "headers_only=true".into(),
            edit("--no-headers-only"),
        ));
    }
    if config.priority_policy != "pinned_client" || config.priority_groups.is_empty() {
        let what = "several receivers get messages of one key at once, and what comes again comes \
                    behind newer ones";
        let setting = format!("priority_policy={}", word(&config.priority_policy));
        found.push(finding(Promise::Order, what, setting, anew()));
    }
    if !config.backoff.is_empty() {
        let what = "it brings messages again at times of its own, while they are worked on";
        let setting = format!("backoff={} steps", config.backoff.len());
        found.push(finding(Promise::Order, what, setting, edit("--no-backoff")));
    }
    let wanted = format!("{}.*", names.subject);
    let filters = config.filter_subjects.iter().chain([&config.filter_subject]);
    let mut filters = filters.filter(|filter| !filter.is_empty());
    if filters.clone().next().is_some() && !filters.any(|filter| covers(filter, &wanted)) {
        let what = "it leaves out messages of the stream";
        let setting = format!("filter_subject={}", config.filter_subject);
        found.push(lost(what, setting, edit(&format!("--filter '{wanted}'"))));
    }
    if info.paused {
        let fix = format!("nats consumer resume {} {name}", names.stream);
        found.push(Finding {
            certain: false,
            ..lost("it is paused: nothing comes until then", "pause_until".into(), fix)
        });
    }
    found
}

fn word(policy: &str) -> &str {
    if policy.is_empty() { "none" } else { policy }
}

/// Whether a filter lets all of `subject.*` through.
fn covers(filter: &str, wanted: &str) -> bool {
    let (mut filter, mut wanted) = (filter.split('.'), wanted.split('.'));
    loop {
        match (filter.next(), wanted.next()) {
            (None, None) => return true,
            (Some(">"), Some(_)) => return true,
            (Some(token), Some(of)) if token == "*" || token == of => {}
            _ => return false,
        }
    }
}
