// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes wrong with a broker, as a sentence: what, where, what to do.

use std::io;

use lapin::{Confirmation, Error, ErrorKind};
use rustls::{AlertDescription, CertificateError};

use crate::config::{Identity, Settings};

/// Why the broker did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It is not there, or is gone: asking again may help.
    Down(String),
    /// It says no: somebody must do something.
    Refused(String),
}

impl Trouble {
    /// The sentence.
    pub(crate) fn into_text(self) -> String {
        match self {
            Trouble::Down(text) | Trouble::Refused(text) => text,
        }
    }

    pub(super) fn unreachable(place: &str) -> Trouble {
        Trouble::Down(format!(
            "{place} does not answer; check the host, the port and the firewalls between"
        ))
    }

    pub(super) fn silent(place: &str) -> Trouble {
        Trouble::Down(format!(
            "{place} takes connections and says nothing; is it RabbitMQ, and has it started?"
        ))
    }

    pub(super) fn unanswered(place: &str, blocked: bool) -> Trouble {
        Trouble::Down(match blocked {
            true => format!(
                "{place} takes no messages, its alarm for memory or disk is on; see rabbitmqctl \
                 status"
            ),
            false => format!("{place} does not answer any more; see its log"),
        })
    }

    pub(crate) fn lost() -> Trouble {
        Trouble::Down("the connection is lost".into())
    }

    pub(super) fn cancelled() -> Trouble {
        Trouble::Down(
            "the broker has cancelled the consumer: its queue was deleted or moved".into(),
        )
    }
}

/// TCP.
pub(super) fn reaching(error: &io::Error, place: &str) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Trouble::Down(format!(
            "connection refused, nothing listens at {place}; start the broker, or correct the port in `url`"
        )),
        io::ErrorKind::TimedOut | io::ErrorKind::HostUnreachable => Trouble::unreachable(place),
        _ => Trouble::Down(format!("{place} cannot be reached ({error}); check the host in `url`")),
    }
}

/// TLS.
pub(super) fn shaking(error: &io::Error, place: &str) -> Trouble {
    let Some(tls) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return Trouble::Down(format!(
            "{place} ended the TLS handshake ({error}); is this the port of its TLS listener?"
        ));
    };
    Trouble::Refused(match tls {
        rustls::Error::InvalidCertificate(why) => certificate(why, place),
        rustls::Error::AlertReceived(alert) => alerted(*alert, place),
        rustls::Error::InvalidMessage(_) => format!(
            "{place} does not speak TLS; name the port of its TLS listener (5671 by default)"
        ),
        other => format!("no TLS with {place}: {other}"),
    })
}

fn certificate(why: &CertificateError, place: &str) -> String {
    match why {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            format!("the certificate of {place} has expired; renew it on the broker")
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("the certificate of {place} is not valid yet; check both clocks")
        }
        CertificateError::UnknownIssuer => format!(
            "nobody that we believe has signed the certificate of {place}; name its authority's \
             certificate under `ca`"
        ),
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the certificate of {place} is for another name; correct the host in `url`")
        }
        other => format!("the certificate of {place} is not good: {other}"),
    }
}

fn alerted(alert: AlertDescription, place: &str) -> String {
    match alert {
        AlertDescription::CertificateRequired => format!(
            "{place} wants a client certificate; name one under `certificate`, or use its listener \
             for passwords"
        ),
        AlertDescription::CertificateExpired => {
            format!("{place} says that our client certificate has expired; renew it")
        }
        AlertDescription::UnknownCA => format!(
            "{place} does not know who signed our client certificate; use one of its own authority"
        ),
        AlertDescription::BadCertificate | AlertDescription::CertificateUnknown => {
            format!("{place} does not take our client certificate; see its log for why")
        }
        other => format!("{place} ended TLS with the alert {other:?}"),
    }
}

