// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery kept ls|show|release|discard`: one noun for what is held, parked and quarantined.

use chancery::Delivery;
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, Report, plain, warn};
use crate::project::{self, Project, now};
use crate::wire::{self, Database, KeptEntry, KeptFilter, SkipKey, Skipped};

mod list;
mod message;

pub(crate) use list::Item;

/// See what was set aside, and release it or give it up.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List what is set aside.
    Ls(Filter),
    /// All that is known of one message.
    Show {
        /// As `kept ls` shows it, or a message id.
        #[arg(allow_hyphen_values = true)]
        id: String,
        /// The body too. It may be anybody's data.
        #[arg(long)]
        payload: bool,
    },
    /// Let messages be judged again; with --skip-to, let a key go on past lost versions.
    Release {
        /// Which; with --skip-to, the ordering key.
        ids: Vec<String>,
        /// All that the filter matches.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// The key goes on with this version, whatever came before is given up as lost.
        #[arg(long, value_name = "VERSION", conflicts_with = "all")]
        skip_to: Option<u64>,
        /// The key's tenant.
        #[arg(long, requires = "skip_to")]
        tenant: Option<String>,
        #[command(flatten)]
        filter: Filter,
        #[command(flatten)]
        operator: Operator,
    },
    /// Give messages up: they are kept no longer and will never run.
    Discard {
        /// Which.
        #[arg(required = true)]
        ids: Vec<String>,
        #[command(flatten)]
        operator: Operator,
    },
}

#[derive(Debug, clap::Args)]
struct Filter {
    /// Only of this service.
    #[arg(long)]
    service: Option<String>,
    /// Only of this group.
    #[arg(long)]
    group: Option<String>,
    /// Only of this stream.
    #[arg(long)]
    stream: Option<String>,
    /// Only `hold`, `park` or `quarantine`.
    #[arg(long, value_parser = ["hold", "park", "quarantine"])]
    disposition: Option<String>,
    /// Only for this reason, as `E405`.
    #[arg(long, value_name = "CODE")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Operator {
    /// Who decides, for the record; by default who is logged in.
    #[arg(long, value_name = "NAME")]
    operator: Option<String>,
}

impl Operator {
    fn name(self) -> String {
        let named = self.operator.or_else(|| std::env::var("USER").ok());
        named.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned())
    }
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let stores = Stores::open(&Project::open(ctx)?)?;
        match self.verb {
            Verb::Ls(filter) => {
                ctx.show(&list::Listing { kept: stores.list(&filter)? })?;
                Ok(Exit::Ok)
            }
            Verb::Show { id, payload } => {
                let item = stores.find(&id)?;
                let delivery = stores.delivery(&item)?.ok_or_else(|| gone(&id))?;
                ctx.show(&message::Message::new(item, &delivery, payload))?;
                Ok(Exit::Ok)
            }
            Verb::Release { ids, skip_to: Some(version), tenant, filter, operator, .. } => {
                let [key] = ids.as_slice() else {
                    let fix = "write `kept release KEY --skip-to VERSION`";
                    return Err(Failure::misuse("needs one ordering key", "--skip-to", fix));
                };
                let (group, stream) = (filter.group.as_deref(), filter.stream.as_deref());
                let (database, group, stream) = stores.scope(group, stream)?;
                let (group, stream, tenant) = (&*group, &*stream, tenant.as_deref());
                let at = SkipKey { group, stream, tenant, key, version };
                goes_on(database.kept().skip_to(&at, &operator.name(), now())?, key)?;
                ctx.show(&Decided::one(true, "goes on", &plain(key)))?;
                Ok(Exit::Ok)
            }
            Verb::Release { ids, all, filter, operator, .. } => {
                let items = if all { stores.list(&filter)? } else { stores.named(&ids)? };
                if items.is_empty() && !all {
                    let fix = "name messages as `kept ls` shows them, or write --all";
                    return Err(Failure::misuse("names no message", "kept release", fix));
                }
                if items.is_empty() {
                    warn("chancery: nothing that is set aside matches");
                }
                stores.decide(ctx, items, "released", &operator.name())
            }
            Verb::Discard { ids, operator } => {
                stores.decide(ctx, stores.named(&ids)?, "discarded", &operator.name())
            }
        }
    }
}

fn goes_on(skipped: Skipped, key: &str) -> Result<()> {
    let (what, fix) = match skipped {
        Skipped::GoesOn => return Ok(()),
        Skipped::Past { last } => {
            (format!("it is at version {last} already"), "name a later one".to_owned())
        }
        Skipped::NothingWaits { last } => {
            let fix = "correct the key, --stream, --group or --tenant; `kept ls` shows what waits";
            (format!("nothing of it is set aside after version {last}"), fix.to_owned())
        }
        Skipped::TooFar { highest } => {
            let what = "messages that only wait for their turn would be lost".to_owned();
            (what, format!("go on with version {highest} at most"))
        }
    };
    Err(Failure::misuse(what, format!("key `{}`", plain(key)), fix))
}

/// What became of messages.
#[derive(Serialize)]
struct Decided {
    decided: Vec<Decision>,
}

#[derive(Serialize)]
struct Decision {
    id: String,
    done: bool,
    what: &'static str,
}

impl Decided {
    fn one(done: bool, what: &'static str, id: &str) -> Decided {
        Decided { decided: vec![Decision { id: id.to_owned(), done, what }] }
    }
}

impl Report for Decided {
    fn text(&self) -> String {
        let line = |decision: &Decision| match decision.done {
            true => format!("{} {}\n", decision.id, decision.what),
            false => format!("{} is there no longer, or beyond already\n", decision.id),
        };
        self.decided.iter().map(line).collect()
    }
}

