// SPDX-License-Identifier: MIT OR Apache-2.0
//! The servers, what services have in hand, and a stock client.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use chancery_core::{Fault, Field};
use chancery_rabbitmq::{Config, RabbitBroker};
use chancery_testkit::servers::{Server, pki};
use serde_json::{Value, json};

/// Both lines that are in use.
pub(crate) const SERVERS: [&str; 2] = ["rabbitmq", "rabbitmq4"];
pub(crate) const VHOST: &str = "shop";

pub(crate) fn port(server: &Server, listener: &str) -> u16 {
    let endpoint = server.endpoint(listener);
    let at = endpoint.split("://").nth(1).unwrap().split('/').next().unwrap();
    at.rsplit(':').next().unwrap().parse().unwrap()
}

/// The configuration of a service that has a URI with its password in hand.
pub(crate) fn config(server: &Server, service: &str) -> Value {
    let uri = server.client(service).join("uri");
    json!({
        "url": server.endpoint("amqp"),
        "ca": pki("ca.pem"),
        "uri": {"file": uri},
    })
}

/// The same, with the server behind another port.
pub(crate) fn behind(server: &Server, service: &str, proxy: u16) -> Value {
    let real = port(server, "amqp");
    let mut config = config(server, service);
    let uri = server.client(service).join("uri");
    config["url"] = json!(format!("amqps://localhost:{proxy}/{VHOST}"));
    config["uri"] = json!({"command": ["sed", format!("s/:{real}\\//:{proxy}\\//"), uri]});
    config
}

pub(crate) async fn connect(config: Value) -> Result<RabbitBroker, Fault> {
    let config: Config = serde_json::from_value(config).unwrap();
    RabbitBroker::connect(config.read(Path::new("/")).unwrap()).await
}

/// A name that no test and no process had before.
pub(crate) fn unique() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("t{:x}-{:x}-{count}", std::process::id(), now.as_micros())
}

/// Where a stock client connects, as a service with its URI.
pub(crate) fn at(server: &Server, service: &str) -> Value {
    json!({"ca": pki("ca.pem"), "uri": server.client(service).join("uri")})
}

/// Has the stock client do something; gives its answers, or its error.
pub(crate) fn stock(server: &Server, at: Value, steps: Vec<Value>) -> Result<Vec<Value>, String> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real/stock.py");
    let mut child = Command::new(server.read("stock-client"))
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let request = json!({"at": at, "steps": steps});
    child.stdin.take().unwrap().write_all(request.to_string().as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap().stdout;
    let said: Value = serde_json::from_slice(&said).unwrap();
    match said["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(said["ok"].as_array().unwrap().clone()),
    }
}

/// The same, as the administrator, and it must go well.
pub(crate) fn admin(server: &Server, steps: Vec<Value>) -> Vec<Value> {
    stock(server, at(server, "admin"), steps).unwrap()
}

/// A queue as the hardened server has them.
pub(crate) fn queue(name: &str) -> Value {
    json!({"do": "queue", "queue": name, "arguments": {
        "x-queue-type": "quorum",
        "x-single-active-consumer": true,
    }})
}

/// A message to publish as it is.
pub(crate) fn publish(exchange: &str, key: &[u8], fields: &[Field], body: &[u8]) -> Value {
    let headers: serde_json::Map<String, Value> =
        fields.iter().map(|field| (field.name.clone(), bytes(&field.value))).collect();
    json!({
        "do": "publish",
        "exchange": exchange,
        "routing_key": bytes(key),
        "body": base64(body),
        "properties": {"headers": headers, "delivery_mode": 2},
    })
}

pub(crate) fn bytes(bytes: &[u8]) -> Value {
    json!({"bytes": base64(bytes)})
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}
