// SPDX-License-Identifier: MIT OR Apache-2.0
//! One secret key in a file of its own: `chancery-key-1 ALGORITHM PURPOSE NAME SECRET`. The
//! purpose is in the file, so that a key cannot be used for another.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chancery::core::evidence::Signer;
use chancery::core::keys::{Algorithm, Secret};
use chancery::core::text::{b64u, from_b64u};
use zeroize::Zeroizing;

use crate::exit::{Failure, Result};
use crate::files;

const FORMAT: &str = "chancery-key-1";
const KEY_BYTES_MAX: usize = 4096;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Signs trust bundles.
    Root,
    /// Signs messages.
    Message,
    /// Signs checkpoints of an evidence log.
    Evidence,
}

impl Purpose {
    const ALL: [Purpose; 3] = [Purpose::Root, Purpose::Message, Purpose::Evidence];

    /// The word in key files.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Purpose::Root => "root",
            Purpose::Message => "message",
            Purpose::Evidence => "evidence",
        }
    }
}

/// A secret key and whose it is.
pub(crate) struct KeyFile {
    /// The file it was read from or is to be written to.
    pub(crate) path: PathBuf,
    /// How it signs.
    pub(crate) algorithm: Algorithm,
    /// What it is for.
    pub(crate) purpose: Purpose,
    /// The service (message), the log's origin (evidence), `domain/environment` (root).
    pub(crate) name: String,
    secret: Zeroizing<[u8; 32]>,
}

impl KeyFile {
    /// A new Ed25519 key. Nothing is written yet.
    pub(crate) fn generate(path: &Path, purpose: Purpose, name: &str) -> Result<KeyFile> {
        Ok(KeyFile {
            path: path.to_owned(),
            algorithm: Algorithm::Ed25519,
            purpose,
            name: name.to_owned(),
            secret: Zeroizing::new(super::random()?),
        })
    }

    /// Reads a key file that nobody else may read.
    pub(crate) fn read(path: &Path) -> Result<KeyFile> {
        let metadata = fs::metadata(path).map_err(|error| Failure::io(path, &error))?;
        let mode = metadata.permissions().mode() & 0o777;
        let at = || path.display().to_string();
        if mode & 0o077 != 0 {
            let what = format!("holds a secret and has mode {mode:03o}: others can read it");
            return Err(Failure::misuse(what, at(), format!("chmod 600 {}", at())));
        }
        files::require_regular(path)?;
        let text = Zeroizing::new(files::read_text(path, KEY_BYTES_MAX)?);
        KeyFile::parse(path, &text).ok_or_else(|| {
            let fix = "restore it, or remove it from the folder and make a new one";
            Failure::misuse(format!("is not a key file ({FORMAT} …)"), at(), fix)
        })
    }

    fn parse(path: &Path, text: &str) -> Option<KeyFile> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let line = lines.next().filter(|_| lines.next().is_none())?;
        let mut words = line.split(' ');
        words.next().filter(|word| *word == FORMAT)?;
        let algorithm = Algorithm::parse(words.next()?)?;
        let purpose = words.next()?;
        let purpose = Purpose::ALL.into_iter().find(|known| known.word() == purpose)?;
        let name = words.next().filter(|name| !name.is_empty())?.to_owned();
        let secret = Zeroizing::new(from_b64u::<32>(words.next()?)?);
        let whole = words.next().is_none();
        let allowed = algorithm == Algorithm::Ed25519 || purpose == Purpose::Message;
        (whole && allowed).then(|| KeyFile { path: path.into(), algorithm, purpose, name, secret })
    }

    /// Writes a new file, mode 600; one that exists is never touched.
    pub(crate) fn create(&self) -> Result<()> {
        let (algorithm, purpose) = (self.algorithm.name(), self.purpose.word());
        let secret = Zeroizing::new(b64u(&*self.secret));
        let line = Zeroizing::new(format!(
            "# Secret. Whoever has it can sign as {}.\n{FORMAT} {algorithm} {purpose} {} {}\n",
            self.name, self.name, *secret
        ));
        files::create(&self.path, line.as_bytes(), files::SECRET)
    }

    /// The key for signing messages or bundles.
    pub(crate) fn signing(&self) -> Result<Secret> {
        match self.algorithm {
            Algorithm::Ed25519 => Ok(Secret::ed25519(&self.secret)),
            Algorithm::HmacSha256 => Ok(Secret::hmac_sha256(&*self.secret)?),
        }
    }

    /// The key for signing checkpoints.
    pub(crate) fn signer(&self) -> Result<Signer> {
        Signer::from_seed(&self.name, &self.secret).map_err(|error| {
            let at = self.path.display().to_string();
            Failure::misuse(error.to_string(), at, "make the project's names shorter")
        })
    }

    /// Whether it signs messages of this service.
    pub(crate) fn signs_for(&self, service: &str) -> bool {
        self.purpose == Purpose::Message && self.name == service
    }

    /// Whether every holder can forge.
    pub(crate) fn is_shared(&self) -> bool {
        self.algorithm == Algorithm::HmacSha256
    }

    /// The secret itself, for a verifier of a shared one.
    pub(crate) fn secret(&self) -> &[u8] {
        &*self.secret
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile({} {} {})", self.algorithm.name(), self.purpose.word(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<KeyFile> {
        KeyFile::parse(Path::new("k"), text)
    }

    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

    #[test]
    fn only_the_one_form_is_read() {
        let good = format!("# why\n{FORMAT} ed25519 message svc-orders {SECRET}\n");
        assert!(parse(&good).is_some_and(|key| key.signs_for("svc-orders")));
        for bad in [
            String::new(),
            good.replace(FORMAT, "chancery-key-2"),
            good.replace("message", "any"),
            good.replace("ed25519", "rsa"),
            good.replace(" svc-orders", " "),
            good.replace(SECRET, "AAEC"),
            good.replace('\n', " more\n"),
            format!("{good}{good}"),
            good.replace("ed25519 message", "hmac-sha256 root"),
        ] {
            assert!(parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let key = parse(&format!("{FORMAT} ed25519 root shop/dev {SECRET}")).unwrap();
        assert!(!format!("{key:?}").contains(SECRET));
    }
}
