// SPDX-License-Identifier: MIT OR Apache-2.0
//! `chancery init DIR`

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::exit::{Exit, Failure, Result};
use crate::files;
use crate::out::{Ctx, Report};
use crate::project::template;

/// Make a project.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder to make; one that is not empty is left alone.
    dir: PathBuf,
    /// Trust domain, first part of every destination.
    #[arg(long, default_value = "shop", value_name = "NAME")]
    domain: String,
    /// Environment, second part of every destination.
    #[arg(long, default_value = "dev", value_name = "NAME")]
    environment: String,
}

#[derive(Serialize)]
struct Made {
    project: PathBuf,
    next: Vec<String>,
}

impl Args {
    /// Runs it.
    pub(crate) fn run(self, ctx: &Ctx) -> Result {
        for (flag, name) in [("--domain", &self.domain), ("--environment", &self.environment)] {
            if !chancery::core::text::is_name(name) {
                let fix = "use 1 to 64 letters, digits, `.`, `-` and `_`";
                return Err(Failure::misuse("is not a valid name", flag, fix));
            }
        }
        refuse_unless_empty(&self.dir)?;
        files::make_folder(&self.dir, 0o755)?;
        template::write(&self.dir, &self.domain, &self.environment)?;
        let next = vec![
            format!("cd {}", quoted(&self.dir)),
            r#"echo '{"order_id":"o_1","amount":4200,"currency":"USD"}' | chancery publish orders.created"#.to_owned(),
            "chancery consume orders.created --group billing --max 1".to_owned(),
            "chancery evidence verify".to_owned(),
        ];
        ctx.show(&Made { project: self.dir, next })?;
        Ok(Exit::Ok)
    }
}

fn refuse_unless_empty(dir: &Path) -> Result<()> {
    let occupied = match fs::read_dir(dir) {
        Ok(mut entries) => entries.next().is_some(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(Failure::io(dir, &error)),
    };
    if occupied {
        let fix = "name a folder that is empty or does not exist; nothing is overwritten";
        return Err(Failure::misuse("is not empty", dir.display().to_string(), fix));
    }
    Ok(())
}

/// As one word of a shell's command line.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-".contains(&b));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

impl Report for Made {
    fn text(&self) -> String {
        let mut text = format!(
            "A project is in {}. Its secret keys are in keys/; they expire in two years.\n\nNext:\n",
            self.project.display()
        );
        for command in &self.next {
            text.push_str(&format!("  {command}\n"));
        }
        text
    }
}
