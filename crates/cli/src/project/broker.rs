// SPDX-License-Identifier: MIT OR Apache-2.0
//! `broker:` of chancery.yaml: `local:FOLDER`, a URL, or a mapping whose members are the adapter's.

use serde::Deserialize;
use serde::de::{DeserializeOwned, Error};
use serde_json::{Map, Value};

use crate::exit::{Failure, Result};

/// Where `{service}` stands in the mapping, the service's name is put.
const SERVICE: &str = "{service}";

/// Which adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// The embedded broker.
    Local,
    /// Kafka.
    Kafka,
    /// RabbitMQ.
    RabbitMq,
    /// NATS JetStream.
    Nats,
    /// SQS.
    Sqs,
}

impl Scheme {
    fn of(url: &str) -> Option<Scheme> {
        Some(match url.split_once(':')?.0 {
            "local" => Scheme::Local,
            "kafka" => Scheme::Kafka,
            "amqps" | "amqp" => Scheme::RabbitMq,
            "nats" | "tls" => Scheme::Nats,
            "sqs" => Scheme::Sqs,
            _ => return None,
        })
    }

    /// The Cargo feature that has it.
    pub(crate) fn feature(self) -> &'static str {
        match self {
            Scheme::Local => "default",
            Scheme::Kafka => "kafka",
            Scheme::RabbitMq => "rabbitmq",
            Scheme::Nats => "nats",
            Scheme::Sqs => "sqs",
        }
    }
}

/// The broker, and what its adapter is told.
#[derive(Clone, Debug)]
pub(crate) struct BrokerConfig {
    /// Who is to read the mapping.
    pub(crate) scheme: Scheme,
    mapping: Map<String, Value>,
}

impl<'de> Deserialize<'de> for BrokerConfig {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<BrokerConfig, D::Error> {
        let mapping = match Value::deserialize(from)? {
            Value::String(url) => Map::from_iter([("url".to_owned(), Value::String(url))]),
            Value::Object(mapping) => mapping,
            _ => {
                return Err(D::Error::custom("broker: write a URL, or a mapping that has a `url`"));
            }
        };
        let url = mapping.get("url").and_then(Value::as_str);
        // Not quoted: there may be a password in it.
        let scheme = match url {
            Some(url) => Scheme::of(url).ok_or(
                "broker: write `local:FOLDER`, or a URL of kafka:, amqps:, nats:, tls: or sqs:",
            ),
            // A context of the nats program has its own.
            None if mapping.contains_key("context") => Ok(Scheme::Nats),
            None => Err("broker: the mapping has no text `url`"),
        };
        let scheme = scheme.map_err(D::Error::custom)?;
        if scheme == Scheme::Local && (url == Some("local:") || mapping.len() > 1) {
            return Err(D::Error::custom("broker: write `local:FOLDER`, and nothing else"));
        }
        Ok(BrokerConfig { scheme, mapping })
    }
}

impl BrokerConfig {
    /// The same for one service.
    pub(crate) fn of(mut self, service: &str) -> BrokerConfig {
        self.mapping.values_mut().for_each(|value| put(service, value));
        self
    }

    /// The embedded broker's folder.
    pub(crate) fn folder(&self) -> Option<&str> {
        self.mapping.get("url")?.as_str()?.strip_prefix("local:")
    }

    /// Whether it is spoken to without TLS.
    pub(crate) fn is_insecure(&self) -> bool {
        self.mapping.get("insecure") == Some(&Value::Bool(true))
    }

    /// As the adapter reads it.
    #[cfg_attr(
        not(any(feature = "kafka", feature = "rabbitmq", feature = "nats", feature = "sqs")),
        allow(dead_code, reason = "a build without adapters reads none")
    )]
    pub(crate) fn config<C: DeserializeOwned>(self) -> Result<C> {
        serde_json::from_value(Value::Object(self.mapping)).map_err(|error| {
            let fix = "correct the member; docs/guides/brokers.md shows each broker's";
            Failure::misuse(error.to_string(), "chancery.yaml, broker", fix)
        })
    }
}

fn put(service: &str, value: &mut Value) {
    match value {
        Value::String(text) => *text = text.replace(SERVICE, service),
        Value::Array(list) => list.iter_mut().for_each(|value| put(service, value)),
        Value::Object(members) => members.values_mut().for_each(|value| put(service, value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> Result<BrokerConfig, String> {
        serde_saphyr::from_str(yaml).map_err(|error| error.to_string())
    }

    #[test]
    fn a_bare_url_is_a_mapping_with_nothing_but_it() {
        for (url, scheme) in [
            ("kafka://a:9093,b:9093", Scheme::Kafka),
            ("amqps://a/shop", Scheme::RabbitMq),
            ("nats://a:4222", Scheme::Nats),
            ("tls://a:4222", Scheme::Nats),
            ("sqs://eu-west-1", Scheme::Sqs),
            ("local:data", Scheme::Local),
        ] {
            let config = read(&format!("{url:?}")).unwrap();
            assert_eq!(config.scheme, scheme, "{url}");
            let same = read(&format!("url: {url:?}")).unwrap();
            assert_eq!(config.mapping, same.mapping);
        }
        assert_eq!(read("context: shop").unwrap().scheme, Scheme::Nats);
    }

    // Threat: a service that connects as another.
    #[test]
    fn the_services_name_is_put_wherever_it_is_asked_for() {
        let yaml = "url: nats://h\ncreds: keys/{service}.creds\nstreams:\n  a.b: {durable: \
                    '{service}-{service}', of: ['{service}']}\n";
        let config = read(yaml).unwrap().of("svc-billing");
        let text = Value::Object(config.mapping).to_string();
        assert!(!text.contains("{service}"), "{text}");
        assert!(
            text.contains("keys/svc-billing.creds") && text.contains("svc-billing-svc-billing")
        );
    }

    // A URL may hold a password.
    #[test]
    fn what_is_no_broker_is_refused_and_not_quoted() {
        for bad in [
            "ftp://me:hunter2@host",
            "hunter2",
            "local:",
            "[a]",
            "{insecure: true}",
            "{url: 'local:d', insecure: true}",
            "{url: 7}",
            "~",
        ] {
            let error = read(bad).unwrap_err();
            assert!(error.contains("broker: ") && !error.contains("hunter2"), "{bad}: {error}");
        }
    }
}
