// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery explain MESSAGE`: what became of one message, and what would become of it now.

use chancery::core::record::MessageRecord;
use chancery::core::{Reader, screen};
use chancery::{Delivery, Reason, Snapshot};
use serde::Serialize;

use super::evidence::{Entry, Logs, event_of};
use super::kept::{Item, Stores};
use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, Report, plain};
use crate::project::{Project, now};

/// What became of one message, and which rule decided.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Event id, message id, position, or as `kept ls` shows it.
    #[arg(allow_hyphen_values = true)]
    message: String,
}

#[derive(Serialize)]
struct Explained {
    /// What is on record, in order.
    records: Vec<Entry>,
    /// What is set aside, and how it would be judged now.
    kept: Vec<Judged>,
}

#[derive(Serialize)]
struct Judged {
    #[serde(flatten)]
    item: Item,
    /// The page's title.
    title: Option<&'static str>,
    step: Option<String>,
    /// What keys, policy and schemas as they are now say, before the ledger is asked.
    now: Verdict,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Passes,
    Refused { reason: &'static str, detail: String },
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let project = Project::open(ctx)?;
        let snapshot = project.snapshot()?;
        let (stores, logs) = (Stores::open(&project)?, Logs::open(&project, None)?);
        let mut found = logs.of(&self.message)?;
        let mut kept = Vec::new();
        for item in stores.everything()? {
            let Some(delivery) = stores.delivery(&item)? else { continue };
            let event = event_of(&MessageRecord::of(&delivery));
            if item.is_named(&self.message) || event.as_deref() == Some(&*self.message) {
                kept.push(judge(item, &delivery, &snapshot));
            }
        }
        // An id that `kept ls` shows names no record; its message does.
        if found.is_empty() {
            for message in kept.iter().filter_map(|judged| judged.item.message.as_ref()) {
                found.extend(logs.of(message)?);
            }
        }
        if found.is_empty() && kept.is_empty() {
            let what = format!("nothing here is about `{}`", plain(&self.message));
            let fix = "give an event id, a message id or a position as `orders.created/7`; what \
                       is not consumed yet is on no record";
            return Err(Failure::misuse(what, "MESSAGE", fix));
        }
        ctx.show(&Explained { records: found, kept })?;
        Ok(Exit::Ok)
    }
}

fn judge(item: Item, delivery: &Delivery, snapshot: &Snapshot) -> Judged {
    let reader = Reader { service: item.service.clone(), group: item.group.clone() };
    let verdict = match screen(delivery, snapshot, &reader, now()) {
        Ok(_) => Verdict::Passes,
        Err(refusal) => Verdict::Refused { reason: refusal.reason.code(), detail: refusal.detail },
    };
    let reason = Reason::parse(&item.reason);
    Judged {
        item,
        title: reason.map(Reason::title),
        step: reason.map(|reason| reason.step().to_string()),
        now: verdict,
    }
}

impl Report for Explained {
    fn text(&self) -> String {
        let mut text: String = self.records.iter().map(Entry::line).collect();
        for judged in &self.kept {
            let (item, title) = (&judged.item, judged.title.unwrap_or_default());
            let step = judged.step.as_deref().unwrap_or_default();
            let Item { id, reason, detail, disposition, since, .. } = item;
            text.push_str(&format!("{id}: {disposition} since {since}\n"));
            text.push_str(&format!("  decided by {step}: {reason}, {title}\n"));
            text.push_str(&format!("  {}\n", plain(detail)));
            text.push_str(&match &judged.now {
                Verdict::Passes => {
                    "  judged now, it passes keys, policy and schemas; the ledger decides\n"
                        .to_owned()
                }
                Verdict::Refused { reason, detail } => {
                    format!("  judged now, it is refused: {reason}, {}\n", plain(detail))
                }
            });
            text.push_str(&format!("  `chancery why {reason}` says what to do\n"));
        }
        text
    }
}
