// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where a secret comes from: a file, the environment, a command. Never from the command line, and
//! never into a log.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use chancery_core::Misuse;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Longest secret, in bytes: certificates with their chains are the largest.
pub const SECRET_BYTES_MAX: usize = 64 << 10;

/// A secret's whereabouts, as a configuration names them: `{file: PATH}`, `{env: NAME}` or
/// `{command: [PROGRAM, ARGUMENT…]}`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum SecretFrom {
    /// A file's contents, without a line feed at the end.
    File(PathBuf),
    /// A variable's value.
    Env(String),
    /// What a program prints, without a line feed at the end. Run without a shell.
    Command(Vec<String>),
}

/// A secret's text. It is wiped when dropped, and `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// Takes a text over.
    pub fn new(text: String) -> SecretText {
        SecretText(Zeroizing::new(text))
    }

    /// The text, for the client library that must have it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl SecretFrom {
    /// Reads it now. Relative files are in `folder`; `at` names the setting in what goes wrong.
    ///
    /// # Errors
    /// Misuse if there is none, or it is empty, not text, or larger than [`SECRET_BYTES_MAX`].
    pub fn read(&self, folder: &Path, at: &str) -> Result<SecretText, Misuse> {
        let bytes = match self {
            SecretFrom::File(path) => read_file(&folder.join(path), at)?,
            SecretFrom::Env(name) => {
                let value = std::env::var(name).map_err(|_| {
                    let what = format!("the environment has no text `{}`", name.escape_default());
                    Misuse::new(what, at, "set it, or name another source")
                })?;
                Zeroizing::new(value.into_bytes())
            }
            SecretFrom::Command(argv) => run(argv, folder, at)?,
        };
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Misuse::new("the secret is not text", at, "name a source of UTF-8 text")
        })?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        if text.is_empty() || text.len() > SECRET_BYTES_MAX {
            let what = format!("the secret has {} bytes", text.len());
            return Err(Misuse::new(what, at, format!("give it 1 to {SECRET_BYTES_MAX}")));
        }
        Ok(SecretText::new(text.to_owned()))
    }
}

fn read_file(path: &Path, at: &str) -> Result<Zeroizing<Vec<u8>>, Misuse> {
    use std::io::Read;
    let told = |error: std::io::Error| {
        let fix = "correct the path, or its rights";
        Misuse::new(format!("{}: {error}", path.display()), at, fix)
    };
    let mut bytes = Zeroizing::new(Vec::new());
    let file = std::fs::File::open(path).map_err(told)?;
    file.take(SECRET_BYTES_MAX as u64 + 2).read_to_end(&mut bytes).map_err(told)?;
    Ok(bytes)
}

fn run(argv: &[String], folder: &Path, at: &str) -> Result<Zeroizing<Vec<u8>>, Misuse> {
    let fix = "correct the command; it must print the secret and end with 0";
    let Some((program, arguments)) = argv.split_first() else {
        return Err(Misuse::new("the command is empty", at, fix));
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stderr(Stdio::inherit());
    let name = program.escape_default();
    let output = command
        .output()
        .map_err(|error| Misuse::new(format!("`{name}` cannot be run: {error}"), at, fix))?;
    let printed = Zeroizing::new(output.stdout);
    if !output.status.success() {
        return Err(Misuse::new(format!("`{name}` failed: {}", output.status), at, fix));
    }
    Ok(printed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: serde_json::Value) -> Result<SecretText, Misuse> {
        let from: SecretFrom = serde_json::from_value(yaml).unwrap();
        from.read(Path::new("/"), "broker.password")
    }

    #[test]
    fn a_command_prints_it_and_one_line_feed_is_not_part_of_it() {
        let secret = read(serde_json::json!({"command": ["printf", "hunter2\n"]})).unwrap();
        assert_eq!(secret.reveal(), "hunter2");
    }

    // Threat: a secret in a log.
    #[test]
    fn neither_debug_nor_errors_show_it() {
        let secret = read(serde_json::json!({"command": ["printf", "hunter2"]})).unwrap();
        assert!(!format!("{secret:?}").contains("hunter2"));
        let failed = read(serde_json::json!({"command": ["sh", "-c", "echo hunter2; exit 3"]}));
        assert!(!format!("{:?}", failed.unwrap_err()).contains("hunter2"));
    }

    #[test]
    fn what_is_missing_empty_or_endless_is_misuse() {
        for from in [
            serde_json::json!({"file": "no/such/file"}),
            serde_json::json!({"file": "/dev/null"}),
            serde_json::json!({"file": "/dev/zero"}),
            serde_json::json!({"env": "CHANCERY_NO_SUCH_VARIABLE"}),
            serde_json::json!({"command": []}),
            serde_json::json!({"command": ["no-such-program-here"]}),
            serde_json::json!({"command": ["false"]}),
        ] {
            let misuse = read(from.clone()).unwrap_err();
            assert_eq!(misuse.at, "broker.password", "{from}");
        }
    }
}
