// SPDX-License-Identifier: MIT OR Apache-2.0
//! A kept message as a row, without anything of its content.

use chancery::core::text::b64u;
use serde::Serialize;

use crate::out::{Report, plain, table};
use crate::wire::KeptEntry;

/// What is known of a kept message.
#[derive(Clone, Serialize)]
pub(crate) struct Item {
    /// `SERVICE/NUMBER`.
    pub(crate) id: String,
    /// The service whose database has it.
    pub(crate) service: String,
    /// Its number there.
    #[serde(skip)]
    pub(crate) row: i64,
    /// The group that refused it.
    pub(crate) group: String,
    /// The stream.
    pub(crate) stream: String,
    /// `hold`, `park` or `quarantine`.
    pub(crate) disposition: String,
    /// Code of the reason.
    pub(crate) reason: String,
    /// What was seen and expected.
    pub(crate) detail: String,
    /// Its universal reference.
    pub(crate) message: Option<String>,
    /// The verified producer.
    pub(crate) producer: Option<String>,
    /// The verified tenant.
    pub(crate) tenant: Option<String>,
    /// The verified ordering version.
    pub(crate) version: Option<u64>,
    /// Where the broker kept it.
    pub(crate) position: String,
    /// When it was first kept.
    pub(crate) since: String,
    /// When it was last judged.
    pub(crate) updated: String,
    /// Whether it is judged again at the next occasion.
    pub(crate) due: bool,
    /// Size of all that is kept of it.
    pub(crate) bytes: u64,
}

impl Item {
    /// A service's entry.
    pub(crate) fn of(service: &str, entry: KeptEntry) -> Item {
        Item {
            id: format!("{service}/{}", entry.row),
            service: service.to_owned(),
            row: entry.row,
            group: entry.group,
            stream: entry.stream,
            disposition: entry.disposition,
            reason: entry.reason,
            detail: entry.detail,
            message: entry.message_id.map(|id| b64u(&id)),
            producer: entry.producer,
            tenant: entry.tenant,
            version: entry.version,
            position: entry.position,
            since: entry.since.to_string(),
            updated: entry.updated.to_string(),
            due: entry.due,
            bytes: entry.bytes,
        }
    }

    /// Whether somebody who wrote `id` means this one.
    pub(crate) fn is_named(&self, id: &str) -> bool {
        self.id == id
            || self.row.to_string() == id
            || self.message.as_deref() == Some(id)
            || self.position == id
    }
}

/// What is set aside.
#[derive(Serialize)]
pub(crate) struct Listing {
    /// Oldest first, service by service.
    pub(crate) kept: Vec<Item>,
}

impl Report for Listing {
    fn text(&self) -> String {
        if self.kept.is_empty() {
            return "nothing is set aside\n".to_owned();
        }
        let row = |item: &Item| {
            let since = item.since.split('.').next().unwrap_or_default();
            let due = if item.due { " (due)" } else { "" };
            vec![
                item.id.clone(),
                format!("{}{due}", item.disposition),
                item.stream.clone(),
                item.group.clone(),
                since.replace('T', " "),
                item.reason.clone(),
                plain(&item.detail),
            ]
        };
        let rows: Vec<Vec<String>> = self.kept.iter().map(row).collect();
        table(&["ID", "STATE", "STREAM", "GROUP", "SINCE", "REASON", ""], &rows)
    }
}
