// SPDX-License-Identifier: MIT OR Apache-2.0

use serde_json::{Value, json};

use super::*;

fn read(config: Value) -> Result<Settings, Misuse> {
    let config: Config = serde_json::from_value(config).unwrap();
    config.read(Path::new(env!("CARGO_MANIFEST_DIR")))
}

fn printed(text: &str) -> Value {
    json!({"command": ["printf", "%s", text]})
}

fn good() -> Value {
    json!({"url": "amqps://broker:5671/shop", "uri": printed("amqps://orders:hunter2@broker/shop")})
}

#[test]
fn streams_and_shares_have_their_own_names_unless_they_are_given_others() {
    let mut config = good();
    config["streams"] = json!({"b": {"exchange": "x", "routing_key": "r", "queues": {"g": "q"}}});
    let settings = read(config).unwrap();
    assert_eq!(settings.exchange("a"), "a");
    assert_eq!(settings.queue("a", "g"), "a.g");
    assert_eq!(settings.routing_key("a"), None);
    assert_eq!(settings.exchange("b"), "x");
    assert_eq!((settings.queue("b", "g"), settings.queue("b", "h")), ("q".into(), "b.h".into()));
    assert_eq!(settings.routing_key("b"), Some("r"));
}

#[test]
fn what_is_wrong_is_said_with_its_place_and_without_a_secret() {
    let uri = |uri: &str| json!({"url": "amqps://broker/shop", "uri": printed(uri)});
    let plain =
        json!({"url": "amqp://broker/shop", "uri": printed("amqp://o:hunter2@broker/shop")});
    let mut both = good();
    both["token"] = printed("hunter2");
    let mut no_window = good();
    no_window["window"] = json!(0);
    let mut no_pem = good();
    no_pem["ca"] = json!("Cargo.toml");
    let mut long = good();
    long["streams"] = json!({"a": {"exchange": "x".repeat(256)}});
    let mut management = good();
    management["management"] = printed("http://auditor:hunter2@broker");
    for (config, at) in [
        (json!({"url": "amqps://o:hunter2@broker/shop"}), "broker.url"),
        (json!({"url": "kafka://broker"}), "broker.url"),
        (
            json!({"url": "https://broker", "uri": printed("https://o:hunter2@broker")}),
            "broker.url",
        ),
        (plain, "broker.url"),
        (uri("amqps://o:hunter2@elsewhere/shop"), "broker.uri"),
        (uri("amqps://o:hunter2@broker/other"), "broker.uri"),
        (uri("amqps://o:hunter2@broker:1/shop"), "broker.uri"),
        (uri("amqp://o:hunter2@broker:5671/shop"), "broker.uri"),
        (uri("amqps://broker/shop"), "broker.uri"),
        (uri("hunter2"), "broker.uri"),
        (json!({"url": "amqps://broker/shop"}), "broker"),
        (both, "broker"),
        (no_window, "broker.window"),
        (no_pem, "broker.ca"),
        (long, "broker.streams.a"),
        (management, "broker.management"),
    ] {
        let misuse = read(config.clone()).unwrap_err();
        assert_eq!(misuse.at, at, "{config}");
        assert!(!misuse.to_string().contains("hunter2"), "{misuse}");
    }
    assert!(!format!("{:?}", read(good()).unwrap()).contains("hunter2"));
}

#[test]
fn plaintext_needs_the_word() {
    let config = json!({
        "url": "amqp://broker/shop",
        "insecure": true,
        "uri": printed("amqp://orders:hunter2@broker/shop"),
    });
    assert_eq!(read(config).unwrap().server.scheme, "amqp");
}

#[test]
fn what_nobody_knows_is_refused() {
    let mut config = good();
    config["tls_verify"] = json!(false);
    assert!(serde_json::from_value::<Config>(config).is_err());
}