/// AMQP, until the connection is open.
pub(super) fn connecting(error: &Error, settings: &Settings) -> Trouble {
    let place = settings.server.place();
    let ErrorKind::ProtocolError(amqp) = error.kind() else {
        return lost(error, &place);
    };
    let (vhost, said) = (&settings.server.vhost, amqp.get_message());
    Trouble::Refused(match (amqp.get_id(), &settings.identity) {
        (403, Identity::Password { user, .. }) => format!(
            "{place} does not accept user `{user}` with this password; correct `uri`, or set it: \
             rabbitmqctl change_password {user}"
        ),
        (403, Identity::Token(_)) => format!(
            "{place} does not accept the token: it may be over, of another issuer, or for another \
             audience; get a new one"
        ),
        (403, Identity::Certificate) => format!(
            "{place} does not accept our certificate as a user; make the user that it names: \
             rabbitmqctl add_user NAME, then clear_password NAME"
        ),
        (530, _) => format!(
            "{place} does not let us into virtual host `{vhost}` ({said}); make it, or grant it: \
             rabbitmqctl set_permissions -p {vhost} USER '^$' WRITE READ"
        ),
        (320, _) => return Trouble::Down(format!("{place} ended the connection: {said}")),
        _ => format!("{place} refuses the connection: {said}"),
    })
}

/// AMQP, afterwards. `doing` is what was asked.
pub(super) fn working(error: &Error, place: &str, doing: &str) -> Trouble {
    let ErrorKind::ProtocolError(amqp) = error.kind() else {
        return lost(error, place);
    };
    let said = amqp.get_message();
    match amqp.get_id() {
        320 => Trouble::Down(format!("{place} ended the connection: {said}")),
        403 => Trouble::Refused(format!(
            "{place} does not let us {doing} ({said}); grant it: rabbitmqctl set_permissions"
        )),
        404 => Trouble::Refused(format!(
            "cannot {doing} at {place} ({said}); make it, this service makes nothing: rabbitmqadmin \
             declare"
        )),
        406 if said.as_str().contains("delivery acknowledgement") => Trouble::Down(format!(
            "{place} has waited for an acknowledgement for too long and taken all back ({said}); \
             make `window` smaller, or its consumer_timeout longer"
        )),
        // It was acknowledged, and nobody has heard the answer.
        406 if said.as_str().contains("unknown delivery tag") => Trouble::lost(),
        _ => Trouble::Refused(format!("cannot {doing} at {place}: {said}")),
    }
}

fn lost(error: &Error, place: &str) -> Trouble {
    match error.kind() {
        // A server that does not like our certificate says so only after its own handshake.
        ErrorKind::IOError(io) if io.get_ref().is_some_and(|e| e.is::<rustls::Error>()) => {
            shaking(io, place)
        }
        ErrorKind::MissingHeartbeatError => {
            Trouble::Down(format!("{place} has been silent for too long; the connection is over"))
        }
        _ => Trouble::Down(format!("the connection to {place} is lost ({error})")),
    }
}

/// What the broker says of a message that was published.
pub(super) fn confirmed(confirmed: &Confirmation, exchange: &str) -> Result<(), Trouble> {
    match confirmed {
        Confirmation::Ack(None) => Ok(()),
        Confirmation::Ack(Some(_)) | Confirmation::Nack(Some(_)) => Err(Trouble::Refused(format!(
            "no queue takes this message from exchange `{exchange}`; bind one: rabbitmqadmin \
             declare binding source={exchange} destination=QUEUE routing_key='#'"
        ))),
        Confirmation::Nack(None) => Err(Trouble::Refused(format!(
            "a queue of exchange `{exchange}` did not take the message: it is full (overflow \
             reject-publish), or has lost its majority"
        ))),
        Confirmation::NotRequested => {
            Err(Trouble::Refused("the broker was not asked to confirm; this is a defect".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Threat: what only lost its place in the queue is told as what somebody must mend.
    #[test]
    fn messages_that_were_taken_back_come_again() {
        let told = |said: &str| {
            let error = lapin::protocol::AMQPError::new(
                lapin::protocol::AMQPSoftError::PRECONDITIONFAILED.into(),
                said.into(),
            );
            working(&ErrorKind::ProtocolError(error).into(), "localhost:5671", "receive")
        };
        let timeout = "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. \
                       Timeout value used: 1800000 ms.";
        assert!(matches!(told(timeout), Trouble::Down(text) if text.contains("`window` smaller")));
        let twice = told("PRECONDITION_FAILED - unknown delivery tag 3");
        assert!(matches!(twice, Trouble::Down(_)));
        let other = told("PRECONDITION_FAILED - inequivalent arg 'durable'");
        assert!(matches!(other, Trouble::Refused(_)));
    }
}
