// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery keys ls|add|rotate|revoke|renew`

use std::path::{Path, PathBuf};

use chancery::Timestamp;
use chancery::core::bundle::{Bundle, KeyEntry};
use chancery::core::text::b64u;
use chancery::core::time::{DAY_MS, HOUR_MS, parse_rfc3339};
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, Report, table};
use crate::project::trust::{BUNDLE_DAYS, KEY_DAYS};
use crate::project::{self, KeyFile, Project, Purpose, now};
use crate::{files, suggest};

/// Keys and the trust bundle.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List keys: whose, what for, until when.
    Ls,
    /// Make a service's first key and enter it in the bundle.
    Add {
        /// The service; the policy must know it.
        service: String,
        /// A key for its evidence log instead of its messages.
        #[arg(long)]
        evidence: bool,
    },
    /// Make a service's next key; the last one signs a while longer.
    Rotate {
        /// The service.
        service: String,
        /// How long processes that run with the last key may go on, hours.
        #[arg(long, default_value_t = 24, value_name = "HOURS", value_parser = clap::value_parser!(i64).range(0..=8760))]
        overlap: i64,
    },
    /// Declare a key to be in other hands. What it signed before stays good.
    Revoke {
        /// The key, as `keys ls` shows it.
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// From when, RFC 3339; by default from now.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
    /// Sign the bundle for longer.
    Renew {
        /// For how long from now, days.
        #[arg(long, default_value_t = BUNDLE_DAYS, value_parser = clap::value_parser!(i64).range(1..=3650))]
        days: i64,
    },
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let project = Project::open(ctx)?;
        match self.verb {
            Verb::Ls => {
                ctx.show(&ls(&project)?)?;
            }
            Verb::Add { service, evidence: true } => {
                ctx.show(&add_evidence(&project, &service)?)?
            }
            Verb::Add { service, evidence: false } => ctx.show(&add(&project, &service)?)?,
            Verb::Rotate { service, overlap } => ctx.show(&rotate(&project, &service, overlap)?)?,
            Verb::Revoke { kid, since } => ctx.show(&revoke(&project, &kid, since.as_deref())?)?,
            Verb::Renew { days } => ctx.show(&renew(&project, days)?)?,
        }
        Ok(Exit::Ok)
    }
}

#[derive(Serialize)]
struct Listing {
    version: u64,
    expires: String,
    keys: Vec<Row>,
}

/// One key: what the bundle says, and whether its secret is here.
#[derive(Serialize)]
struct Row {
    purpose: &'static str,
    name: String,
    /// Key identifier, root public key, or the log's verifier key.
    key: String,
    state: &'static str,
    until: Option<String>,
    file: Option<PathBuf>,
}

fn ls(project: &Project) -> Result<Listing> {
    let (bundle, files) = (project.bundle()?, project.keys()?);
    let mut rows = Vec::new();
    for file in files.iter().filter(|file| file.purpose != Purpose::Message) {
        rows.push(Row {
            purpose: file.purpose.word(),
            name: file.name.clone(),
            key: match file.purpose {
                Purpose::Evidence => file.signer()?.verifier().to_string(),
                _ => b64u(&file.signing()?.public()),
            },
            state: "valid",
            until: None,
            file: Some(file.path.clone()),
        });
    }
    let mut secrets = Vec::new();
    for file in files.iter().filter(|file| file.purpose == Purpose::Message) {
        secrets.push((file.signing()?.kid().to_string(), file));
    }
    for entry in &bundle.keys {
        let file = secrets.iter().find(|(kid, _)| *kid == entry.kid);
        rows.push(message_row(entry, file.map(|(_, file)| *file)));
    }
    for (kid, file) in &secrets {
        if !bundle.keys.iter().any(|entry| entry.kid == *kid) {
            let (name, file) = (file.name.clone(), Some(file.path.clone()));
            let (key, state) = (kid.clone(), "not in bundle");
            rows.push(Row { purpose: "message", name, key, state, until: None, file });
        }
    }
    let expires = Timestamp(bundle.expires).to_string();
    Ok(Listing { version: bundle.version, expires, keys: rows })
}

fn message_row(entry: &KeyEntry, file: Option<&KeyFile>) -> Row {
    Row {
        purpose: "message",
        name: entry.principal.clone(),
        key: entry.kid.clone(),
        state: state(entry, now()),
        until: Some(Timestamp(entry.sign_until).to_string()),
        file: file.map(|file| file.path.clone()),
    }
}

fn state(entry: &KeyEntry, now: Timestamp) -> &'static str {
    match entry {
        entry if entry.compromised_at.is_some() => "revoked",
        entry if now.0 > entry.sign_until => "expired",
        entry if now.0 < entry.not_before => "not yet",
        _ => "valid",
    }
}

impl Report for Listing {
    fn text(&self) -> String {
        let day = |time: &String| time.split('T').next().unwrap_or_default().to_owned();
        let row = |row: &Row| {
            vec![
                row.purpose.to_owned(),
                row.name.clone(),
                row.state.to_owned(),
                row.until.as_ref().map_or_else(|| "-".to_owned(), day),
                row.file.as_ref().map_or_else(|| "-".to_owned(), |path| path.display().to_string()),
                row.key.clone(),
            ]
        };
        let rows: Vec<Vec<String>> = self.keys.iter().map(row).collect();
        let keys = table(&["PURPOSE", "NAME", "STATE", "UNTIL", "SECRET", "KEY"], &rows);
        format!("{keys}bundle version {}, until {}\n", self.version, day(&self.expires))
    }
}

/// What a change did.
#[derive(Serialize)]
struct Changed {
    done: String,
    key: Option<String>,
    version: Option<u64>,
}

