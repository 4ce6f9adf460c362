// SPDX-License-Identifier: MIT OR Apache-2.0
//! TLS: whom we believe, our own certificate, and what goes wrong with either, in words.

use std::io;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
};

use super::handshake::Socket;

/// Whom we believe, and who we are.
#[derive(Clone)]
pub(crate) struct Tls(Arc<ClientConfig>);

/// Which of the texts is wrong, and how.
pub(crate) enum Wrong {
    Ca(&'static str),
    Cert(&'static str),
    Key(&'static str),
}

impl Tls {
    /// Of texts in PEM: CAs, or none for the system's; our certificate with its chain, and its key.
    pub(crate) fn new(ca: Option<&str>, own: Option<(&str, &str)>) -> Result<Tls, Wrong> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|_| Wrong::Ca("there is no version of TLS"))?
            .with_root_certificates(roots(ca)?);
        let Some((cert, key)) = own else {
            return Ok(Tls(Arc::new(builder.with_no_client_auth())));
        };
        let chain = certificates(cert).ok_or(Wrong::Cert("there is no certificate in it"))?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
        let key = key.map_err(|_| Wrong::Key("there is no private key in it"))?;
        let built = builder.with_client_auth_cert(chain, key);
        built
            .map(|built| Tls(Arc::new(built)))
            .map_err(|_| Wrong::Key("it is not the certificate's, or of a kind that is not known"))
    }

    /// Makes a connection to `host` secure.
    pub(crate) async fn secure(
        &self,
        socket: Box<dyn Socket>,
        host: &str,
    ) -> Result<Box<dyn Socket>, String> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("`{host}` is no name that a certificate can have"))?;
        let secured = TlsConnector::from(Arc::clone(&self.0)).connect(name, socket).await;
        Ok(Box::new(secured.map_err(|error| words(&error))?))
    }
}

fn roots(ca: Option<&str>) -> Result<RootCertStore, Wrong> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => {
            let none = Wrong::Ca("there is no certificate in it");
            for certificate in certificates(ca).ok_or(none)? {
                roots.add(certificate).map_err(|_| Wrong::Ca("a certificate of it is no CA's"))?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() { Err(Wrong::Ca("this system trusts no CA")) } else { Ok(roots) }
}

fn certificates(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    read.ok().filter(|chain| !chain.is_empty())
}

/// What went wrong while the connection was made secure, on either side.
pub(crate) fn words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(why)) => certificate_words(why),
        Some(Error::AlertReceived(alert)) => alert_words(*alert),
        Some(Error::InvalidMessage(_)) => "what answers there does not speak TLS".into(),
        Some(other) => format!("TLS failed: {other}"),
        None => format!("the connection broke ({error}); see its log"),
    }
}

fn certificate_words(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => "its certificate is of a CA that is not ours; give \
                                            that CA's certificate as broker.ca"
            .into(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired; renew it there (or see to the clock here)".into()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is for another name; connect by a name that it has".into()
        }
        other => format!("its certificate is not valid: {other}"),
    }
}

fn alert_words(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateExpired => {
            "it refuses our certificate: it has expired; renew broker.cert".into()
        }
        AlertDescription::UnknownCA => {
            "it refuses our certificate: it is of a CA that the server does not know; give \
             broker.cert of the CA in its `ca_file`"
                .into()
        }
        AlertDescription::CertificateRequired => {
            "it wants a client certificate; give broker.cert and broker.key".into()
        }
        AlertDescription::BadCertificate | AlertDescription::CertificateRevoked => format!(
            "it refuses our certificate ({alert:?}): missing, expired, revoked, of an unknown CA, \
             or not for clients; see broker.cert"
        ),
        other => format!("it ended TLS with {other:?}; see its log"),
    }
}
