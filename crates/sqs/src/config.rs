// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people have in hand: a region, an AWS profile, a CA, names of queues.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chancery::Clock;
use chancery_core::{Fault, Misuse};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

/// How long a message that was received is ours, unless it is said again; a receiver that is killed
/// keeps its messages from the others for so long.
const VISIBILITY_S: u32 = 30;
/// The broker gives a message to nobody for longer than this, however often it is asked.
const VISIBILITY_S_MAX: u32 = 12 * 60 * 60;
/// Shorter, and a slow network loses what is in hand.
const VISIBILITY_S_MIN: u32 = 3;
/// Longest name of a queue, the ending of a FIFO queue among it.
const QUEUE_NAME_MAX: usize = 80;
pub(crate) const FIFO: &str = ".fifo";

/// `broker:` of `chancery.yaml` for SQS, as it is written there.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `sqs://REGION`.
    pub url: String,
    /// A server in place of AWS's: `https://…`.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Allows an endpoint without TLS.
    #[serde(default)]
    pub insecure: bool,
    /// The only authorities that are trusted, as PEM; by default the system's.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// A profile of the AWS files, in place of what the environment says.
    #[serde(default)]
    pub profile: Option<String>,
    /// An AWS credentials file, in place of `~/.aws/credentials` and the environment.
    #[serde(default)]
    pub credentials: Option<PathBuf>,
    /// An AWS config file, in place of `~/.aws/config` and the environment.
    #[serde(default)]
    pub config: Option<PathBuf>,
    /// How long a receiver's silence takes its messages from it, in seconds: 3 to 43200.
    #[serde(default = "visibility_s")]
    pub visibility_s: u32,
    /// The producer behind each `SenderId` of AWS. With it, a message is refused unless AWS
    /// vouches for its sender and that is who signed it.
    #[serde(default)]
    pub users: BTreeMap<String, String>,
    /// Where streams are.
    #[serde(default)]
    pub streams: BTreeMap<String, Address>,
}

/// Where a stream is: a queue for each group that reads it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Groups whose queues have the default name, `orders_created-billing.fifo`.
    #[serde(default)]
    pub groups: Vec<String>,
    /// Queues of groups by name or URL.
    #[serde(default)]
    pub queues: BTreeMap<String, String>,
    /// How messages come into the queues.
    #[serde(default)]
    pub via: Via,
}

/// How messages come into a stream's queues.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// They are sent there.
    #[default]
    Direct,
    /// A topic of SNS sends them on, wrapped in a document of its own (no "raw message delivery").
    Sns,
}

/// What was read and checked; [`SqsBroker::connect`](crate::SqsBroker::connect) takes it.
#[derive(Clone)]
pub struct Settings {
    pub(crate) region: String,
    pub(crate) endpoint: Option<String>,
    pub(crate) insecure: bool,
    pub(crate) ca: Option<Vec<u8>>,
    pub(crate) profile: Option<String>,
    pub(crate) credentials: Option<PathBuf>,
    pub(crate) config: Option<PathBuf>,
    pub(crate) visibility: Duration,
    pub(crate) users: BTreeMap<String, String>,
    pub(crate) streams: BTreeMap<String, Address>,
    pub(crate) clock: Option<Arc<dyn Clock>>,
}

impl Config {
    /// Reads the files named, relative to `folder`, and checks what can be checked without a
    /// connection.
    ///
    /// # Errors
    /// Misuse that names the member.
    pub fn read(self, folder: &Path) -> Result<Settings, Misuse> {
        let region = self.url.strip_prefix("sqs://").map(|rest| rest.trim_end_matches('/'));
        let region = region.filter(|region| is_region(region)).ok_or_else(|| {
            Misuse::new("the URL is not `sqs://REGION`", "broker.url", "write `sqs://eu-west-1`")
        })?;
        if let Some(endpoint) = &self.endpoint {
            check_endpoint(endpoint, self.insecure)?;
        }
        if !(VISIBILITY_S_MIN..=VISIBILITY_S_MAX).contains(&self.visibility_s) {
            let fix = format!("write {VISIBILITY_S_MIN} to {VISIBILITY_S_MAX}");
            return Err(Misuse::new("out of range", "broker.visibility_s", fix));
        }
        for (stream, address) in &self.streams {
            address.check(stream)?;
        }
        let ca = self.ca.map(|path| authorities(&folder.join(path))).transpose()?;
        let file = |path: Option<PathBuf>, at: &str| path.map(|p| exists(folder.join(p), at));
        Ok(Settings {
            region: region.to_owned(),
            endpoint: self.endpoint,
            insecure: self.insecure,
            ca,
            profile: self.profile,
            credentials: file(self.credentials, "broker.credentials").transpose()?,
            config: file(self.config, "broker.config").transpose()?,
            visibility: Duration::from_secs(self.visibility_s.into()),
            users: self.users,
            streams: self.streams,
            clock: None,
        })
    }
}

