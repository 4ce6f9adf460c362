// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whoever may read a stream can keep what he reads: the honest messages that attackers copy, and
//! that an operator drives again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chancery::core::seal::Sealed;
use chancery::{Fault, Sink};

use super::forge::Raw;
use crate::wire::AnyBroker;

/// Messages that are kept of each stream.
const FIRST: usize = 50;

/// The broker, listened to.
#[derive(Clone)]
pub(super) struct Tap {
    broker: AnyBroker,
    heard: Arc<Mutex<BTreeMap<String, Vec<Raw>>>>,
}

impl Tap {
    /// On this broker.
    pub(super) fn on(broker: AnyBroker) -> Tap {
        Tap { broker, heard: Arc::default() }
    }

    /// The first messages of a stream, at most [`FIRST`].
    pub(super) fn first(&self, stream: &str, max: usize) -> Vec<Raw> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.get(stream).map(|all| all.iter().take(max).cloned().collect()).unwrap_or_default()
    }
}

impl Sink for Tap {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        let positions = self.broker.append(messages).await?;
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        for sealed in messages {
            let all = heard.entry(sealed.stream.clone()).or_default();
            if all.len() < FIRST {
                all.push(Raw::of(sealed));
            }
        }
        Ok(positions)
    }

    fn partition(&self, stream: &str, key: Option<&[u8]>) -> Option<u32> {
        self.broker.partition(stream, key)
    }
}
