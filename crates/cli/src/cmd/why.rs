// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery why CODE`

use chancery::core::FaultKind;
use chancery::{MisuseKind, Reason};
use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::out::{Ctx, Report, table};
use crate::suggest;

/// Every page of docs/reasons/, by its code.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// What a code means and what to do about it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// `E302_WRONG_DESTINATION`, or `E302`, or `302`; without one, all of them.
    code: Option<String>,
}

#[derive(Serialize)]
struct Page {
    code: &'static str,
    title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disposition: Option<&'static str>,
    page: &'static str,
}

#[derive(Serialize)]
struct Index {
    codes: Vec<Page>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        let Some(code) = self.code else {
            ctx.show(&Index { codes: known().map(page).collect() })?;
            return Ok(Exit::Ok);
        };
        let wanted = code.trim().to_ascii_uppercase();
        let found = known().find(|known| {
            let number = known.get(1..4).unwrap_or_default();
            *known == wanted || wanted == number || wanted.strip_prefix('E') == Some(number)
        });
        let found = found.ok_or_else(|| {
            let what = format!("`{}` is not a code", crate::out::plain(&code));
            let names: Vec<&str> = known().collect();
            let fix = match suggest::instead(&wanted, names) {
                fix if fix.starts_with("did") => fix,
                _ => "`chancery why` lists all of them".to_owned(),
            };
            Failure::misuse(what, "CODE", fix)
        })?;
        ctx.show(&page(found))?;
        Ok(Exit::Ok)
    }
}

/// Every code: of reasons, of faults, and of whatever else has a page.
fn known() -> impl Iterator<Item = &'static str> {
    let codes = Reason::ALL.iter().map(|reason| reason.code());
    let codes = codes.chain(FaultKind::ALL.iter().map(|kind| kind.code()));
    let codes = codes.chain(MisuseKind::ALL.iter().map(|kind| kind.code()));
    let mut codes: Vec<&str> =
        codes.chain(PAGES.iter().map(|(code, _)| *code).filter(|code| is_code(code))).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.into_iter()
}

fn is_code(stem: &str) -> bool {
    stem.starts_with(|first: char| first.is_ascii_uppercase())
        && stem.get(1..4).is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()))
}

fn page(code: &'static str) -> Page {
    let reason = Reason::parse(code);
    let text = PAGES.iter().find(|(stem, _)| *stem == code).map_or("", |(_, text)| *text);
    // A page begins with its code as the heading, then one line that says it.
    let told = text.lines().skip(1).find(|line| !line.is_empty()).unwrap_or(code);
    let told = told.trim_end_matches('.');
    Page {
        code,
        title: reason.map_or(told, Reason::title),
        step: reason.map(|reason| reason.step().to_string()),
        disposition: reason.map(|reason| reason.disposition().word()),
        page: text,
    }
}

impl Report for Page {
    fn text(&self) -> String {
        if self.page.is_empty() {
            return format!("{}: {}\n", self.code, self.title);
        }
        self.page.to_owned()
    }
}

impl Report for Index {
    fn text(&self) -> String {
        let row = |page: &Page| {
            let goes = page.disposition.unwrap_or("-");
            vec![page.code.to_owned(), goes.to_owned(), page.title.to_owned()]
        };
        let rows: Vec<Vec<String>> = self.codes.iter().map(row).collect();
        table(&["CODE", "GOES TO", "WHAT"], &rows)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use clap::error::ErrorKind;

    use super::*;
    use crate::cli::Cli;

    // Help that names a command which is not there is worse than none.
    #[test]
    fn every_command_that_a_page_names_exists() {
        for (code, text) in PAGES {
            for command in text.split('`').skip(1).step_by(2) {
                let words: Vec<&str> = command.split_whitespace().collect();
                if words.first() != Some(&"chancery") || words.len() < 2 {
                    continue;
                }
                let Err(error) = Cli::try_parse_from(words) else { continue };
                let unknown = [ErrorKind::InvalidSubcommand, ErrorKind::UnknownArgument];
                assert!(!unknown.contains(&error.kind()), "docs/reasons/{code}.md: `{command}`");
            }
        }
    }

    // A code that an operator meets and cannot look up is a dead end.
    #[test]
    fn every_code_has_a_page() {
        for code in known() {
            let page = page(code);
            assert!(page.page.starts_with(&format!("# {code}\n")), "docs/reasons/{code}.md");
        }
    }
}
