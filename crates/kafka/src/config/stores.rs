// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key stores and trust stores. librdkafka reads no JKS, and no trust store but PEM: whatever the
//! file, what it has becomes PEM in memory.

use p12_keystore::{KeyStore, KeyStoreEntry};
use zeroize::Zeroizing;

use super::{jks, pem};

/// What is in a store, as PEM.
#[derive(Default)]
pub(crate) struct Store {
    /// A private key, and the chain of its certificate.
    pub(crate) own: Option<(Zeroizing<String>, String)>,
    /// Certificates that are trusted.
    pub(crate) trusted: String,
}

/// Which kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pem,
    Pkcs12,
    Jks,
}

impl Kind {
    pub(crate) fn named(name: &str) -> Option<Kind> {
        match name {
            "PEM" => Some(Kind::Pem),
            "PKCS12" => Some(Kind::Pkcs12),
            "JKS" => Some(Kind::Jks),
            _ => None,
        }
    }
}

impl Store {
    /// Reads a store. Java looks at the first bytes too: a `.jks` of a newer keytool is PKCS#12.
    pub(crate) fn read(kind: Kind, bytes: &[u8], password: Option<&str>) -> Result<Store, String> {
        match kind {
            Kind::Pem => {
                let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
                Store::pem(text)
            }
            _ if bytes.starts_with(&jks::MAGIC) => {
                let password = password.ok_or("a JKS store is not read without its password")?;
                jks::read(bytes, password)
            }
            _ => pkcs12(bytes, password.ok_or("a PKCS#12 store is not read without its password")?),
        }
    }

    /// A key and its chain, or trusted certificates, as text.
    pub(crate) fn pem(text: &str) -> Result<Store, String> {
        let blocks = pem::blocks(text).ok_or("it is not PEM")?;
        let certificates = blocks.iter().filter(|block| block.is_certificate());
        let trusted: String = certificates.map(|block| block.text.as_str()).collect();
        let mut keys = blocks.into_iter().filter(pem::Block::is_key);
        let own = keys.next().map(|key| (key.text, trusted.clone()));
        if keys.next().is_some() {
            return Err("it has more than one private key".to_owned());
        }
        Ok(Store { own, trusted })
    }
}

/// The name in the first certificate of a chain, and the time from which it is worth nothing, in
/// seconds since 1970.
pub(crate) fn subject(chain: &str) -> Option<(String, i64)> {
    let first = pem::blocks(chain)?.into_iter().find(pem::Block::is_certificate)?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&first.bytes).ok()?;
    Some((certificate.subject.to_string(), certificate.validity.not_after.timestamp()))
}

fn pkcs12(bytes: &[u8], password: &str) -> Result<Store, String> {
    let store = KeyStore::from_pkcs12(bytes, password)
        .map_err(|_| "it is no PKCS#12 store, or the password is not its own".to_owned())?;
    let mut read = Store::default();
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::PrivateKeyChain(own) => {
                let key = pem::block("PRIVATE KEY", own.key());
                let chain = own.chain().iter();
                let chain = chain.map(|it| pem::block("CERTIFICATE", it.as_der()).to_string());
                if read.own.replace((key, chain.collect())).is_some() {
                    return Err("it has more than one private key".to_owned());
                }
            }
            KeyStoreEntry::Certificate(trusted) => {
                read.trusted += &pem::block("CERTIFICATE", trusted.as_der());
            }
            KeyStoreEntry::Secret(_) => {}
        }
    }
    Ok(read)
}
