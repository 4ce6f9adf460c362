// SPDX-License-Identifier: MIT OR Apache-2.0
//! A project's folder: `chancery.yaml` and what it names, read into the sources of a snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery::core::keys::Secret;
use chancery::core::policy::Stream;
use chancery::core::snapshot::Sources;
use chancery::{Clock, Misuse, Promise, Snapshot, SystemClock, Timestamp};
use serde::Deserialize;

use crate::exit::{Failure, Result};
use crate::out::Ctx;
use crate::{files, suggest};

use broker::BrokerConfig;

pub(crate) mod broker;
pub(crate) mod keyfile;
pub(crate) mod reload;

pub(crate) mod template;
pub(crate) mod trust;

pub(crate) use keyfile::{KeyFile, Purpose};

/// The file that makes a folder a project.
pub(crate) const CONFIG: &str = "chancery.yaml";

const CONFIG_BYTES_MAX: usize = 64 << 10;
const POLICY_BYTES_MAX: usize = 1 << 20;
const SCHEMA_BYTES_MAX: usize = 256 << 10;
const SCHEMAS_MAX: usize = 10_000;

/// A project that was found and whose `chancery.yaml` is good.
#[derive(Clone, Debug)]
pub(crate) struct Project {
    /// The folder of `chancery.yaml`.
    pub(crate) dir: PathBuf,
    config: Config,
}

