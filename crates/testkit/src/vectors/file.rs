// SPDX-License-Identifier: MIT OR Apache-2.0
//! One vector as a file: a text header, then deliveries, each with its raw body
//! (vectors/README.md "Format").

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chancery_core::time::parse_rfc3339;
use chancery_core::{AppendTime, Delivery, Field, Reader, Timestamp};

/// A case: deliveries to one group, in order, and what must become of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// Path under `vectors/cases/`, without the ending.
    pub name: String,
    /// Why it must be so, one line.
    pub why: String,
    /// Folder under `vectors/snapshots/`.
    pub snapshot: String,
    /// Who reads.
    pub reader: Reader,
    /// Failed attempts before a message is parked.
    pub attempts_max: Option<u32>,
    /// The handler's type.
    pub reads: Option<Reads>,
    /// What arrives.
    pub steps: Vec<Delivered>,
}

/// The handler's type: an object with one member that is an unsigned integer of 8 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    /// Name of the member.
    pub member: String,
}

/// One arrival and what must become of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The message, or which earlier one is judged again (counted from 1).
    pub message: Result<Box<Delivery>, usize>,
    /// The body's form in the file.
    pub body: Body,
    /// The moment of judgement.
    pub now: Timestamp,
    /// Other keys, policy or schemas than the vector's.
    pub snapshot: Option<String>,
    /// What the handler does if it is reached.
    pub handler: Action,
    /// What must come of it.
    pub expect: Expect,
    /// The step that refuses.
    pub step: Option<String>,
    /// Digests of the message, for any implementation to compare with its own.
    pub facts: Vec<(String, String)>,
}

/// How a file holds a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// No body: a null value, or a message that is judged again.
    None,
    /// As it is.
    Bytes,
    /// One byte, repeated.
    Fill(usize, u8),
}

/// What a handler does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Action {
    /// Its effect commits.
    #[default]
    Done,
    /// It fails.
    Retry,
    /// It sets the message aside.
    Park,
}

/// What must become of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The handler runs and its effect commits.
    Ok,
    /// The handler fails; the message goes back to the broker.
    Retry,
    /// Refused, with this code.
    Refused(String),
}

impl Expect {
    /// The word in the file.
    pub fn word(&self) -> &str {
        match self {
            Expect::Ok => "ok",
            Expect::Retry => "retry",
            Expect::Refused(code) => code,
        }
    }
}

impl Action {
    const ALL: [Action; 3] = [Action::Done, Action::Retry, Action::Park];

    fn word(self) -> &'static str {
        match self {
            Action::Done => "done",
            Action::Retry => "retry",
            Action::Park => "park",
        }
    }
}

const MAGIC: &str = "1";

impl Vector {
    /// Reads a file.
    ///
    /// # Errors
    /// The line that is not of the format.
    pub fn parse(bytes: &[u8]) -> Result<Vector, String> {
        let mut rest = Lines(bytes);
        let version = rest.required("chancery-vector")?;
        if version != MAGIC {
            return Err(format!("format {version}"));
        }
        let mut vector = Vector {
            name: rest.required("name")?,
            why: rest.required("why")?,
            snapshot: rest.required("snapshot")?,
            reader: reader(&rest.required("reader")?)?,
            attempts_max: None,
            reads: None,
            steps: Vec::new(),
        };
        if let Some(count) = rest.optional("attempts_max")? {
            vector.attempts_max = Some(count.parse().map_err(|_| "attempts_max")?);
        }
        if let Some(reads) = rest.optional("reads")? {
            let member = reads.strip_suffix(" u8").ok_or("reads: MEMBER u8")?;
            vector.reads = Some(Reads { member: member.to_owned() });
        }
        while !rest.0.is_empty() {
            rest.blank()?;
            vector.steps.push(step(&mut rest)?);
        }
        if vector.steps.is_empty() { Err("no delivery".into()) } else { Ok(vector) }
    }

    /// Writes the file.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::new();
        line(&mut out, "chancery-vector", MAGIC);
        line(&mut out, "name", &self.name);
        line(&mut out, "why", &self.why);
        line(&mut out, "snapshot", &self.snapshot);
        line(&mut out, "reader", &format!("{} {}", self.reader.service, self.reader.group));
        if let Some(count) = self.attempts_max {
            line(&mut out, "attempts_max", &count.to_string());
        }
        if let Some(reads) = &self.reads {
            line(&mut out, "reads", &format!("{} u8", reads.member));
        }
        for step in &self.steps {
            out.push(b'\n');
            step.render(&mut out);
        }
        out
    }
}

