// SPDX-License-Identifier: MIT OR Apache-2.0
//! policy.yaml as it is written, and what it means.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use super::{Policy, Rung, Service, Stream, Tenants, Times, Versions};
use crate::failure::Misuse;
use crate::header::Kind;
use crate::text::{is_content_type, is_dotted, is_name, is_producer};
use crate::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// Largest policy file in bytes.
const POLICY_BYTES_MAX: usize = 1 << 20;
/// Largest body that a stream may allow, in bytes; the format's own cap.
const BODY_BYTES_MAX: usize = crate::screen::BODY_BYTES_MAX;
const BODY_BYTES_DEFAULT: usize = 1 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    version: u32,
    domain: String,
    environment: String,
    #[serde(default)]
    times: TimesFile,
    services: BTreeMap<String, Option<ServiceFile>>,
    streams: BTreeMap<String, StreamFile>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct TimesFile {
    publish_within: Option<String>,
    retention: Option<String>,
    keep: Option<String>,
    retries: Option<String>,
    skew: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct ServiceFile {
    role: Option<String>,
    tenants: Option<OneOrMore>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StreamFile {
    kind: KindFile,
    owner: OneOrMore,
    #[serde(default)]
    handled_by: BTreeMap<String, String>,
    types: Option<BTreeMap<String, VersionsFile>>,
    key: Option<String>,
    #[serde(default)]
    ordered: bool,
    tenants: Option<OneOrMore>,
    #[serde(default)]
    sensitive: bool,
    #[serde(default)]
    shared_keys: bool,
    #[serde(default = "yes")]
    extra_members: bool,
    #[serde(default)]
    append_time: AppendTimeFile,
    #[serde(default)]
    rung: RungFile,
    #[serde(default)]
    unsigned: Vec<String>,
    content: Option<OneOrMore>,
    bytes_max: Option<usize>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindFile {
    Event,
    Command,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "lowercase")]
enum RungFile {
    Observe,
    Mark,
    #[default]
    Enforce,
}

#[derive(Deserialize, Default, PartialEq)]
#[serde(rename_all = "lowercase")]
enum AppendTimeFile {
    #[default]
    Broker,
    None,
}

pub(super) fn read(text: &str) -> Result<Policy, Misuse> {
    if text.len() > POLICY_BYTES_MAX {
        return Err(wrong("", "is larger than 1 MiB", "split the domain"));
    }
    let file: PolicyFile = serde_saphyr::from_str(text)
        .map_err(|error| error.render_with_formatter(&serde_saphyr::UserMessageFormatter))
        .map_err(|error| wrong("", &error, "correct the line"))?;
    if file.version != 1 {
        return Err(wrong("version", "is not 1", "write `version: 1`"));
    }
    name("domain", &file.domain, is_name)?;
    name("environment", &file.environment, is_name)?;
    let services = file.services.into_iter().map(service).collect::<Result<_, _>>()?;
    let streams = file.streams.into_iter().map(stream).collect::<Result<_, _>>()?;
    let policy = Policy {
        domain: file.domain,
        environment: file.environment,
        times: times(&file.times)?,
        services,
        streams,
    };
    every_name_is_defined(&policy)?;
    Ok(policy)
}

fn service((key, file): (String, Option<ServiceFile>)) -> Result<(String, Service), Misuse> {
    let at = format!("services.{key}");
    name(&at, &key, is_producer)?;
    let file = file.unwrap_or_default();
    if let Some(role) = &file.role {
        name(&format!("{at}.role"), role, is_name)?;
    }
    let tenants = tenants(&at, file.tenants)?;
    Ok((key, Service { role: file.role, tenants }))
}

fn stream((key, file): (String, StreamFile)) -> Result<(String, Stream), Misuse> {
    let at = format!("streams.{key}");
    name(&at, &key, is_dotted)?;
    let types = match file.types {
        None => BTreeMap::from([(key.clone(), Versions::ALL)]),
        Some(types) => types.into_iter().map(|(typ, range)| (typ, range.0)).collect(),
    };
    for typ in types.keys() {
        name(&format!("{at}.types"), typ, is_dotted)?;
    }
    for group in file.handled_by.keys() {
        name(&format!("{at}.handled_by"), group, is_name)?;
    }
    if file.ordered && file.key.is_none() {
        return Err(wrong(&at, "is ordered and has no key", "add `key: MEMBER` of the payload"));
    }
    let content = file.content.map_or_else(|| vec!["application/json".to_owned()], |list| list.0);
    for content_type in &content {
        name(&format!("{at}.content"), content_type, is_content_type)?;
        if runs_what_it_reads(content_type) {
            let what = format!("`{content_type}` is of a format whose readers run what they read");
            return Err(wrong(&format!("{at}.content"), &what, "send JSON, Avro or Protobuf"));
        }
    }
    let bytes_max = file.bytes_max.unwrap_or(BODY_BYTES_DEFAULT);
    if bytes_max > BODY_BYTES_MAX {
        let what = format!("is above the format's limit of {BODY_BYTES_MAX}");
        return Err(wrong(&format!("{at}.bytes_max"), &what, "send a reference instead"));
    }
    let stream = Stream {
        kind: match file.kind {
            KindFile::Event => Kind::Event,
            KindFile::Command => Kind::Command,
        },
        owner: file.owner.0,
        handled_by: file.handled_by,
        types,
        key: file.key,
        ordered: file.ordered,
        tenants: tenants(&at, file.tenants)?,
        sensitive: file.sensitive,
        shared_keys: file.shared_keys,
        extra_members: file.extra_members,
        append_time: file.append_time == AppendTimeFile::Broker,
        rung: match file.rung {
            RungFile::Observe => Rung::Observe,
            RungFile::Mark => Rung::Mark,
            RungFile::Enforce => Rung::Enforce,
        },
        unsigned: file.unsigned,
        content,
        bytes_max,
    };
    Ok((key, stream))
}

/// Java serialization, pickle and YAML, under whatever registered or private name.
fn runs_what_it_reads(content_type: &str) -> bool {
    ["java-serialized", "java-object", "pickle", "yaml"]
        .iter()
        .any(|word| content_type.contains(word))
}

fn tenants(at: &str, list: Option<OneOrMore>) -> Result<Tenants, Misuse> {
    let Some(OneOrMore(list)) = list else { return Ok(Tenants::None) };
    if list.iter().any(|tenant| tenant == "any") {
        let alone = list.len() == 1;
        let fix = "write `tenants: any` alone, or list them all";
        let mixed = wrong(&format!("{at}.tenants"), "mixes `any` with names", fix);
        return if alone { Ok(Tenants::Any) } else { Err(mixed) };
    }
    for tenant in &list {
        name(&format!("{at}.tenants"), tenant, is_name)?;
    }
    Ok(Tenants::Listed(list))
}

fn times(file: &TimesFile) -> Result<Times, Misuse> {
    let standard = Times::default();
    let read = |text: &Option<String>, member: &str, default: i64| match text {
        None => Ok(default),
        Some(text) => duration_ms(text).ok_or_else(|| {
            wrong(&format!("times.{member}"), "is not a duration", "write 30s, 15m, 12h or 7d")
        }),
    };
    Ok(Times {
        publish_within_ms: read(
            &file.publish_within,
            "publish_within",
            standard.publish_within_ms,
        )?,
        retention_ms: read(&file.retention, "retention", standard.retention_ms)?,
        keep_ms: read(&file.keep, "keep", standard.keep_ms)?,
        retries_ms: read(&file.retries, "retries", standard.retries_ms)?,
        skew_ms: read(&file.skew, "skew", standard.skew_ms)?,
    })
}

/// `30s`, `15m`, `12h`, `7d`; at most a hundred years.
fn duration_ms(text: &str) -> Option<i64> {
    let unit_ms = match text.chars().last()? {
        's' => SECOND_MS,
        'm' => MINUTE_MS,
        'h' => HOUR_MS,
        'd' => DAY_MS,
        _ => return None,
    };
    let count = text.get(..text.len() - 1)?;
    let plain = !count.is_empty() && count.bytes().all(|b| b.is_ascii_digit());
    let ms = plain.then(|| count.parse::<i64>().ok()?.checked_mul(unit_ms))??;
    (ms <= 36_525 * DAY_MS).then_some(ms)
}

fn every_name_is_defined(policy: &Policy) -> Result<(), Misuse> {
    let defined = |at: String, service: &str| {
        let known = policy.services.contains_key(service);
        let what = format!("names `{}`, which is not a service", service.escape_default());
        if known { Ok(()) } else { Err(wrong(&at, &what, "add it under `services`")) }
    };
    for (key, stream) in &policy.streams {
        let at = format!("streams.{key}");
        if stream.owner.is_empty() {
            return Err(wrong(&at, "has no owner", "name the service that publishes"));
        }
        for owner in &stream.owner {
            match owner.strip_prefix("role:") {
                None => defined(format!("{at}.owner"), owner)?,
                Some(role) => {
                    let held = policy.services.values().any(|s| s.role.as_deref() == Some(role));
                    let what =
                        format!("names role `{}`, which no service has", role.escape_default());
                    held.then_some(())
                        .ok_or_else(|| wrong(&at, &what, "give a service the role"))?;
                }
            }
        }
        for service in stream.handled_by.values() {
            defined(format!("{at}.handled_by"), service)?;
        }
        for service in &stream.unsigned {
            defined(format!("{at}.unsigned"), service)?;
        }
    }
    Ok(())
}

fn name(at: &str, text: &str, ok: fn(&str) -> bool) -> Result<(), Misuse> {
    if ok(text) {
        return Ok(());
    }
    let what = format!("`{}` is not a valid name", text.escape_default());
    Err(wrong(at, &what, "use letters, digits, `.`, `-` and `_`"))
}

fn wrong(member: &str, what: &str, fix: &str) -> Misuse {
    let at =
        if member.is_empty() { "policy.yaml".into() } else { format!("policy.yaml, {member}") };
    Misuse::new(what, at, fix)
}

/// A single text or a list of them.
struct OneOrMore(Vec<String>);

impl<'de> Deserialize<'de> for OneOrMore {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<OneOrMore, D::Error> {
        struct Texts;
        impl<'de> Visitor<'de> for Texts {
            type Value = OneOrMore;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name or a list of names")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOrMore, E> {
                Ok(OneOrMore(vec![text.to_owned()]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<OneOrMore, A::Error> {
                let mut list = Vec::new();
                while let Some(text) = seq.next_element()? {
                    list.push(text);
                }
                Ok(OneOrMore(list))
            }
        }
        from.deserialize_any(Texts)
    }
}

/// `3`, `2..4`, or `2..` for no upper bound.
struct VersionsFile(Versions);

impl<'de> Deserialize<'de> for VersionsFile {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<VersionsFile, D::Error> {
        struct Range;
        impl Visitor<'_> for Range {
            type Value = VersionsFile;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("schema versions from 1 to 999, as `3` or `2..4`")
            }
            fn visit_u64<E: de::Error>(self, only: u64) -> Result<VersionsFile, E> {
                self.visit_str(&only.to_string())
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<VersionsFile, E> {
                let (min, max) = text.split_once("..").unwrap_or((text, text));
                let max = if max.is_empty() { "999" } else { max };
                match (min.parse(), max.parse()) {
                    (Ok(min), Ok(max)) if 1 <= min && min <= max && max <= 999 => {
                        Ok(VersionsFile(Versions { min, max }))
                    }
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        from.deserialize_any(Range)
    }
}