impl Settings {
    /// Signs requests by another clock.
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Settings {
        self.clock = Some(clock);
        self
    }

    pub(crate) fn via(&self, stream: &str) -> Via {
        self.streams.get(stream).map_or(Via::Direct, |address| address.via)
    }

    /// A group's queue, by name or URL.
    pub(crate) fn queue(&self, stream: &str, group: &str) -> Result<String, Fault> {
        let named = self.streams.get(stream).and_then(|address| address.queues.get(group));
        match named {
            Some(queue) => Ok(queue.clone()),
            None => queue_name(stream, group).ok_or_else(|| {
                Fault::broker(format!(
                    "the queue of stream `{}` and group `{}` has no valid name of its own; name it \
                     under broker.streams",
                    stream.escape_default(),
                    group.escape_default()
                ))
            }),
        }
    }

    /// The queues of all groups of a stream.
    pub(crate) fn queues(&self, stream: &str) -> Result<Vec<String>, Fault> {
        let address = self.streams.get(stream);
        let groups = address.map_or(&[][..], |address| &address.groups).iter();
        let named = address.into_iter().flat_map(|address| address.queues.keys());
        let groups: std::collections::BTreeSet<&String> = groups.chain(named).collect();
        if groups.is_empty() {
            let stream = stream.escape_default();
            return Err(Fault::broker(format!(
                "nobody says which groups read stream `{stream}`, and each has its own queue; \
                 write `broker.streams: {{{stream}: {{groups: [GROUP…]}}}}`"
            )));
        }
        groups.into_iter().map(|group| self.queue(stream, group)).collect()
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("region", &self.region)
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}

impl Address {
    fn check(&self, stream: &str) -> Result<(), Misuse> {
        let at = || format!("broker.streams.{}", stream.escape_default());
        let valid = |queue: &String| {
            queue.starts_with("https://") || queue.starts_with("http://") || is_queue_name(queue)
        };
        if let Some((group, _)) = self.queues.iter().find(|(_, queue)| !valid(queue)) {
            let at = format!("{}.queues.{}", at(), group.escape_default());
            let what = "neither the URL nor the name of a queue";
            return Err(Misuse::new(what, at, "write what `aws sqs list-queues` shows"));
        }
        let nameless = self
            .groups
            .iter()
            .find(|group| !self.queues.contains_key(*group) && queue_name(stream, group).is_none());
        match nameless {
            None => Ok(()),
            Some(group) => {
                let what = format!("group `{}` makes no valid queue name", group.escape_default());
                Err(Misuse::new(what, format!("{}.groups", at()), "name its queue under `queues`"))
            }
        }
    }
}

fn visibility_s() -> u32 {
    VISIBILITY_S
}

/// `orders_created-billing.fifo`, if a queue can be called that.
fn queue_name(stream: &str, group: &str) -> Option<String> {
    let name = format!("{}-{group}{FIFO}", stream.replace('.', "_"));
    is_queue_name(&name).then_some(name)
}

fn is_queue_name(name: &str) -> bool {
    let stem = name.strip_suffix(FIFO).unwrap_or(name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    !stem.is_empty() && name.len() <= QUEUE_NAME_MAX && stem.bytes().all(plain)
}

fn is_region(region: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    !region.is_empty() && region.len() <= 32 && region.bytes().all(plain)
}

// Not quoted: somebody may have written a password into it.
fn check_endpoint(endpoint: &str, insecure: bool) -> Result<(), Misuse> {
    let at = "broker.endpoint";
    if endpoint.contains('@') {
        let fix = "take the name and password out: credentials come from the AWS profile";
        return Err(Misuse::new("the URL has a user in it", at, fix));
    }
    match endpoint.split_once("://") {
        Some(("https", host)) if !host.is_empty() => Ok(()),
        Some(("http", host)) if !host.is_empty() && insecure => Ok(()),
        Some(("http", _)) => {
            let fix = "write `https://…`, or `insecure: true` beside it";
            Err(Misuse::new("the URL is without TLS", at, fix))
        }
        _ => Err(Misuse::new("the URL is not `https://HOST[:PORT]`", at, "correct it")),
    }
}

fn exists(path: PathBuf, at: &str) -> Result<PathBuf, Misuse> {
    match std::fs::metadata(&path) {
        Ok(found) if found.is_file() => Ok(path),
        Ok(_) => Err(Misuse::new(format!("{} is no file", path.display()), at, "correct the path")),
        Err(error) => {
            let what = format!("{}: {error}", path.display());
            Err(Misuse::new(what, at, "correct the path, or its rights"))
        }
    }
}

/// A PEM file of certificates that can all be trusted; the client library takes no others.
fn authorities(path: &Path) -> Result<Vec<u8>, Misuse> {
    let wrong = |what: String| {
        let what = format!("{}: {what}", path.display());
        Misuse::new(what, "broker.ca", "name a file of PEM certificates")
    };
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(wrong("no certificate is in it".to_owned()));
    }
    Ok(pem)
}

#[cfg(test)]
mod tests;