impl Report for Changed {
    fn text(&self) -> String {
        let bundle = self.version.map(|version| format!("; the bundle has version {version} now"));
        let key = self.key.as_ref().map(|key| format!(": {key}")).unwrap_or_default();
        format!("{}{key}{}\n", self.done, bundle.unwrap_or_default())
    }
}

fn add(project: &Project, service: &str) -> Result<Changed> {
    project::service(&project.snapshot()?, service)?;
    if project.keys()?.iter().any(|file| file.signs_for(service)) {
        let fix = format!("make its next one with `chancery keys rotate {service}`");
        return Err(Failure::misuse(format!("`{service}` has a key"), keys_at(project), fix));
    }
    let key = KeyFile::generate(&message_path(project, service), Purpose::Message, service)?;
    enter(project, &key, "added", |_| ())
}

fn add_evidence(project: &Project, service: &str) -> Result<Changed> {
    project::service(&project.snapshot()?, service)?;
    let path = project.keys_dir().join(format!("{service}.evidence.key"));
    let origin = project.evidence_origin(service);
    if project.keys()?.iter().any(|f| f.purpose == Purpose::Evidence && f.name == origin) {
        let what = format!("the log `{origin}` has a key");
        return Err(Failure::misuse(what, keys_at(project), "a log has one key for life; keep it"));
    }
    let key = KeyFile::generate(&path, Purpose::Evidence, &origin)?;
    key.create()?;
    let verifier = key.signer()?.verifier().to_string();
    Ok(Changed { done: "added".to_owned(), key: Some(verifier), version: None })
}

fn rotate(project: &Project, service: &str, overlap_hours: i64) -> Result<Changed> {
    project::service(&project.snapshot()?, service)?;
    let current = message_path(project, service);
    let old: Vec<KeyFile> =
        project.keys()?.into_iter().filter(|file| file.signs_for(service)).collect();
    if old.is_empty() {
        let what = format!("there is no key of `{service}` to follow");
        let fix = format!("make its first one with `chancery keys add {service}`");
        return Err(Failure::misuse(what, keys_at(project), fix));
    }
    // The secret first, under a name of its own: whatever breaks off, the newest key of the bundle
    // has its secret in the folder.
    let kid = chancery::core::text::hex(&project::random::<4>()?);
    let next = project.keys_dir().join(format!("{service}.message.{kid}.key"));
    let key = KeyFile::generate(&next, Purpose::Message, service)?;
    let end = now().0 + overlap_hours * HOUR_MS;
    let changed = enter(project, &key, "rotated", |bundle| {
        for entry in bundle.keys.iter_mut().filter(|entry| entry.principal == service) {
            entry.sign_until = entry.sign_until.min(end.max(entry.not_before + 1));
        }
    })?;
    for file in old.iter().filter(|file| file.path != current) {
        std::fs::remove_file(&file.path).map_err(|error| Failure::io(&file.path, &error))?;
    }
    std::fs::rename(&next, &current).map_err(|error| Failure::io(&current, &error))?;
    files::sync_folder(&project.keys_dir())
        .map_err(|error| Failure::io(&project.keys_dir(), &error))?;
    Ok(changed)
}

/// Writes a new message key and enters it in the bundle.
fn enter(
    project: &Project,
    key: &KeyFile,
    done: &str,
    before: impl FnOnce(&mut Bundle),
) -> Result<Changed> {
    let secret = key.signing()?;
    key.create()?;
    let entered = project.change_bundle(|bundle| {
        before(bundle);
        let now = now();
        bundle.keys.push(KeyEntry::new(&secret, &key.name, now, now + KEY_DAYS * DAY_MS));
        Ok(bundle.version + 1)
    });
    if entered.is_err() {
        // A secret that no bundle knows is of no use, and would be in the way of the next try.
        let _ = std::fs::remove_file(&key.path);
    }
    let kid = secret.kid().to_string();
    Ok(Changed { done: done.to_owned(), key: Some(kid), version: Some(entered?) })
}

fn revoke(project: &Project, kid: &str, since: Option<&str>) -> Result<Changed> {
    let since = match since {
        None => now(),
        Some(text) => parse_rfc3339(text).ok_or_else(|| {
            Failure::misuse("is not an RFC 3339 time", "--since", "write 2026-03-05T10:00:00Z")
        })?,
    };
    if since > now() {
        let fix = "leave it out for now; what is declared for later admits until then";
        return Err(Failure::misuse("is in the future", "--since", fix));
    }
    let version = project.change_bundle(|bundle| {
        let kids: Vec<String> = bundle.keys.iter().map(|entry| entry.kid.clone()).collect();
        let entry = bundle.keys.iter_mut().find(|entry| entry.kid == kid).ok_or_else(|| {
            let what = format!("key `{}` is not in the trust bundle", crate::out::plain(kid));
            let fix = suggest::instead(kid, kids.iter().map(String::as_str));
            Failure::misuse(what, "KID", fix)
        })?;
        let known = entry.compromised_at.unwrap_or(i64::MAX);
        entry.compromised_at = Some(known.min(since.0));
        Ok(bundle.version + 1)
    })?;
    Ok(Changed { done: "revoked".to_owned(), key: Some(kid.to_owned()), version: Some(version) })
}

fn renew(project: &Project, days: i64) -> Result<Changed> {
    let expires = now() + days * DAY_MS;
    let version = project.change_bundle(|bundle| {
        bundle.expires = expires.0;
        Ok(bundle.version + 1)
    })?;
    Ok(Changed { done: format!("renewed until {expires}"), key: None, version: Some(version) })
}

fn message_path(project: &Project, service: &str) -> PathBuf {
    project.keys_dir().join(format!("{service}.message.key"))
}

fn keys_at(project: &Project) -> String {
    Path::new(&project.keys_dir()).display().to_string()
}
