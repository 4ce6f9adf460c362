// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery schema new|lint`

use std::io::Read;
use std::path::PathBuf;

use chancery::core::json::{self, Limits};
use chancery::core::schema::{DOCUMENT_LIMITS, Schema, lint, starter};
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::files;
use crate::out::{Ctx, Report, many, plain};
use crate::project::Project;

/// Make a first schema from an example, and look schemas over.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Guess a schema from one example payload, to be loosened by hand.
    New {
        /// The event type it is for; without one the schema is printed.
        #[arg(value_name = "TYPE")]
        event_type: Option<String>,
        /// Its version; by default the next one.
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=999))]
        version: Option<u32>,
        /// The example; by default standard input.
        #[arg(long, value_name = "FILE")]
        example: Option<PathBuf>,
    },
    /// Say what is wrong, or lets more through than it seems; by default of all schemas.
    Lint {
        /// Schema files.
        files: Vec<PathBuf>,
    },
}

#[derive(Serialize)]
struct Made {
    file: PathBuf,
    version: u32,
}

#[derive(Serialize)]
struct Linted {
    schemas: usize,
    findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Finding {
    file: PathBuf,
    pointer: String,
    rule: &'static str,
    why: String,
    write: String,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        match self.verb {
            Verb::New { event_type, version, example } => {
                let schema = guess(example)?;
                match event_type {
                    None => ctx.write(schema.as_bytes())?,
                    Some(typ) => ctx.show(&save(&Project::open(ctx)?, &typ, version, &schema)?)?,
                }
                Ok(Exit::Ok)
            }
            Verb::Lint { files } if files.is_empty() => look_over(ctx, all(&Project::open(ctx)?)?),
            Verb::Lint { files } => look_over(ctx, files),
        }
    }
}

fn guess(example: Option<PathBuf>) -> Result<String> {
    let (at, bytes) = match example {
        Some(path) => (path.display().to_string(), files::read(&path, Limits::DEFAULT.bytes_max)?),
        None => ("standard input".to_owned(), stdin()?),
    };
    let example = json::read(&bytes, &Limits::DEFAULT).map_err(|error| {
        Failure::misuse(error.to_string(), at.clone(), "give one JSON document as the example")
    })?;
    if example.as_object().is_none() {
        return Err(Failure::misuse("is not a JSON object", at, "a payload is always an object"));
    }
    Ok(starter(&example))
}

fn stdin() -> Result<Vec<u8>> {
    let limit = u64::try_from(Limits::DEFAULT.bytes_max).unwrap_or(u64::MAX) + 1;
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::pipe("standard input", &error))?;
    Ok(bytes)
}

fn save(project: &Project, typ: &str, version: Option<u32>, schema: &str) -> Result<Made> {
    if !chancery::core::text::is_dotted(typ) {
        let fix = "use dotted words, as `orders.created`";
        return Err(Failure::misuse(format!("`{}` is no event type", plain(typ)), "TYPE", fix));
    }
    let folder = project.schemas_dir().join(typ);
    files::make_folder(&folder, 0o755)?;
    let newest = files::list(&folder)?
        .iter()
        .filter_map(|name| name.strip_suffix(".json")?.parse::<u32>().ok())
        .max();
    let version = version.unwrap_or(newest.unwrap_or(0) + 1);
    let file = folder.join(format!("{version}.json"));
    if file.exists() {
        let fix = "leave --version out for the next one; a version, once used, never changes";
        return Err(Failure::misuse("is there already", file.display().to_string(), fix));
    }
    files::create(&file, schema.as_bytes(), files::OPEN)?;
    Ok(Made { file, version })
}

fn all(project: &Project) -> Result<Vec<PathBuf>> {
    let folder = project.schemas_dir();
    let mut paths = Vec::new();
    for typ in files::list(&folder)? {
        let of_type = folder.join(typ);
        paths.extend(files::list(&of_type)?.into_iter().map(|name| of_type.join(name)));
    }
    Ok(paths)
}

fn look_over(ctx: &Ctx, paths: Vec<PathBuf>) -> Result {
    let schemas = paths.len();
    let mut findings = Vec::new();
    for file in paths {
        let document = files::read(&file, DOCUMENT_LIMITS.bytes_max)?;
        if let Err(error) = Schema::compile(&document) {
            let (rule, why, write) = ("not-a-contract", error.to_string(), "correct it".to_owned());
            findings.push(Finding { file, pointer: String::new(), rule, why, write });
            continue;
        }
        findings.extend(lint(&document).into_iter().map(|lint| Finding {
            file: file.clone(),
            pointer: lint.pointer,
            rule: lint.rule,
            why: lint.why,
            write: lint.write,
        }));
    }
    let exit = Exit::found(!findings.is_empty());
    ctx.show(&Linted { schemas, findings })?;
    Ok(exit)
}

impl Report for Made {
    fn text(&self) -> String {
        format!("{}: guessed from one example; loosen it by hand\n", self.file.display())
    }
}

impl Report for Linted {
    fn text(&self) -> String {
        let mut text = String::new();
        for found in &self.findings {
            let Finding { file, pointer, rule, why, write } = found;
            let at = if pointer.is_empty() { "" } else { "#" };
            text.push_str(&format!("{}{at}{pointer}: {rule}: {why}\n", file.display()));
            text.push_str(&format!("  fix: {write}\n"));
        }
        let found = self.findings.len();
        text + &format!("{}, {}\n", many(self.schemas, "schema"), many(found, "finding"))
    }
}
