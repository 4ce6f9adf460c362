// SPDX-License-Identifier: MIT OR Apache-2.0
//! Java's own key store of before JDK 9. There is no crate for it, and "convert it with keytool"
//! leaves a second copy of a private key lying about: the format is small enough to read.
//!
//! Big-endian: magic, version 2, the number of entries; an entry is a tag, an alias, milliseconds,
//! then a protected key with its chain (1) or a certificate (2); at the end a SHA-1 over password,
//! a fixed phrase and all of it. The protection of keys is a stream of SHA-1 over password and the
//! digest before (openjdk, `sun.security.provider.{JavaKeyStore,KeyProtector}`).

use sha1::{Digest, Sha1};
use zeroize::Zeroizing;

use super::pem;
use super::stores::Store;

/// How such a file begins.
pub(crate) const MAGIC: [u8; 4] = [0xfe, 0xed, 0xfe, 0xed];
const PHRASE: &[u8] = b"Mighty Aphrodite";
const DIGEST: usize = 20;
/// 1.3.6.1.4.1.42.2.17.1.1, the protection of keys.
const PROTECTOR: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x2a, 0x02, 0x11, 0x01, 0x01];

/// Reads a store whose keys are under the store's own password.
pub(crate) fn read(bytes: &[u8], password: &str) -> Result<Store, String> {
    let password: Zeroizing<Vec<u8>> =
        Zeroizing::new(password.encode_utf16().flat_map(u16::to_be_bytes).collect());
    let (body, digest) = bytes
        .len()
        .checked_sub(DIGEST)
        .and_then(|end| bytes.split_at_checked(end))
        .ok_or("it is cut off")?;
    let sum = Sha1::new().chain_update(&*password).chain_update(PHRASE).chain_update(body);
    if sum.finalize().as_slice() != digest {
        return Err("it is damaged, or the password is not its own".to_owned());
    }
    let read = entries(&mut Reader(body), &password);
    read.unwrap_or_else(|| Err("it is damaged, or of another kind".to_owned()))
}

fn entries(from: &mut Reader<'_>, password: &[u8]) -> Option<Result<Store, String>> {
    let (magic, version) = (from.take(4)?, from.number()?);
    if magic != MAGIC || version != 2 {
        return None;
    }
    let mut store = Store::default();
    for _ in 0..from.number()? {
        let tag = from.number()?;
        let _alias = from.short_text()?;
        let _made_at = from.take(8)?;
        match tag {
            1 => {
                let protected = from.bytes()?;
                let mut chain = String::new();
                for _ in 0..from.number()? {
                    chain += &from.certificate()?;
                }
                let Some(key) = unprotect(protected, password) else {
                    return Some(
                        Err("a key in it is under another password than the store".into()),
                    );
                };
                let key = pem::block("PRIVATE KEY", &key);
                if store.own.replace((key, chain)).is_some() {
                    return Some(Err("it has more than one private key".to_owned()));
                }
            }
            2 => store.trusted += &from.certificate()?,
            _ => return None,
        }
    }
    from.0.is_empty().then_some(Ok(store))
}

/// The key inside an EncryptedPrivateKeyInfo.
fn unprotect(info: &[u8], password: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (mut inside, _) = der(0x30, info)?;
    let algorithm;
    (algorithm, inside) = der(0x30, inside)?;
    let (oid, _) = der(0x06, algorithm)?;
    let (sealed, _) = der(0x04, inside)?;
    let (salt, sealed) = sealed.split_at_checked(DIGEST)?;
    let (sealed, check) = sealed.split_at_checked(sealed.len().checked_sub(DIGEST)?)?;
    if oid != PROTECTOR {
        return None;
    }
    let mut last = Sha1::new().chain_update(password).chain_update(salt).finalize();
    let mut key = Zeroizing::new(Vec::with_capacity(sealed.len()));
    for part in sealed.chunks(DIGEST) {
        key.extend(part.iter().zip(&last).map(|(sealed, stream)| sealed ^ stream));
        last = Sha1::new().chain_update(password).chain_update(last).finalize();
    }
    let sum = Sha1::new().chain_update(password).chain_update(&*key).finalize();
    (sum.as_slice() == check).then_some(key)
}

/// The contents of a DER value with this tag, and what stands behind it.
fn der(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        long @ 0x81..=0x83 => {
            let (digits, rest) = rest.split_at_checked(usize::from(long - 0x80))?;
            (digits.iter().fold(0, |len, digit| len << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(len)).flatten()
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, n: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn bytes(&mut self) -> Option<&'b [u8]> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len)
    }

    fn short_text(&mut self) -> Option<&'b [u8]> {
        let len = self.take(2)?.try_into().ok().map(u16::from_be_bytes)?;
        self.take(usize::from(len))
    }

    fn certificate(&mut self) -> Option<String> {
        let kind = self.short_text()?;
        let der = self.bytes()?;
        (kind == b"X.509").then(|| pem::block("CERTIFICATE", der).to_string())
    }
}