impl Delivered {
    fn render(&self, out: &mut Vec<u8>) {
        match &self.message {
            Ok(delivery) => line(out, "delivery", &delivery.deliveries.to_string()),
            Err(earlier) => line(out, "again", &earlier.to_string()),
        }
        line(out, "now", &self.now.to_string());
        if let Some(snapshot) = &self.snapshot {
            line(out, "snapshot", snapshot);
        }
        if self.handler != Action::Done {
            line(out, "handler", self.handler.word());
        }
        line(out, "expect", self.expect.word());
        if let Some(step) = &self.step {
            line(out, "step", step);
        }
        if let Ok(delivery) = &self.message {
            message(out, delivery);
            for (name, value) in &self.facts {
                line(out, name, value);
            }
            body(out, self.body, delivery.body.as_deref());
        }
    }
}

fn message(out: &mut Vec<u8>, delivery: &Delivery) {
    line(out, "stream", &delivery.stream);
    line(out, "position", &delivery.position);
    line(
        out,
        "appended",
        &match delivery.appended {
            AppendTime::Broker(at) => format!("broker {at}"),
            AppendTime::Bounded(at) => format!("bounded {at}"),
            AppendTime::Unknown => "unknown".to_owned(),
        },
    );
    if let Some(key) = &delivery.key {
        line(out, "key", &value(key));
    }
    for field in &delivery.fields {
        line(out, "field", &format!("{} {}", field.name, value(&field.value)));
    }
}

fn body(out: &mut Vec<u8>, form: Body, bytes: Option<&[u8]>) {
    match (form, bytes) {
        (_, None) => line(out, "body", "null"),
        (Body::Fill(count, byte), _) => line(out, "body", &format!("fill {count} {byte:02x}")),
        (_, Some(bytes)) => {
            line(out, "body", &bytes.len().to_string());
            out.extend_from_slice(bytes);
            out.push(b'\n');
        }
    }
}

/// Printable ASCII without outer spaces stays readable; all else is base64.
fn value(bytes: &[u8]) -> String {
    let plain = bytes.iter().all(|b| (0x20..=0x7e).contains(b));
    let outer = |b: Option<&u8>| b.is_none_or(|b| *b == b' ');
    match std::str::from_utf8(bytes) {
        Ok(text) if plain && !outer(bytes.first()) && !outer(bytes.last()) => {
            format!("text {text}")
        }
        _ => format!("base64 {}", STANDARD.encode(bytes)).trim_end().to_owned(),
    }
}

fn line(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(format!("{name}: {value}\n").as_bytes());
}

struct Lines<'b>(&'b [u8]);

impl Lines<'_> {
    /// The next line's name and value, not taken.
    fn peek(&self) -> Result<(&str, &str, usize), String> {
        let end = self.0.iter().position(|b| *b == b'\n').ok_or("the last line has no end")?;
        let text = self.0.get(..end).and_then(|line| std::str::from_utf8(line).ok());
        let text = text.ok_or("a line is not UTF-8")?;
        let (name, value) = text.split_once(": ").ok_or("a line is not `name: value`")?;
        Ok((name, value, end + 1))
    }

    fn optional(&mut self, name: &str) -> Result<Option<String>, String> {
        if self.0.first().is_none_or(|b| *b == b'\n') {
            return Ok(None);
        }
        let (found, value, length) = self.peek()?;
        if found != name {
            return Ok(None);
        }
        let value = value.to_owned();
        self.0 = self.0.split_at(length).1;
        Ok(Some(value))
    }

    fn required(&mut self, name: &str) -> Result<String, String> {
        self.optional(name)?.ok_or_else(|| format!("`{name}` is not where it belongs"))
    }

    fn blank(&mut self) -> Result<(), String> {
        self.take(1).filter(|taken| *taken == b"\n").map(drop).ok_or_else(|| {
            "deliveries are not one blank line apart, or a line is out of place".to_owned()
        })
    }

    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

const FACTS: [&str; 3] = ["message_id", "pae_sha256", "body_digest"];

