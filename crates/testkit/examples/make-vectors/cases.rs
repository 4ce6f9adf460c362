// SPDX-License-Identifier: MIT OR Apache-2.0
//! The list of cases, and what most of them have in common.

use bytes::Bytes;
use chancery_core::{AppendTime, Delivery, Field, Reader, Timestamp};
use chancery_testkit::vectors::{Action, Body, Delivered, Expect, Reads, Vector};

use crate::craft::{Copy, HEADER_TYPE, SIGNED, b64u, body_digest, hex, pae, sha256};

#[derive(Default)]
pub(crate) struct Cases {
    pub(crate) list: Vec<Vector>,
}

impl Cases {
    /// A case of one delivery to `svc-billing` on `stream`.
    pub(crate) fn one(&mut self, name: &str, why: &str, step: Step) {
        self.script(name, why, vec![step]);
    }

    /// A case of several deliveries; gives it back to be changed.
    pub(crate) fn script(&mut self, name: &str, why: &str, steps: Vec<Step>) -> &mut Vector {
        let steps = steps.into_iter().map(|step| step.0).collect();
        self.list.push(Vector {
            name: name.to_owned(),
            why: why.to_owned(),
            snapshot: "main".to_owned(),
            reader: Reader { service: "svc-billing".to_owned(), group: "billing".to_owned() },
            attempts_max: None,
            reads: None,
            steps,
        });
        self.list.last_mut().expect("just pushed")
    }
}

/// The handler reads a payload with this 8-bit member.
pub(crate) fn reads(member: &str) -> Option<Reads> {
    Some(Reads { member: member.to_owned() })
}

/// One delivery and what must become of it.
pub(crate) struct Step(pub(crate) Delivered);

impl Step {
    /// On `stream`, taken by the broker half a second after signing, judged six seconds later.
    pub(crate) fn new(stream: &str, copy: Copy, expect: &str) -> Step {
        let facts = facts(&copy);
        let delivery = Delivery {
            stream: stream.to_owned(),
            position: format!("{stream}/1"),
            fields: copy.fields.into_iter().map(|(name, value)| Field::new(name, value)).collect(),
            key: copy.key.map(Bytes::from),
            body: copy.body.map(Bytes::from),
            appended: AppendTime::Broker(Timestamp(SIGNED + 500)),
            deliveries: 1,
        };
        let body = if delivery.body.is_some() { Body::Bytes } else { Body::None };
        Step(delivered(Ok(Box::new(delivery)), body, expect, facts))
    }

    /// The message of an earlier step, judged again.
    pub(crate) fn again(step: usize, expect: &str) -> Step {
        Step(delivered(Err(step), Body::None, expect, Vec::new()))
    }

    pub(crate) fn now(mut self, ms: i64) -> Step {
        self.0.now = Timestamp(ms);
        self
    }

    pub(crate) fn appended(mut self, appended: AppendTime) -> Step {
        self.delivery().appended = appended;
        self
    }

    pub(crate) fn position(mut self, position: &str) -> Step {
        self.delivery().position = position.to_owned();
        self
    }

    pub(crate) fn deliveries(mut self, count: u32) -> Step {
        self.delivery().deliveries = count;
        self
    }

    pub(crate) fn handler(mut self, action: Action) -> Step {
        self.0.handler = action;
        self
    }

    pub(crate) fn snapshot(mut self, name: &str) -> Step {
        self.0.snapshot = Some(name.to_owned());
        self
    }

    /// A body of one byte, many times over.
    pub(crate) fn filled(mut self, count: usize, byte: u8) -> Step {
        self.delivery().body = Some(vec![byte; count].into());
        self.0.body = Body::Fill(count, byte);
        self.0.facts.retain(|(name, _)| name != "body_digest");
        self
    }

    fn delivery(&mut self) -> &mut Delivery {
        self.0.message.as_mut().expect("a delivery of its own")
    }
}

fn delivered(
    message: Result<Box<Delivery>, usize>,
    body: Body,
    expect: &str,
    facts: Vec<(String, String)>,
) -> Delivered {
    let (expect, step) = match expect {
        "ok" => (Expect::Ok, None),
        "retry" => (Expect::Retry, None),
        code => (Expect::Refused(code.to_owned()), Some(step_of(code).to_owned())),
    };
    Delivered {
        message,
        body,
        now: Timestamp(SIGNED + 6_500),
        snapshot: None,
        handler: Action::Done,
        expect,
        step,
        facts,
    }
}

fn step_of(code: &str) -> &'static str {
    match code.get(..4).unwrap_or_default() {
        "E101" | "E102" | "E111" => "decode",
        "E110" | "E201" | "E202" | "E203" | "E205" | "E210" | "E212" => "authenticate",
        "E206" | "E207" | "E505" | "E506" | "E507" | "E508" => "freshness",
        "E113" | "E114" | "E301" | "E302" | "E303" | "E304" | "E402" | "E515" | "E519" => {
            "authorize"
        }
        "E501" | "E502" | "E503" => "claim",
        "E511" | "E512" | "E513" | "E516" | "E604" => "order",
        "E601" | "E602" | "E605" => "handle",
        _ => "validate",
    }
}

fn facts(copy: &Copy) -> Vec<(String, String)> {
    let mut facts = Vec::new();
    if let Some(h) = copy.value("chancery") {
        facts.push(("message_id".to_owned(), b64u(&sha256(&[b"chancery/mid/1\n", h]))));
        facts.push(("pae_sha256".to_owned(), hex(&sha256(&[&pae(HEADER_TYPE, h)]))));
    }
    let salt = copy.value("chancery-salt").and_then(|salt| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(salt).ok()?.try_into().ok()
    });
    let digest = body_digest(copy.body.as_deref(), salt.as_ref());
    facts.push(("body_digest".to_owned(), b64u(&digest)));
    facts
}