/// The databases of the project that exist, by service.
pub(crate) struct Stores {
    project: Project,
    databases: Vec<(String, Database)>,
}

impl Stores {
    /// Opens them.
    pub(crate) fn open(project: &Project) -> Result<Stores> {
        let mut databases = Vec::new();
        for service in project::handlers(&project.snapshot()?, None)? {
            if project.database(&service).is_file() {
                let database = wire::database(project, &service)?;
                databases.push((service, database));
            }
        }
        Ok(Stores { project: project.clone(), databases })
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Item>> {
        if let Some(service) = &filter.service {
            project::service(&self.project.snapshot()?, service)?;
        }
        if let Some(stream) = &filter.stream {
            project::stream(&self.project.snapshot()?, stream)?;
        }
        if let Some(group) = &filter.group {
            project::group(&self.project.snapshot()?, group)?;
        }
        let reason = filter.reason.as_ref().map(|code| {
            chancery::Reason::parse(code).map(|reason| reason.code().to_owned()).ok_or_else(|| {
                let what = format!("`{}` is not a reason", plain(code));
                Failure::misuse(what, "--reason", "`chancery why` lists them")
            })
        });
        let asked = KeptFilter {
            group: filter.group.clone(),
            stream: filter.stream.clone(),
            disposition: filter.disposition.clone(),
            reason: reason.transpose()?,
            ..KeptFilter::default()
        };
        let mut items = Vec::new();
        for (service, database) in &self.databases {
            if filter.service.as_ref().is_none_or(|only| only == service) {
                items.extend(all(database, &asked)?.into_iter().map(|e| Item::of(service, e)));
            }
        }
        Ok(items)
    }

    /// Everything that is kept.
    pub(crate) fn everything(&self) -> Result<Vec<Item>> {
        let (service, group, stream, disposition, reason) = (None, None, None, None, None);
        self.list(&Filter { service, group, stream, disposition, reason })
    }

    /// The one message of that id, row, message id or position.
    fn find(&self, id: &str) -> Result<Item> {
        let mut found = self.everything()?.into_iter().filter(|item| item.is_named(id));
        match (found.next(), found.next()) {
            (Some(item), None) => Ok(item),
            (Some(_), Some(_)) => {
                let what = format!("`{}` may be several messages", plain(id));
                Err(Failure::misuse(what, "ID", "write it as `kept ls` shows it, SERVICE/NUMBER"))
            }
            _ => Err(gone(id)),
        }
    }

    fn of(&self, service: &str) -> Result<&Database> {
        let found = self.databases.iter().find(|(name, _)| name == service);
        found.map(|(_, database)| database).ok_or_else(|| {
            let fix = "nothing was consumed there yet, so nothing is set aside";
            Failure::misuse(format!("`{service}` has no database"), "data", fix)
        })
    }

    /// The whole message behind an item.
    pub(crate) fn delivery(&self, item: &Item) -> Result<Option<Delivery>> {
        Ok(self.of(&item.service)?.kept().show(item.row)?.map(|(_, delivery)| delivery))
    }

    fn named(&self, ids: &[String]) -> Result<Vec<Item>> {
        ids.iter().map(|id| self.find(id)).collect()
    }

    fn decide(&self, ctx: &Ctx, items: Vec<Item>, what: &'static str, by: &str) -> Result {
        let mut decided = Vec::new();
        for item in items {
            let kept = self.of(&item.service)?.kept();
            let done = match what {
                "released" => kept.release(item.row, by, now())?,
                _ => kept.discard(item.row, by, now())?,
            };
            decided.push(Decision { id: item.id, done, what });
        }
        let exit = Exit::found(decided.iter().any(|decision| !decision.done));
        ctx.show(&Decided { decided })?;
        for (service, _) in &self.databases {
            // What was decided is on record; that it is not sealed yet does not undo it.
            if let Err(failure) = wire::seal(&self.project, service, false) {
                warn(&format!("chancery: evidence is not being sealed: {failure}"));
            }
        }
        Ok(exit)
    }

    /// The one group of the one stream that has an ordering, unless they are named.
    fn scope(
        &self,
        group: Option<&str>,
        stream: Option<&str>,
    ) -> Result<(&Database, String, String)> {
        let snapshot = self.project.snapshot()?;
        if let Some(name) = stream {
            project::stream(&snapshot, name)?;
        }
        let mut scopes = Vec::new();
        for (name, rules) in &snapshot.policy.streams {
            let asked = stream.map_or(rules.ordered, |stream| stream == name);
            for (of, service) in rules.handled_by.iter().filter(|_| asked) {
                if group.is_none_or(|group| group == of) {
                    scopes.push((service.clone(), of.clone(), name.clone()));
                }
            }
        }
        let [(service, group, stream)] = scopes.as_slice() else {
            let fix = "say --stream STREAM and --group GROUP";
            return Err(Failure::misuse("does not say whose key this is", "--skip-to", fix));
        };
        let database = self.of(service)?;
        Ok((database, group.clone(), stream.clone()))
    }
}

fn all(database: &Database, asked: &KeptFilter) -> Result<Vec<KeptEntry>> {
    let mut entries = Vec::new();
    let mut asked = asked.clone();
    loop {
        let page = database.kept().list(&asked)?;
        let Some(last) = page.last() else { return Ok(entries) };
        asked.after = last.row;
        entries.extend(page);
    }
}

fn gone(id: &str) -> Failure {
    let what = format!("nothing that is set aside is called `{}`", plain(id));
    Failure::misuse(what, "ID", "`chancery kept ls` lists what is; a handled message is not")
}
