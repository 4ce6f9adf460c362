// SPDX-License-Identifier: MIT OR Apache-2.0
//! Appending: each message is confirmed by the stream, or it is a fault.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use chancery::Sink;
use chancery_core::Fault;
use chancery_core::seal::Sealed;
use serde::Deserialize;
use tokio::time::Instant;

use crate::NatsBroker;
use crate::config::Names;
use crate::connect::{Failed, Message, OUTAGE};
use crate::convert::{Outgoing, outgoing, position};

/// Most messages that wait for their confirmation at once.
const IN_FLIGHT: usize = 256;
/// Longest time for a stream to elect a leader, before nobody seems to listen.
const ELECTION: Duration = Duration::from_secs(2);
/// Most messages of which it is remembered that they were sent.
const TRIED_MAX: usize = 65_536;
/// More than a header takes from what a server allows for a message.
const MARGIN_BYTES: usize = 64;

/// Messages that this process has sent: a copy of one of these is our own.
#[derive(Default)]
pub(crate) struct Tried {
    ids: Mutex<(HashSet<String>, VecDeque<String>)>,
}

/// A stream's answer.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    stream: String,
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    error: Option<Refused>,
}

#[derive(Deserialize)]
struct Refused {
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

enum Trouble {
    /// The connection was lost: it may have been appended.
    Lost,
    /// Nobody listens, perhaps for a moment.
    Nobody,
    /// It was not the stream that answered: it may have been appended.
    Unsure(Fault),
    Fault(Fault),
}

impl Sink for NatsBroker {
    async fn append(&self, messages: &[Sealed]) -> Result<Vec<String>, Fault> {
        let mut all = Vec::with_capacity(messages.len());
        for sealed in messages {
            let names = self.link.settings().names(&sealed.stream);
            let out = outgoing(sealed, &names.subject, &names.stream);
            let out = out.map_err(|what| Fault::broker(format!("{}: {what}", sealed.stream)))?;
            self.check_size(&out)?;
            all.push((names, out));
        }
        let mut positions = Vec::with_capacity(all.len());
        let mut nobody_until = None;
        while let Some(rest) = all.get(positions.len()..).filter(|rest| !rest.is_empty()) {
            match self.append_run(rest, &mut positions).await {
                Ok(()) => nobody_until = None,
                Err(Trouble::Lost) => {
                    let back = self.link.back(Instant::now() + OUTAGE).await;
                    back.map_err(|()| Fault::broker(self.link.why()))?;
                }
                Err(Trouble::Nobody) => {
                    let until = *nobody_until.get_or_insert(Instant::now() + ELECTION);
                    if Instant::now() >= until {
                        let names = all.get(positions.len()).map(|(names, _)| names);
                        return Err(names.map_or_else(|| nobody(&Names::default()), nobody));
                    }
                    tokio::time::sleep(ELECTION / 10).await;
                }
                Err(Trouble::Unsure(fault) | Trouble::Fault(fault)) => return Err(fault),
            }
        }
        Ok(positions)
    }
}

impl NatsBroker {
    /// Sends what comes next of messages, and waits for their confirmations. Of one key there is
    /// only one on its way: a later one must not be appended when an earlier one was not.
    async fn append_run(
        &self,
        messages: &[(Names, Outgoing)],
        positions: &mut Vec<String>,
    ) -> Result<(), Trouble> {
        let (mut subjects, mut run) = (HashSet::new(), Vec::new());
        for (names, out) in messages.iter().take(IN_FLIGHT) {
            if !subjects.insert(out.subject.as_str()) && !out.subject.ends_with("._") {
                break;
            }
            let first_time = out.id.as_ref().is_none_or(|id| self.tried.enter(id));
            let asked = self.link.ask(&out.subject, &out.head, &out.body);
            run.push((names, out, first_time, asked));
        }
        for (names, out, first_time, asked) in run {
            let answer = match asked.answer().await {
                Ok(answer) => answer,
                // Without an id a second attempt would be a second message.
                Err(Failed::Lost) if out.id.is_none() => {
                    return Err(Trouble::Fault(Fault::broker(self.link.why())));
                }
                Err(Failed::Lost) => return Err(Trouble::Lost),
                Err(Failed::Denied(told)) => {
                    self.tried.leave(out);
                    return Err(Trouble::Fault(denied(&told, &format!("{}.*", names.subject))));
                }
                Err(Failed::Late) => return Err(Trouble::Fault(late(names))),
            };
            let confirmed = confirmed(&answer, names, first_time);
            if matches!(confirmed, Err(Trouble::Fault(_))) {
                self.tried.leave(out);
            }
            positions.push(confirmed?);
        }
        Ok(())
    }

