// SPDX-License-Identifier: MIT OR Apache-2.0
//! Keys, policy and schemas as one immutable value with one digest.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::bundle::{Bundle, Key};
use crate::failure::{Fault, FaultKind, Misuse};
use crate::json;
use crate::keys::Kid;
use crate::policy::Policy;
use crate::schema::Schema;
use crate::screen::batches::Batches;
use crate::time::Timestamp;

/// What every decision is made against. Built whole or not at all; never changed afterwards.
#[derive(Debug)]
pub struct Snapshot {
    /// Who may publish and handle what.
    pub policy: Policy,
    /// Keys by identifier.
    pub keys: BTreeMap<Kid, Key>,
    /// Schemas by event type and version.
    pub schemas: BTreeMap<String, BTreeMap<u32, Schema>>,
    /// Limits of the strict reader.
    pub json: json::Limits,
    /// The bundle's version; never goes back.
    pub bundle_version: u64,
    /// SHA-256 of the bundle's file: of one version there is one bundle.
    pub bundle_digest: [u8; 32],
    /// Until when the bundle may be used.
    pub bundle_expires: Timestamp,
    /// SHA-256 over all sources; stands in every evidence record.
    pub digest: [u8; 32],
    /// Batch signatures that verified under `keys`; changes no answer.
    pub(crate) batches: Batches,
}

/// Names one bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BundleMark {
    /// Its version.
    pub version: u64,
    /// SHA-256 of its file.
    pub digest: [u8; 32],
}

/// The bytes that a snapshot is made from.
#[derive(Clone, Default)]
pub struct Sources {
    /// The signed trust bundle.
    pub bundle: Vec<u8>,
    /// Public key of the root that signs bundles.
    pub root: [u8; 32],
    /// policy.yaml.
    pub policy: String,
    /// Schemas: (event type, version) → document.
    pub schemas: BTreeMap<(String, u32), Vec<u8>>,
    /// Shared secrets this process was given, in no order.
    pub secrets: Vec<Vec<u8>>,
}

impl Snapshot {
    /// Builds a snapshot, or says what is wrong with which source.
    ///
    /// # Errors
    /// Misuse: bad bundle, policy or schema, or bundle and policy of different environments.
    pub fn build(sources: &Sources) -> Result<Snapshot, Misuse> {
        let bundle = Bundle::open(&sources.bundle, &sources.root)?;
        let policy = Policy::from_yaml(&sources.policy)?;
        if (&bundle.domain, &bundle.environment) != (&policy.domain, &policy.environment) {
            return Err(Misuse::new(
                format!(
                    "is for {}/{}, the trust bundle for {}/{}",
                    policy.domain, policy.environment, bundle.domain, bundle.environment
                ),
                "policy.yaml",
                "use the bundle of the same domain and environment",
            ));
        }
        let mut schemas: BTreeMap<String, BTreeMap<u32, Schema>> = BTreeMap::new();
        for ((typ, version), document) in &sources.schemas {
            let schema = Schema::compile(document).map_err(|error| {
                let at = format!("schemas/{typ}/{version}.json");
                Misuse::new(error.to_string(), at, "correct it; `chancery schema lint` says more")
            })?;
            schemas.entry(typ.clone()).or_default().insert(*version, schema);
        }
        Ok(Snapshot {
            keys: bundle.keyring(&sources.secrets)?,
            policy,
            schemas,
            json: json::Limits::DEFAULT,
            bundle_version: bundle.version,
            bundle_digest: Sha256::digest(&sources.bundle).into(),
            bundle_expires: Timestamp(bundle.expires),
            digest: digest(sources),
            batches: Batches::default(),
        })
    }

    /// The schema of an event type and version.
    pub fn schema(&self, typ: &str, version: u32) -> Option<&Schema> {
        self.schemas.get(typ)?.get(&version)
    }

    /// Which bundle this is.
    pub fn bundle(&self) -> BundleMark {
        BundleMark { version: self.bundle_version, digest: self.bundle_digest }
    }

    /// Whether this snapshot may be used now, given the newest bundle ever used here.
    ///
    /// # Errors
    /// `E208_BUNDLE_ROLLBACK`, `E209_BUNDLE_STALE`: ours, so the message is kept.
    pub fn usable(&self, now: Timestamp, newest: BundleMark) -> Result<(), Fault> {
        if self.bundle_version < newest.version {
            return Err(Fault {
                kind: FaultKind::BundleRollback,
                detail: format!(
                    "the trust bundle has version {}, version {} was here already; restore the \
                     newer one",
                    self.bundle_version, newest.version
                ),
            });
        }
        if self.bundle_version == newest.version && self.bundle_digest != newest.digest {
            return Err(Fault {
                kind: FaultKind::BundleRollback,
                detail: format!(
                    "another trust bundle with version {} was here already; restore that one and \
                     make the change again",
                    newest.version
                ),
            });
        }
        if now > self.bundle_expires {
            return Err(Fault {
                kind: FaultKind::BundleStale,
                detail: format!(
                    "the trust bundle expired at {}; sign a new one with `chancery keys renew`",
                    self.bundle_expires
                ),
            });
        }
        Ok(())
    }
}

fn digest(sources: &Sources) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"chancery/snapshot/1\n");
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(&sources.bundle);
    part(&sources.root);
    part(sources.policy.as_bytes());
    for ((typ, version), document) in &sources.schemas {
        part(typ.as_bytes());
        part(&version.to_be_bytes());
        part(document);
    }
    hash.finalize().into()
}
