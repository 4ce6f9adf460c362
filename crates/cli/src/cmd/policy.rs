// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery policy lint|explain`

use std::collections::BTreeMap;

use chancery::Snapshot;
use chancery::core::envelope::ENVELOPE_TYPE;
use chancery::core::policy::{Policy, Rung, Stream, Tenants, Versions};
use serde::Serialize;

use crate::exit::{Exit, Result};
use crate::out::{Ctx, Report, many, table};
use crate::project::{self, Project};

/// Look the policy over, and ask it who may do what.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Say what is wrong, or allows more than it seems.
    Lint,
    /// Who may publish and handle what, and which rule says so.
    Explain(Question),
}

/// Everything is answered that the question leaves open.
#[derive(Debug, clap::Args)]
struct Question {
    /// Only this service.
    #[arg(long)]
    service: Option<String>,
    /// Only this stream.
    #[arg(long)]
    stream: Option<String>,
    /// Only messages of this type.
    #[arg(long = "type", value_name = "TYPE")]
    event_type: Option<String>,
    /// Only messages of this tenant.
    #[arg(long)]
    tenant: Option<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let snapshot = Project::open(ctx)?.snapshot()?;
        match self.verb {
            Verb::Lint => {
                let findings = lint(&snapshot);
                let exit = Exit::found(!findings.is_empty());
                ctx.show(&Linted { streams: snapshot.policy.streams.len(), findings })?;
                Ok(exit)
            }
            Verb::Explain(question) => {
                ctx.show(&explain(&snapshot, &question)?)?;
                Ok(Exit::Ok)
            }
        }
    }
}

#[derive(Serialize)]
struct Linted {
    streams: usize,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    rule: &'static str,
    at: String,
    why: String,
    write: String,
}

/// What is legal and still deserves a second look.
fn lint(snapshot: &Snapshot) -> Vec<Finding> {
    let policy = &snapshot.policy;
    let mut findings = Vec::new();
    for (name, stream) in &policy.streams {
        let mut add = |rule, member: &str, why: &str, write: &str| {
            let at = format!("policy.yaml, streams.{name}{member}");
            findings.push(Finding { rule, at, why: why.to_owned(), write: write.to_owned() });
        };
        if stream.rung < Rung::Enforce {
            let why = "what breaks a rule still runs, as unproven";
            add("below-enforce", ".rung", why, "`rung: enforce`, once `status` shows no findings");
        }
        if stream.sensitive && stream.shared_keys {
            let why = "whoever can verify a shared key can forge, and this stream is sensitive";
            add("shared-on-sensitive", ".shared_keys", why, "leave `shared_keys` out");
        }
        if !stream.append_time {
            let why = "lateness is not judged, so what was kept back or recorded is still handled";
            add("no-append-time", ".append_time", why, "leave it out, where the broker keeps one");
        }
        if stream.handled_by.is_empty() {
            add("unhandled", "", "nobody may handle it", "`handled_by: {GROUP: SERVICE}`");
        }
        if stream.owner.len() > 1 {
            let why = "several services may publish it; an event should have one source";
            add("several-owners", ".owner", why, "one owner, or a stream each");
        }
        let enveloped = stream.content.iter().any(|content| content == ENVELOPE_TYPE);
        if !stream.extra_members && !enveloped {
            let why = "nothing that it carries is an envelope, so this refuses nothing";
            add("idle-extra-members", ".extra_members", why, "leave `extra_members` out");
        }
        let carried = stream.types.iter().filter(|_| enveloped);
        for (typ, _) in carried.filter(|carried| !has_schema(snapshot, *carried)) {
            let why =
                format!("no schema of `{typ}` in the versions it carries: all is held with E405");
            add("no-schema", ".types", &why, "add one with `chancery schema new TYPE`");
        }
    }
    findings.extend(unused(policy));
    findings
}

fn has_schema(snapshot: &Snapshot, (typ, versions): (&String, &Versions)) -> bool {
    let known = snapshot.schemas.get(typ);
    known.is_some_and(|known| known.keys().any(|version| versions.contains(*version)))
}

fn unused(policy: &Policy) -> Vec<Finding> {
    let idle = policy.services.keys().filter(|service| {
        !policy.streams.values().any(|stream| {
            policy.may_publish(service, stream)
                || stream.handled_by.values().any(|handler| handler == *service)
        })
    });
    idle.map(|service| Finding {
        rule: "idle-service",
        at: format!("policy.yaml, services.{service}"),
        why: "it may neither publish nor handle anything".to_owned(),
        write: "remove it, or give it a stream".to_owned(),
    })
    .collect()
}

impl Report for Linted {
    fn text(&self) -> String {
        let mut text = String::new();
        for Finding { rule, at, why, write } in &self.findings {
            text.push_str(&format!("{at}: {rule}: {why}\n  fix: {write}\n"));
        }
        let found = self.findings.len();
        text + &format!("{}, {}\n", many(self.streams, "stream"), many(found, "finding"))
    }
}

#[derive(Serialize)]
struct Answers {
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<Facts>,
    answers: Vec<Answer>,
}

/// What a stream carries, where one was asked about.
#[derive(Serialize)]
struct Facts {
    destination: String,
    kind: &'static str,
    types: BTreeMap<String, String>,
    key: Option<String>,
    ordered: bool,
    tenants: String,
    content: Vec<String>,
    extra_members: bool,
    append_time: bool,
    bytes_max: usize,
}

