// SPDX-License-Identifier: MIT OR Apache-2.0
//! What goes wrong at a start ends within seconds, with the cause in words and no secret in them.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::place::{Kind, Place, python};
use crate::shop::{Ended, orders};

const SECONDS_MAX: Duration = Duration::from_secs(10);

/// Both ends fail in time, with this code, and say one of these.
fn both_ends_say(place: &Place, code: i32, words: &[&str]) {
    let shop = &place.shop;
    let consume = ["consume", "orders.created", "--group", "billing", "--idle-exit", "1"];
    for ended in [
        timed(|| shop.run(&consume)),
        timed(|| shop.fed(&["publish", "orders.created"], &orders(1))),
    ] {
        let ended = ended.failed(code, "");
        let told = ended.err.to_lowercase();
        assert!(words.iter().any(|word| told.contains(word)), "none of {words:?} in {ended:?}");
        assert!(told.contains("fix: "), "{ended:?}");
        assert!(!told.contains(SECRET), "a secret is told: {ended:?}");
    }
}

fn timed(run: impl FnOnce() -> Ended) -> Ended {
    let began = Instant::now();
    let ended = run();
    assert!(began.elapsed() < SECONDS_MAX, "{:?}: {ended:?}", began.elapsed());
    ended
}

const SECRET: &str = "hunter2hunter2";

pub(crate) fn a_wrong_secret_is_told(kind: Kind) {
    let place = Place::new(kind);
    let mut mapping = place.mapping("admin");
    match kind {
        Kind::Kafka => {
            let good = std::fs::read_to_string(place.in_hand("admin", "scram.properties")).unwrap();
            let begin = good.find("password=\"").unwrap() + "password=\"".len();
            let end = begin + good[begin..].find('"').unwrap();
            let bad = format!("{}{SECRET}{}", &good[..begin], &good[end..]);
            place.shop.write("bad.properties", &bad);
            mapping["properties"] = json!(place.shop.path("bad.properties"));
        }
        Kind::RabbitMq => {
            let good = std::fs::read_to_string(place.in_hand("admin", "uri")).unwrap();
            let host = good.split_once('@').unwrap().1;
            place.shop.write("uri", &format!("amqps://admin:{SECRET}@{host}"));
            mapping["uri"] = json!({"file": place.shop.path("uri")});
        }
        Kind::Nats => {
            let home = place.in_hand("admin", "").ancestors().nth(2).unwrap().to_owned();
            let seed = "import nkeys,os,sys;sys.stdout.buffer.write(nkeys.encode_seed(os.urandom(32),\
                        nkeys.PREFIX_BYTE_USER))";
            let made = Command::new(python(kind, &home)).args(["-c", seed]).output().unwrap();
            assert!(made.status.success(), "{made:?}");
            std::fs::write(place.shop.path("stranger.nk"), made.stdout).unwrap();
            mapping["nkey"] = json!({"file": place.shop.path("stranger.nk")});
        }
        Kind::Sqs => {
            let good = std::fs::read_to_string(place.in_hand("admin", "credentials")).unwrap();
            let bad = good.lines().map(|line| match line.split_once('=') {
                Some((name, _)) if name.trim() == "aws_secret_access_key" => {
                    format!("{name}={SECRET}\n")
                }
                _ => format!("{line}\n"),
            });
            place.shop.write("credentials", &bad.collect::<String>());
            mapping["credentials"] = json!(place.shop.path("credentials"));
        }
    }
    place.configure(mapping);
    both_ends_say(
        &place,
        69,
        &["password", "credentials", "signature", "authorization", "nkey", "secret"],
    );
}

pub(crate) fn a_missing_right_is_told(kind: Kind) {
    let place = Place::new(kind);
    place.configure(place.mapping("mallory"));
    place.assume();
    both_ends_say(
        &place,
        69,
        &["may not", "denied", "not allowed", "not authorized", "refused", "right"],
    );
}

pub(crate) fn an_unreachable_host_is_told(kind: Kind) {
    let place = Place::new(kind);
    let mut mapping = place.mapping("admin");
    let at = if kind == Kind::Sqs { "endpoint" } else { "url" };
    let url = mapping[at].as_str().unwrap().to_owned();
    let port = url.rsplit_once(':').unwrap().1;
    let rest = port.trim_start_matches(|c: char| c.is_ascii_digit());
    // Nobody listens on the discard port.
    let nobody = format!("{}:9{rest}", url.rsplit_once(':').unwrap().0);
    if kind == Kind::RabbitMq {
        let uri = nobody.replace("://", &format!("://admin:{SECRET}@"));
        place.shop.write("uri", &uri);
        mapping["uri"] = json!({"file": "uri"});
    }
    mapping[at] = Value::String(nobody);
    place.configure(mapping);
    both_ends_say(&place, 69, &["reach", "connect", "refused", "no answer"]);
}

pub(crate) fn an_unknown_stream_is_told(kind: Kind) {
    let place = Place::new(kind);
    let text = place.mapping("admin").to_string();
    // Names that nobody has made.
    let elsewhere = text.replace("test-", "none-");
    place.configure(serde_json::from_str(&elsewhere).unwrap());
    both_ends_say(
        &place,
        69,
        &[
            "there is no",
            "does not exist",
            "no stream",
            "no queue",
            "no topic",
            "unknown",
            "not there",
            "no exchange",
        ],
    );
}

// Threat: a password goes over the wire for all to read, and nobody has ever said so.
pub(crate) fn plaintext_needs_the_word_and_is_warned_of(kind: Kind) {
    let place = Place::new(kind);
    let mut mapping = place.mapping("admin");
    let members = mapping.as_object_mut().unwrap();
    members.remove("ca");
    match kind {
        Kind::Kafka => {
            members.remove("properties");
            members.insert("url".into(), json!("kafka://localhost:9"));
        }
        Kind::RabbitMq => {
            place.shop.write("uri", "amqp://admin:hunter2@localhost:9/shop");
            members.insert("uri".into(), json!({"file": "uri"}));
            members.insert("url".into(), json!("amqp://localhost:9/shop"));
        }
        Kind::Nats => drop(members.insert("url".into(), json!("nats://localhost:9"))),
        Kind::Sqs => drop(members.insert("endpoint".into(), json!("http://localhost:9"))),
    }
    place.configure(mapping.clone());
    let consume = ["consume", "orders.created", "--group", "billing", "--idle-exit", "1"];
    let ended = timed(|| place.shop.run(&consume)).failed(64, "insecure: true");
    assert!(!ended.err.contains("hunter2"), "{ended:?}");
    mapping["insecure"] = json!(true);
    place.configure(mapping);
    for _ in 0..2 {
        let ended = timed(|| place.shop.run(&consume)).failed(69, "broker.insecure: without TLS");
        assert!(!ended.err.contains("hunter2"), "{ended:?}");
    }
}
