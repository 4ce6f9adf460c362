// SPDX-License-Identifier: MIT OR Apache-2.0
//! The three kinds of failure that are never mixed: the message's, ours, the caller's.

use std::fmt;

use crate::reason::Reason;

/// The message's fault: it may not run. Where it goes is [`Reason::disposition`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Which rule refused; one of a closed set, each with a page in `docs/reasons/`.
    pub reason: Reason,
    /// For operators: what was seen and what was expected. Never payload bytes.
    pub detail: String,
}

impl Refusal {
    /// A refusal with its detail.
    pub fn new(reason: Reason, detail: impl Into<String>) -> Refusal {
        Refusal { reason, detail: detail.into() }
    }
}

/// Refuses unless `holds`. Every check of the path is written with this, so that each can be
/// found, counted and switched off by `cargo xtask mutants`.
pub fn require(
    holds: bool,
    reason: Reason,
    detail: impl FnOnce() -> String,
) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::new(reason, detail())) }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.code(), self.detail)
    }
}

impl std::error::Error for Refusal {}

/// Our fault: the message is kept where it is and nothing runs (fail closed).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which part of us failed.
    pub kind: FaultKind,
    /// What failed, where, and what to do. Never payload bytes or secrets.
    pub detail: String,
}

/// Which part of us failed; stable codes, a page each in `docs/reasons/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    /// The trust bundle is older than one already seen.
    BundleRollback,
    /// The trust bundle has expired.
    BundleStale,
    /// The ledger or its database cannot be read or written.
    Store,
    /// The ledger database is not the one that was here before.
    StoreReset,
    /// Evidence cannot be recorded.
    Evidence,
    /// The broker cannot be reached or refuses us.
    Broker,
    /// A handler ended the transaction that it was lent.
    HandlerEndedTransaction,
}

impl FaultKind {
    /// Every kind, in order of code.
    pub const ALL: [FaultKind; 7] = [
        FaultKind::BundleRollback,
        FaultKind::BundleStale,
        FaultKind::StoreReset,
        FaultKind::Store,
        FaultKind::HandlerEndedTransaction,
        FaultKind::Evidence,
        FaultKind::Broker,
    ];

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            FaultKind::BundleRollback => "E208_BUNDLE_ROLLBACK",
            FaultKind::BundleStale => "E209_BUNDLE_STALE",
            FaultKind::StoreReset => "E701_STORE_RESET",
            FaultKind::Store => "E702_STORE_DOWN",
            FaultKind::HandlerEndedTransaction => "E703_TRANSACTION_ENDED",
            FaultKind::Evidence => "E704_EVIDENCE_DOWN",
            FaultKind::Broker => "E705_BROKER_DOWN",
        }
    }
}

impl Fault {
    /// A fault of the ledger's database.
    pub fn store(detail: impl fmt::Display) -> Fault {
        Fault { kind: FaultKind::Store, detail: detail.to_string() }
    }

    /// A fault of the broker.
    pub fn broker(detail: impl fmt::Display) -> Fault {
        Fault { kind: FaultKind::Broker, detail: detail.to_string() }
    }

    /// A fault of the evidence log.
    pub fn evidence(detail: impl fmt::Display) -> Fault {
        Fault { kind: FaultKind::Evidence, detail: detail.to_string() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.detail)
    }
}

impl std::error::Error for Fault {}

/// The caller's fault, told before the first message: what is wrong, where, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misuse {
    /// Which rule was broken, where it is one that needs a page; most need none.
    pub kind: Option<MisuseKind>,
    /// What is wrong.
    pub what: String,
    /// The file, flag, member or line that is wrong.
    pub at: String,
    /// What to do about it.
    pub fix: String,
}

/// Misuse that an operator meets in production; stable codes, a page each in `docs/reasons/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MisuseKind {
    /// The live stream cannot give what the policy promises of it.
    Capability,
}

impl MisuseKind {
    /// Every kind, in order of code.
    pub const ALL: [MisuseKind; 1] = [MisuseKind::Capability];

    /// The stable code.
    pub fn code(self) -> &'static str {
        match self {
            MisuseKind::Capability => "E901_CAPABILITY",
        }
    }
}

impl Misuse {
    /// What is wrong, where, and what to do.
    pub fn new(what: impl Into<String>, at: impl Into<String>, fix: impl Into<String>) -> Misuse {
        Misuse { kind: None, what: what.into(), at: at.into(), fix: fix.into() }
    }

    /// The same, of a kind that has a code.
    pub fn of(self, kind: MisuseKind) -> Misuse {
        Misuse { kind: Some(kind), ..self }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(kind) = self.kind {
            write!(f, "{}: ", kind.code())?;
        }
        write!(f, "{}: {}; {}", self.at, self.what, self.fix)
    }
}

impl std::error::Error for Misuse {}
