// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who may publish and handle what: streams, services, tenants. Deny by default
//! (spec/policy.md).

use std::collections::BTreeMap;
use std::fmt;

use crate::failure::Misuse;
use crate::header::Kind;
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS};

mod file;

/// The policy of one environment, checked: every name in it is well formed and defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Trust domain, first part of every destination.
    pub domain: String,
    /// Environment, second part of every destination.
    pub environment: String,
    /// The times that freshness is judged by.
    pub times: Times,
    /// Services by name.
    pub services: BTreeMap<String, Service>,
    /// Streams by name. A stream that is not here does not exist.
    pub streams: BTreeMap<String, Stream>,
}

/// What a service is allowed by its claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Role claim, which a stream's `owner` may name.
    pub role: Option<String>,
    /// Tenant claim.
    pub tenants: Tenants,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Events or commands, never both.
    pub kind: Kind,
    /// Who publishes: services, or `role:NAME`.
    pub owner: Vec<String>,
    /// Consuming group → the service that is that group.
    pub handled_by: BTreeMap<String, String>,
    /// Event types it carries and their schema versions.
    pub types: BTreeMap<String, Versions>,
    /// Payload member that is the ordering key.
    pub key: Option<String>,
    /// Whether versions of one key are handled strictly in order.
    pub ordered: bool,
    /// Tenants it carries.
    pub tenants: Tenants,
    /// Whether a breach here is grave: alarms are louder.
    pub sensitive: bool,
    /// Whether a shared key may sign.
    pub shared_keys: bool,
    /// Whether envelopes may have other members than the format's.
    pub extra_members: bool,
    /// Whether its broker keeps a time of append; where none is kept, lateness is not judged, and
    /// a message is as fresh as the horizon allows.
    pub append_time: bool,
    /// How far the rules have climbed.
    pub rung: Rung,
    /// Producers that may still be unsigned below [`Rung::Enforce`].
    pub unsigned: Vec<String>,
    /// Content types it carries; `application/json` bodies are envelopes.
    pub content: Vec<String>,
    /// Largest body in bytes.
    pub bytes_max: usize,
}

/// Which tenants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// No message names a tenant.
    None,
    /// Exactly these.
    Listed(Vec<String>),
    /// Any tenant; what bounds it is the other side's list.
    Any,
}

/// How far the rules of a stream have climbed (README, decision 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// Findings are counted; handlers are given `Unproven`.
    Observe,
    /// Findings are counted and handed over with `Unproven`.
    Mark,
    /// What breaks a rule does not run.
    Enforce,
}

/// An inclusive range of schema versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Lowest accepted.
    pub min: u32,
    /// Highest accepted.
    pub max: u32,
}

/// The times that freshness is judged by, in milliseconds (spec/pipeline.md "Times").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// L: longest time from signing to the broker's append.
    pub publish_within_ms: i64,
    /// How long the broker keeps a message.
    pub retention_ms: i64,
    /// How long held and parked messages are kept.
    pub keep_ms: i64,
    /// All retry delays together.
    pub retries_ms: i64,
    /// How far clocks may be apart.
    pub skew_ms: i64,
}

impl Default for Times {
    fn default() -> Times {
        Times {
            publish_within_ms: 15 * MINUTE_MS,
            retention_ms: 7 * DAY_MS,
            keep_ms: 7 * DAY_MS,
            retries_ms: HOUR_MS,
            skew_ms: MINUTE_MS,
        }
    }
}

impl Times {
    /// A: how long the ledger remembers an event; an older one is refused, so that forgetting is
    /// safe. `L + retention + keep + retries + skew`.
    pub fn horizon_ms(&self) -> i64 {
        [self.retention_ms, self.keep_ms, self.retries_ms, self.skew_ms]
            .iter()
            .fold(self.publish_within_ms, |sum, ms| sum.saturating_add(*ms))
    }
}

impl Policy {
    /// Reads policy.yaml.
    ///
    /// # Errors
    /// Misuse with line and column for YAML, or with the member's path for what it says.
    pub fn from_yaml(text: &str) -> Result<Policy, Misuse> {
        file::read(text)
    }

    /// The destination that messages of `stream` must be signed for.
    pub fn destination(&self, stream: &str) -> String {
        format!("{}/{}/{stream}", self.domain, self.environment)
    }

    /// Whether `aud` is the destination of `stream`, without building it.
    pub fn is_destination(&self, aud: &str, stream: &str) -> bool {
        let rest = aud.strip_prefix(&*self.domain).and_then(|rest| rest.strip_prefix('/'));
        let rest = rest.and_then(|rest| rest.strip_prefix(&*self.environment));
        rest.and_then(|rest| rest.strip_prefix('/')) == Some(stream)
    }

    /// Whether `service` may publish to `stream`: it is the owner, or has the owner's role.
    pub fn may_publish(&self, service: &str, stream: &Stream) -> bool {
        let Some(known) = self.services.get(service) else { return false };
        stream.owner.iter().any(|owner| match owner.strip_prefix("role:") {
            Some(role) => known.role.as_deref() == Some(role),
            None => owner == service,
        })
    }

    /// Whether `service` is `group` on `stream`.
    pub fn may_handle(&self, service: &str, group: &str, stream: &Stream) -> bool {
        self.services.contains_key(service)
            && stream.handled_by.get(group).is_some_and(|handler| handler == service)
    }

    /// Whether `service` may touch messages of `tenant` (`None`: of no tenant).
    pub fn may_touch_tenant(&self, service: &str, tenant: Option<&str>) -> bool {
        let claim = self.services.get(service).map(|service| &service.tenants);
        claim.is_some_and(|claim| tenant.is_none_or(|tenant| claim.contains(tenant)))
    }
}

impl Tenants {
    /// Whether a message of this tenant is among them.
    pub fn contains(&self, tenant: &str) -> bool {
        match self {
            Tenants::None => false,
            Tenants::Listed(list) => list.iter().any(|listed| listed == tenant),
            Tenants::Any => true,
        }
    }
}

impl Rung {
    /// The word in the policy.
    pub fn word(self) -> &'static str {
        match self {
            Rung::Observe => "observe",
            Rung::Mark => "mark",
            Rung::Enforce => "enforce",
        }
    }
}

impl Stream {
    /// Whether a message may name this tenant, or none: a stream with tenants refuses a message
    /// without one, a stream without tenants a message with one.
    pub fn carries_tenant(&self, tenant: Option<&str>) -> bool {
        match tenant {
            None => self.tenants == Tenants::None,
            Some(tenant) => self.tenants.contains(tenant),
        }
    }
}

impl Versions {
    /// Every version.
    pub const ALL: Versions = Versions { min: 1, max: 999 };

    /// Whether the version is in the range.
    pub fn contains(self, version: u32) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

#[cfg(test)]
mod tests;