/// chancery.yaml. Paths are relative to it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    version: u32,
    broker: BrokerConfig,
    #[serde(default)]
    assume: BTreeMap<String, Vec<Promise>>,
    database: String,
    trust: TrustConfig,
    policy: PathBuf,
    schemas: PathBuf,
    keys: PathBuf,
    evidence: EvidenceConfig,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustConfig {
    root: String,
    bundle: PathBuf,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EvidenceConfig {
    dir: String,
    origin: String,
}

impl Project {
    /// The project of `--project`, or of this folder or the nearest one above it.
    pub(crate) fn open(ctx: &Ctx) -> Result<Project> {
        let dir = match &ctx.project {
            Some(dir) => dir.clone(),
            None => nearest()?,
        };
        let path = dir.join(CONFIG);
        if !path.is_file() {
            let fix = "make one with `chancery init DIR`, or name one with --project DIR";
            return Err(Failure::misuse("there is no project", path.display().to_string(), fix));
        }
        let text = files::read_text(&path, CONFIG_BYTES_MAX)?;
        let config: Config = serde_saphyr::from_str(&text)
            .map_err(|error| wrong("", &in_users_words(&error), "correct the line"))?;
        let project = Project { dir, config };
        project.check()?;
        Ok(project)
    }

    fn check(&self) -> Result<()> {
        if self.config.version != 1 {
            return Err(wrong("version", "is not 1", "write `version: 1`"));
        }
        for (member, text) in [
            ("database", &self.config.database),
            ("evidence.dir", &self.config.evidence.dir),
            ("evidence.origin", &self.config.evidence.origin),
        ] {
            if !text.contains("{service}") {
                let fix = "write `{service}` where the service's name goes: each has its own";
                return Err(wrong(member, "is the same for every service", fix));
            }
        }
        self.root().map(|_| ())
    }

    /// Public key of the root that signs trust bundles.
    pub(crate) fn root(&self) -> Result<[u8; 32]> {
        chancery::core::text::from_b64u(&self.config.trust.root).ok_or_else(|| {
            let fix = "write the public key that `chancery keys ls` shows for root";
            wrong("trust.root", "is not 32 bytes of base64url", fix)
        })
    }

    /// The broker as one service is to meet it.
    pub(crate) fn broker(&self, service: &str) -> BrokerConfig {
        self.config.broker.clone().of(service)
    }

    /// Where the embedded broker keeps its messages; `None` if the broker is another.
    pub(crate) fn broker_dir(&self) -> Option<PathBuf> {
        self.config.broker.folder().map(|folder| self.dir.join(folder))
    }

    /// What an operator says of a stream that nobody here can check.
    pub(crate) fn assumed(&self, stream: &str) -> &[Promise] {
        self.config.assume.get(stream).map(Vec::as_slice).unwrap_or_default()
    }

    /// The database of one service: its own tables, ledger, pending evidence, outbox.
    pub(crate) fn database(&self, service: &str) -> PathBuf {
        self.dir.join(self.config.database.replace("{service}", service))
    }

    /// The folder of one service's evidence log.
    pub(crate) fn evidence_dir(&self, service: &str) -> PathBuf {
        self.dir.join(self.config.evidence.dir.replace("{service}", service))
    }

    /// The name of one service's evidence log, which is its key's name too.
    pub(crate) fn evidence_origin(&self, service: &str) -> String {
        self.config.evidence.origin.replace("{service}", service)
    }

    /// The signed trust bundle.
    pub(crate) fn bundle_path(&self) -> PathBuf {
        self.dir.join(&self.config.trust.bundle)
    }

    /// policy.yaml.
    pub(crate) fn policy_path(&self) -> PathBuf {
        self.dir.join(&self.config.policy)
    }

    /// The folder of schemas.
    pub(crate) fn schemas_dir(&self) -> PathBuf {
        self.dir.join(&self.config.schemas)
    }

    /// The folder of secret keys.
    pub(crate) fn keys_dir(&self) -> PathBuf {
        self.dir.join(&self.config.keys)
    }

    /// A snapshot of the folder as it is now.
    pub(crate) fn snapshot(&self) -> Result<Snapshot> {
        Ok(Snapshot::build(&self.sources()?)?)
    }

    /// The sources of a snapshot. Read twice and given only if equal, so that nobody judges by
    /// half of a change.
    pub(crate) fn sources(&self) -> Result<Sources> {
        for _ in 0..5 {
            let (first, second) = (self.read_sources()?, self.read_sources()?);
            if same(&first, &second) {
                return Ok(first);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let fix = "wait until whoever writes it is done, and run this again";
        Err(Failure::misuse("changes while it is read", self.dir.display().to_string(), fix))
    }

    fn read_sources(&self) -> Result<Sources> {
        Ok(Sources {
            bundle: files::read(&self.bundle_path(), chancery::core::bundle::BUNDLE_BYTES_MAX)?,
            root: self.root()?,
            policy: files::read_text(&self.policy_path(), POLICY_BYTES_MAX)?,
            schemas: self.read_schemas()?,
            secrets: self.shared_secrets()?,
        })
    }

    fn read_schemas(&self) -> Result<BTreeMap<(String, u32), Vec<u8>>> {
        let folder = self.schemas_dir();
        let mut schemas = BTreeMap::new();
        for typ in files::list(&folder)? {
            let of_type = folder.join(&typ);
            for name in files::list(&of_type)? {
                let path = of_type.join(&name);
                files::require_regular(&path)?;
                let document = files::read(&path, SCHEMA_BYTES_MAX)?;
                schemas.insert((typ.clone(), schema_version(&path, &name)?), document);
            }
        }
        if schemas.len() > SCHEMAS_MAX {
            let at = folder.display().to_string();
            return Err(Failure::misuse("holds more than 10000 schemas", at, "remove old ones"));
        }
        Ok(schemas)
    }

    /// Every key file, in order of name. A file that others may read is refused.
    pub(crate) fn keys(&self) -> Result<Vec<KeyFile>> {
        let folder = self.keys_dir();
        let names = files::list(&folder)?;
        names.iter().map(|name| KeyFile::read(&folder.join(name))).collect()
    }

    fn shared_secrets(&self) -> Result<Vec<Vec<u8>>> {
        let keys = self.keys()?.into_iter().filter(KeyFile::is_shared);
        Ok(keys.map(|key| key.secret().to_vec()).collect())
    }

    /// The key of a purpose for which there is only one per name.
    pub(crate) fn key(&self, purpose: Purpose, name: &str) -> Result<KeyFile> {
        let mut keys = self.keys()?.into_iter();
        keys.find(|key| key.purpose == purpose && key.name == name).ok_or_else(|| {
            let at = self.keys_dir().display().to_string();
            let fix = match purpose {
                Purpose::Root => "run this where the root key is kept".to_owned(),
                Purpose::Evidence => format!(
                    "restore it, a log has one key for life; a service that never handled \
                     anything gets its first by `chancery keys add --evidence {}`",
                    name.rsplit('/').next().unwrap_or(name)
                ),
                Purpose::Message => format!("make one with `chancery keys add {name}`"),
            };
            Failure::misuse(format!("has no {} key of `{name}`", purpose.word()), at, fix)
        })
    }

    /// The key that `service` signs with now: of those that the bundle knows, the newest.
    pub(crate) fn signing_key(&self, service: &str, snapshot: &Snapshot) -> Result<Secret> {
        let now = now();
        let mut usable: Vec<(Timestamp, Secret)> = Vec::new();
        let mut last = None;
        for file in self.keys()?.iter().filter(|file| file.signs_for(service)) {
            let secret = file.signing()?;
            match usable_since(&secret, service, snapshot, now) {
                Ok(since) => usable.push((since, secret)),
                Err(why) => last = Some((file.path.display().to_string(), why)),
            }
        }
        usable.sort_by_key(|(since, _)| *since);
        match (usable.pop(), last) {
            (Some((_, secret)), _) => Ok(secret),
            (None, Some((at, (what, fix)))) => Err(Failure::misuse(what, at, fix)),
            (None, None) => {
                let at = self.keys_dir().display().to_string();
                let fix = format!("make one with `chancery keys add {service}`");
                Err(Failure::misuse(format!("has no key to sign for `{service}`"), at, fix))
            }
        }
    }
}

/// The rules of a stream, or which one was meant.
pub(crate) fn stream<'s>(snapshot: &'s Snapshot, name: &str) -> Result<&'s Stream> {
    snapshot.policy.streams.get(name).ok_or_else(|| {
        let what = format!("stream `{}` is not in the policy", crate::out::plain(name));
        let names = snapshot.policy.streams.keys().map(String::as_str);
        Failure::misuse(what, "policy.yaml, streams", suggest::instead(name, names))
    })
}

/// Checks that the policy knows a service, or says which one was meant.
pub(crate) fn service(snapshot: &Snapshot, name: &str) -> Result<()> {
    if snapshot.policy.services.contains_key(name) {
        return Ok(());
    }
    let what = format!("service `{}` is not in the policy", crate::out::plain(name));
    let names = snapshot.policy.services.keys().map(String::as_str);
    Err(Failure::misuse(what, "policy.yaml, services", suggest::instead(name, names)))
}

/// Checks that some stream of the policy has a group, or says which one was meant.
pub(crate) fn group(snapshot: &Snapshot, name: &str) -> Result<()> {
    let streams = snapshot.policy.streams.values();
    let groups: BTreeSet<&str> =
        streams.flat_map(|stream| stream.handled_by.keys()).map(String::as_str).collect();
    if groups.contains(name) {
        return Ok(());
    }
    let what = format!("no stream has a group `{}`", crate::out::plain(name));
    let fix = suggest::instead(name, groups);
    Err(Failure::misuse(what, "policy.yaml, streams.*.handled_by", fix))
}

/// The services that handle anything, and so have a database and a log, or one of that name.
pub(crate) fn handlers(snapshot: &Snapshot, only: Option<&str>) -> Result<Vec<String>> {
    if let Some(name) = only {
        service(snapshot, name)?;
        return Ok(vec![name.to_owned()]);
    }
    let streams = snapshot.policy.streams.values();
    let handlers: BTreeSet<&String> = streams.flat_map(|s| s.handled_by.values()).collect();
    Ok(handlers.into_iter().cloned().collect())
}

/// Now.
pub(crate) fn now() -> Timestamp {
    SystemClock.now()
}

/// `N` random bytes from the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Failure::bug)?;
    Ok(bytes)
}

