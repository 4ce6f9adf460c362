// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whom to believe, and what to show.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The setting that is wrong, and what is wrong with it.
pub(crate) type Wrong = (&'static str, String);

/// Believes the authorities of `ca`, or the system's; shows a certificate if there is one.
pub(crate) fn client(
    ca: Option<&[u8]>,
    certificate: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, Wrong> {
    let provider = Arc::new(ring::default_provider());
    let versions =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let versions = versions.map_err(|error| ("broker.url", error.to_string()))?;
    let builder = versions.with_root_certificates(roots(ca)?);
    let Some((chain, key)) = certificate else {
        return Ok(Arc::new(builder.with_no_client_auth()));
    };
    let chain = certificates(chain, "broker.certificate.chain")?;
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|error| ("broker.certificate.key", error.to_string()))?;
    let config = builder.with_client_auth_cert(chain, key);
    Ok(Arc::new(config.map_err(|error| ("broker.certificate", error.to_string()))?))
}

fn roots(ca: Option<&[u8]>) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    if let Some(ca) = ca {
        for certificate in certificates(ca, "broker.ca")? {
            roots.add(certificate).map_err(|error| ("broker.ca", error.to_string()))?;
        }
        return Ok(roots);
    }
    // What the system has and cannot be read is passed over, as everywhere.
    let (added, _) =
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 {
        return Err((
            "broker.ca",
            "the system has no certificates; name a file of your own".into(),
        ));
    }
    Ok(roots)
}

fn certificates(pem: &[u8], at: &'static str) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let all = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
    all.map_err(|error| (at, error.to_string()))
}