impl Facts {
    fn of(policy: &Policy, name: &str, stream: &Stream) -> Facts {
        let types = stream.types.iter();
        Facts {
            destination: policy.destination(name),
            kind: stream.kind.word(),
            types: types.map(|(typ, versions)| (typ.clone(), versions.to_string())).collect(),
            key: stream.key.clone(),
            ordered: stream.ordered,
            tenants: match &stream.tenants {
                Tenants::None => "none".to_owned(),
                Tenants::Any => "any".to_owned(),
                Tenants::Listed(list) => list.join(", "),
            },
            content: stream.content.clone(),
            extra_members: stream.extra_members,
            append_time: stream.append_time,
            bytes_max: stream.bytes_max,
        }
    }

    fn text(&self) -> String {
        let types: Vec<String> =
            self.types.iter().map(|(typ, versions)| format!("{typ} {versions}")).collect();
        let ordered = if self.ordered { ", strictly ordered" } else { "" };
        let extra = if self.extra_members { "" } else { ", no extra members" };
        let key = self.key.as_deref().unwrap_or("none");
        let late = if self.append_time { "" } else { ", lateness not judged" };
        format!(
            "destination  {}\nkind         {}\ntypes        {}\nkey          {key}{ordered}\n\
             tenants      {}\ncontent      {}, at most {} bytes{extra}{late}\n\n",
            self.destination,
            self.kind,
            types.join(", "),
            self.tenants,
            self.content.join(", "),
            self.bytes_max,
        )
    }
}

/// One service's right on one stream.
#[derive(Serialize)]
struct Answer {
    service: String,
    stream: String,
    may: &'static str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    rule: String,
}

fn explain(snapshot: &Snapshot, question: &Question) -> Result<Answers> {
    let policy = &snapshot.policy;
    if let Some(name) = &question.stream {
        project::stream(snapshot, name)?;
    }
    if let Some(name) = &question.service {
        project::service(snapshot, name)?;
    }
    let asked = |asked: &Option<String>, name: &String| asked.as_ref().is_none_or(|a| a == name);
    let mut answers = Vec::new();
    for (name, stream) in policy.streams.iter().filter(|(name, _)| asked(&question.stream, name)) {
        for service in policy.services.keys().filter(|name| asked(&question.service, name)) {
            let about = About { policy, name, stream, service, question };
            answers.push(about.publish());
            answers.push(about.handle());
        }
    }
    // Of everything, what is allowed is the answer; of one service on one stream, both are.
    if question.service.is_none() || question.stream.is_none() {
        answers.retain(|answer| answer.allowed);
    }
    let named = question.stream.as_ref().and_then(|name| policy.streams.get_key_value(name));
    Ok(Answers { stream: named.map(|(name, stream)| Facts::of(policy, name, stream)), answers })
}

struct About<'a> {
    policy: &'a Policy,
    name: &'a str,
    stream: &'a Stream,
    service: &'a str,
    question: &'a Question,
}

impl About<'_> {
    fn publish(&self) -> Answer {
        let owners = self.stream.owner.join(", ");
        let named = format!("streams.{}.owner: {owners}", self.name);
        let allowed = self.policy.may_publish(self.service, self.stream);
        self.answer("publish", allowed, named, None)
    }

    fn handle(&self) -> Answer {
        let mut groups = self.stream.handled_by.iter();
        let group = groups.find(|(_, handler)| *handler == self.service).map(|(group, _)| group);
        let allowed = group.is_some_and(|g| self.policy.may_handle(self.service, g, self.stream));
        let rule = match group {
            Some(group) => format!("streams.{}.handled_by.{group}", self.name),
            None => format!("streams.{}.handled_by does not name it", self.name),
        };
        self.answer("handle", allowed, rule, group.cloned())
    }

    /// Type and tenant can only take a right away.
    fn answer(
        &self,
        may: &'static str,
        named: bool,
        rule: String,
        group: Option<String>,
    ) -> Answer {
        let against = if named { self.against() } else { None };
        Answer {
            service: self.service.to_owned(),
            stream: self.name.to_owned(),
            may,
            allowed: named && against.is_none(),
            group: group.filter(|_| named),
            rule: against.unwrap_or(rule),
        }
    }

    fn against(&self) -> Option<String> {
        let (name, stream) = (self.name, self.stream);
        if let Some(typ) = &self.question.event_type
            && !stream.types.contains_key(typ)
        {
            return Some(format!("streams.{name}.types does not carry `{typ}`"));
        }
        let tenant = self.question.tenant.as_deref()?;
        if !stream.carries_tenant(Some(tenant)) {
            return Some(format!("streams.{name}.tenants does not carry `{tenant}`"));
        }
        let touches = self.policy.may_touch_tenant(self.service, Some(tenant));
        (!touches).then(|| match self.policy.services.get(self.service).map(|s| &s.tenants) {
            Some(Tenants::None) => format!("services.{}.tenants is not there", self.service),
            _ => format!("services.{}.tenants does not list `{tenant}`", self.service),
        })
    }
}

impl Report for Answers {
    fn text(&self) -> String {
        let row = |answer: &Answer| {
            let may = if answer.allowed { "may" } else { "may not" };
            let group = answer.group.as_ref().map(|g| format!(" as {g}")).unwrap_or_default();
            vec![
                answer.service.clone(),
                format!("{may} {}{group}", answer.may),
                answer.stream.clone(),
                answer.rule.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = self.answers.iter().map(row).collect();
        let facts = self.stream.as_ref().map(Facts::text).unwrap_or_default();
        if rows.is_empty() {
            return facts + "nobody may: what the policy does not write down is refused\n";
        }
        facts + &table(&["SERVICE", "", "STREAM", "BECAUSE OF"], &rows)
    }
}