    fn check_size(&self, out: &Outgoing) -> Result<(), Fault> {
        let (size, max) = (out.head.len() + out.body.len(), self.link.info().max_payload);
        if size + MARGIN_BYTES <= max {
            return Ok(());
        }
        Err(Fault::broker(format!(
            "a message of {size} bytes with its header; this server takes {max} (`max_payload`)"
        )))
    }
}

impl Tried {
    /// Whether it was never sent, or refused each time.
    fn enter(&self, id: &str) -> bool {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, order) = &mut *ids;
        if !set.insert(id.to_owned()) {
            return false;
        }
        order.push_back(id.to_owned());
        while order.len() > TRIED_MAX {
            let oldest = order.pop_front().unwrap_or_default();
            set.remove(&oldest);
        }
        true
    }

    fn leave(&self, out: &Outgoing) {
        let Some(id) = &out.id else { return };
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let (set, order) = &mut *ids;
        if set.remove(id) {
            order.retain(|other| other != id);
        }
    }
}

/// A confirmation's position.
fn confirmed(answer: &Message, names: &Names, first_time: bool) -> Result<String, Trouble> {
    if answer.status().is_some_and(|(code, _)| code == 503) {
        return Err(Trouble::Nobody);
    }
    let fault = |what: String| Err(Trouble::Fault(Fault::broker(what)));
    let unsure = || {
        Err(Trouble::Unsure(Fault::broker(format!(
            "{}: something answers that is not the stream {}; look who subscribes there",
            names.subject, names.stream
        ))))
    };
    let Ok(answer) = serde_json::from_slice::<Answer>(&answer.payload) else { return unsure() };
    if let Some(Refused { err_code, description }) = answer.error {
        let fix = match err_code {
            10060 => format!("; another stream has `{}.*`: correct broker.streams", names.subject),
            _ => String::new(),
        };
        let stream = &names.stream;
        return fault(format!("{stream} refuses a message: {description} ({err_code}){fix}"));
    }
    // Anybody who may subscribe to the subject may answer as well; that keeps nothing.
    if answer.stream != names.stream || answer.seq == 0 {
        return unsure();
    }
    let at = position(&answer.stream, answer.seq);
    if answer.duplicate && first_time {
        return fault(format!(
            "incident: the server has dropped a message as a duplicate of {at}, and this process \
             never sent it before. Somebody was first with its id, or it was sent before a \
             restart: look at {at}; then wait for the stream's duplicate window and send it again"
        ));
    }
    Ok(at)
}

fn late(names: &Names) -> Fault {
    let stream = &names.stream;
    Fault::broker(format!("{stream} does not confirm in time; the message may be there or not"))
}

fn nobody(names: &Names) -> Fault {
    let Names { stream, subject } = names;
    Fault::broker(format!(
        "no stream of this account takes `{subject}.*`; make it: nats stream add {stream} \
         --subjects '{subject}.*' --storage file --retention limits --discard new --deny-delete \
         --deny-purge --defaults"
    ))
}

/// A right that is missing, and how it is granted.
pub(crate) fn denied(told: &str, subject: &str) -> Fault {
    let verb =
        if told.to_lowercase().contains("for subscription") { "subscribe" } else { "publish" };
    let own = told.split('"').nth(1).filter(|_| verb == "subscribe");
    let (subject, hint) = match own {
        Some(inbox) => (inbox, "; or set broker.inbox to the prefix that it may subscribe to"),
        None => (subject, ""),
    };
    Fault::broker(format!(
        "this service may not {verb} to `{subject}`: grant it \
         (`permissions: {{ {verb}: {{ allow: [\"{subject}\"] }} }}`){hint}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out(id: &str) -> Outgoing {
        let (subject, head) = (String::new(), Vec::new());
        Outgoing { subject, head, body: bytes::Bytes::new(), id: Some(id.into()) }
    }

    // Threat: a subscriber answers in the stream's place, and what nobody keeps counts as durable.
    #[test]
    fn only_the_stream_confirms() {
        let names = Names { stream: "s".into(), subject: "a.b".into() };
        let told = |payload: &str| {
            let payload = bytes::Bytes::copy_from_slice(payload.as_bytes());
            let (subject, head) = (String::new(), bytes::Bytes::new());
            confirmed(&Message { subject, sid: 1, reply: None, head, payload }, &names, true)
        };
        assert_eq!(told(r#"{"stream":"s","seq":7}"#).ok().as_deref(), Some("s/7"));
        for other in
            ["", "{}", "[]", r#"{"seq":7}"#, r#"{"stream":"s"}"#, r#"{"stream":"z","seq":7}"#]
        {
            assert!(matches!(told(other), Err(Trouble::Unsure(_))), "{other}");
        }
    }

    // Threat: a copy that somebody else was first with passes for our own retry.
    #[test]
    fn only_what_was_not_refused_is_our_own_copy() {
        let tried = Tried::default();
        assert!(tried.enter("a"));
        assert!(!tried.enter("a"), "it was sent");
        tried.leave(&out("a"));
        assert!(tried.enter("a"), "it was refused");
        for n in 0..TRIED_MAX {
            tried.enter(&n.to_string());
        }
        assert!(tried.enter("a"), "what is remembered is bounded");
    }
}