fn usable_since(
    secret: &Secret,
    service: &str,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Timestamp, (&'static str, String)> {
    let rotate = || format!("make a new one with `chancery keys rotate {service}`");
    let Some(key) = snapshot.keys.get(&secret.kid()) else {
        return Err(("is not in the trust bundle", rotate()));
    };
    if key.principal != service {
        return Err(("is another service's in the trust bundle", rotate()));
    }
    if key.compromised_at.is_some() {
        return Err(("is marked as compromised", rotate()));
    }
    if now > key.sign_until {
        return Err(("has expired", rotate()));
    }
    if now + snapshot.policy.times.skew_ms < key.not_before {
        return Err(("is not valid yet", "check the clock of this machine".to_owned()));
    }
    Ok(key.not_before)
}

fn nearest() -> Result<PathBuf> {
    let here = Path::new(".");
    let absolute = here.canonicalize().map_err(|error| Failure::io(here, &error))?;
    let above = absolute.ancestors().skip(1).find(|dir| dir.join(CONFIG).is_file());
    let found = if here.join(CONFIG).is_file() { None } else { above };
    Ok(found.map_or_else(PathBuf::new, Path::to_path_buf))
}

fn schema_version(path: &Path, name: &str) -> Result<u32> {
    let number = name.strip_suffix(".json").unwrap_or_default();
    let version = number.parse::<u32>().ok().filter(|version| (1..=999).contains(version));
    // One spelling, or 01.json and 1.json are the same version twice.
    version.filter(|version| version.to_string() == number).ok_or_else(|| {
        let fix = "name it TYPE/VERSION.json, VERSION from 1 to 999";
        Failure::misuse("is not a schema's name", path.display().to_string(), fix)
    })
}

/// Whether two readings of the folder gave the same.
pub(crate) fn same(a: &Sources, b: &Sources) -> bool {
    a.bundle == b.bundle
        && a.root == b.root
        && a.policy == b.policy
        && a.schemas == b.schemas
        && a.secrets == b.secrets
}

fn in_users_words(error: &serde_saphyr::Error) -> String {
    error.render_with_formatter(&serde_saphyr::UserMessageFormatter)
}

fn wrong(member: &str, what: &str, fix: &str) -> Failure {
    let at = if member.is_empty() { CONFIG.into() } else { format!("{CONFIG}, {member}") };
    Misuse::new(what, at, fix).into()
}
