// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is counted, and the Prometheus text of it. Labels come only from configured names and
//! closed sets, never from a message.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use chancery_core::{Disposition, FaultKind, Reason};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::ports::Stored;

/// Counters of one process. Cheap to clone; clones count together.
#[derive(Clone, Default)]
pub struct Signals(Arc<Families>);

#[derive(Default)]
struct Families {
    handled: Family<StreamLabel, Counter>,
    retries: Family<StreamLabel, Counter>,
    refusals: Family<ReasonLabels, Counter>,
    findings: Family<FindingLabels, Counter>,
    faults: Family<FaultLabels, Counter>,
    dlq: Family<StreamLabel, Counter>,
    denies: Family<StreamLabel, Counter>,
    kept: Family<KeptLabels, Gauge<i64>>,
    gauges: Family<GaugeLabel, Gauge<f64, AtomicU64>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StreamLabel {
    stream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    stream: String,
    reason: &'static str,
    disposition: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FindingLabels {
    stream: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabels {
    stream: String,
    fault: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeptLabels {
    stream: String,
    disposition: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct GaugeLabel {
    of: &'static str,
}

impl Signals {
    /// A handler's effect was committed.
    pub fn done(&self, stream: &str) {
        self.0.handled.get_or_create(&label(stream)).inc();
    }

    /// A handler's attempt was undone.
    pub fn retried(&self, stream: &str) {
        self.0.retries.get_or_create(&label(stream)).inc();
    }

    /// A message was refused; what is left with the broker will be so again and is no dead letter.
    pub fn refused(&self, stream: &str, reason: Reason, stored: Stored) {
        let disposition = reason.disposition();
        let labels = ReasonLabels {
            stream: stream.to_owned(),
            reason: reason.code(),
            disposition: disposition.word(),
        };
        self.0.refusals.get_or_create(&labels).inc();
        let dead = matches!(disposition, Disposition::Quarantine | Disposition::Park);
        if dead && stored == Stored::Kept {
            self.0.dlq.get_or_create(&label(stream)).inc();
        }
        if is_authorization_deny(reason) {
            self.0.denies.get_or_create(&label(stream)).inc();
        }
    }

    /// A message ran below `enforce`, which would have refused it for this.
    pub fn found(&self, stream: &str, reason: Reason) {
        let labels = FindingLabels { stream: stream.to_owned(), reason: reason.code() };
        self.0.findings.get_or_create(&labels).inc();
    }

    /// A fault that the consumer waits out, or ends with.
    pub fn faulted(&self, stream: &str, kind: FaultKind) {
        let labels = FaultLabels { stream: stream.to_owned(), fault: kind.code() };
        self.0.faults.get_or_create(&labels).inc();
    }

    /// How many messages of a stream are set aside now.
    pub fn kept(&self, stream: &str, disposition: Disposition, messages: i64) {
        let labels = KeptLabels { stream: stream.to_owned(), disposition: disposition.word() };
        self.0.kept.get_or_create(&labels).set(messages);
    }

    /// Sets a gauge of the process: `lag`, `evidence_pending`, `evidence_size`….
    pub fn gauge(&self, of: &'static str, value: f64) {
        self.0.gauges.get_or_create(&GaugeLabel { of }).set(value);
    }

    /// The Prometheus exposition.
    pub fn exposition(&self) -> String {
        let mut registry = Registry::default();
        let all = &self.0;
        registry.register("chancery_handled", "Effects committed", all.handled.clone());
        registry.register("chancery_retries", "Attempts undone", all.retries.clone());
        registry.register("chancery_refusals", "Messages refused", all.refusals.clone());
        let found = "Ran below enforce, which would have refused it";
        registry.register("chancery_findings", found, all.findings.clone());
        registry.register("chancery_faults", "Ours, waited out or ended with", all.faults.clone());
        registry.register("chancery_kept_messages", "Messages set aside now", all.kept.clone());
        registry.register("chancery_state", "State of this process", all.gauges.clone());
        registry.register("queue_dlq_messages", "Quarantined and parked", all.dlq.clone());
        registry.register("queue_authz_denies", "Denied by policy or key", all.denies.clone());
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = text::encode(&mut out, &registry);
        out
    }
}

impl std::fmt::Debug for Signals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signals")
    }
}

/// Denials of who and where: identity and authorization, not content.
fn is_authorization_deny(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Unsigned
            | Reason::UnknownKey
            | Reason::Provenance
            | Reason::BadSignature
            | Reason::KeyNotValidThen
            | Reason::KeyRevoked
            | Reason::SignatureStripped
            | Reason::Grant
            | Reason::WrongDestination
            | Reason::Type
            | Reason::Tenant
    )
}

fn label(stream: &str) -> StreamLabel {
    StreamLabel { stream: stream.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Left with the broker it comes again and again: counted each time, an alert would never end.
    #[test]
    fn what_is_left_with_the_broker_is_no_dead_letter() {
        let signals = Signals::default();
        signals.refused("orders", Reason::Unsigned, Stored::Kept);
        signals.refused("orders", Reason::Unsigned, Stored::OverQuota);
        let text = signals.exposition();
        assert!(text.contains("queue_dlq_messages_total{stream=\"orders\"} 1"), "{text}");
        assert!(text.contains("queue_authz_denies_total{stream=\"orders\"} 2"), "{text}");
    }
}