fn step(rest: &mut Lines<'_>) -> Result<Delivered, String> {
    let deliveries = rest.optional("delivery")?;
    let again = match &deliveries {
        None => rest.required("again")?.parse().map_err(|_| "again: NUMBER")?,
        Some(_) => 0,
    };
    let now = time(&rest.required("now")?)?;
    let snapshot = rest.optional("snapshot")?;
    let handler = match rest.optional("handler")? {
        None => Action::Done,
        Some(word) => Action::ALL.into_iter().find(|a| a.word() == word).ok_or("handler")?,
    };
    let expect = match &*rest.required("expect")? {
        "ok" => Expect::Ok,
        "retry" => Expect::Retry,
        code => Expect::Refused(code.to_owned()),
    };
    let refusing = rest.optional("step")?;
    if refusing.is_some() != matches!(expect, Expect::Refused(_)) {
        return Err("`step` stands with a code, and only there".into());
    }
    let mut delivered = Delivered {
        message: Err(again),
        body: Body::None,
        now,
        snapshot,
        handler,
        expect,
        step: refusing,
        facts: Vec::new(),
    };
    let Some(deliveries) = deliveries else { return Ok(delivered) };
    let mut delivery = Delivery {
        deliveries: deliveries.parse().map_err(|_| "delivery: NUMBER")?,
        stream: rest.required("stream")?,
        position: rest.required("position")?,
        appended: appended(&rest.required("appended")?)?,
        key: rest.optional("key")?.map(|key| decode(&key)).transpose()?,
        fields: Vec::new(),
        body: None,
    };
    while let Some(field) = rest.optional("field")? {
        let (name, value) = field.split_once(' ').ok_or("field: NAME FORM VALUE")?;
        delivery.fields.push(Field::new(name, decode(value)?));
    }
    for fact in FACTS {
        delivered.facts.extend(rest.optional(fact)?.map(|value| (fact.to_owned(), value)));
    }
    (delivered.body, delivery.body) = read_body(rest)?;
    delivered.message = Ok(Box::new(delivery));
    Ok(delivered)
}

fn read_body(rest: &mut Lines<'_>) -> Result<(Body, Option<Bytes>), String> {
    let form = rest.required("body")?;
    if form == "null" {
        return Ok((Body::None, None));
    }
    if let Some(fill) = form.strip_prefix("fill ") {
        let (count, byte) = fill.split_once(' ').ok_or("body: fill COUNT HEX")?;
        let count = count.parse().ok().filter(|n| *n <= 32 << 20).ok_or("body: fill COUNT HEX")?;
        let byte = u8::from_str_radix(byte, 16).map_err(|_| "body: fill COUNT HEX")?;
        return Ok((Body::Fill(count, byte), Some(vec![byte; count].into())));
    }
    let count = form.parse().map_err(|_| "body: SIZE, `null` or `fill COUNT HEX`")?;
    let bytes = rest.take(count).ok_or("the body is cut off")?.to_vec();
    rest.blank()?;
    Ok((Body::Bytes, Some(bytes.into())))
}

fn reader(text: &str) -> Result<Reader, String> {
    let (service, group) = text.split_once(' ').ok_or("reader: SERVICE GROUP")?;
    Ok(Reader { service: service.to_owned(), group: group.to_owned() })
}

fn decode(form: &str) -> Result<Bytes, String> {
    match form.split_once(' ') {
        Some(("text", text)) => Ok(text.to_owned().into()),
        Some(("base64", text)) => {
            STANDARD.decode(text).map(Bytes::from).map_err(|error| error.to_string())
        }
        None if form == "base64" => Ok(Bytes::new()),
        _ => Err("a value is neither text nor base64".into()),
    }
}

fn appended(text: &str) -> Result<AppendTime, String> {
    match text.split_once(' ') {
        Some(("broker", at)) => time(at).map(AppendTime::Broker),
        Some(("bounded", at)) => time(at).map(AppendTime::Bounded),
        None if text == "unknown" => Ok(AppendTime::Unknown),
        _ => Err("appended: broker TIME, bounded TIME or unknown".into()),
    }
}

fn time(text: &str) -> Result<Timestamp, String> {
    parse_rfc3339(text).ok_or_else(|| format!("`{text}` is not a time"))
}
