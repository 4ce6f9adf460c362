// SPDX-License-Identifier: MIT OR Apache-2.0
//! Publish, consume, kept, status, doctor, evidence: on a real server as on the embedded broker.

use std::collections::BTreeSet;

use serde_json::json;

use crate::place::{Kind, Place};
use crate::shop::{Running, ids, order, orders};

const CONSUME: [&str; 4] = ["consume", "orders.created", "--group", "billing"];

fn consume<'a>(more: &[&'a str]) -> Vec<&'a str> {
    CONSUME.iter().copied().chain(more.iter().copied()).collect()
}

pub(crate) fn a_program_handles_what_was_published(kind: Kind) {
    let place = Place::new(kind);
    place.assume();
    let shop = &place.shop;
    let published = shop.publish(20);
    assert_eq!(published.len(), 20);
    let program = ["--max", "20", "--exec", "sh", "-c", "cat >> handled"];
    shop.run(&consume(&program)).ok();
    let handled = shop.read("handled");
    let handled: BTreeSet<&str> =
        handled.lines().map(|line| line.split('"').nth(3).unwrap()).collect();
    assert_eq!(handled.len(), 20, "{handled:?}");
    assert!(published.iter().all(|id| handled.contains(id.as_str())));

    let status = shop.run(&["--json", "status"]);
    assert_eq!(status.code, 0, "{status:?}");
    let status = status.json().remove(0);
    let group = &status["streams"][0]["groups"][0];
    assert!(group["lag"].is_null() || group["lag"] == 0, "{status}");
    assert_eq!(status["services"][0]["done"], 20, "{status}");
    let sealed = shop.run(&["evidence", "verify"]).ok();
    assert!(sealed.contains("sound"), "{sealed}");
    let explained = shop.run(&["explain", &published[0]]).ok();
    assert!(explained.contains("done"), "{explained}");

    let doctor = shop.run(&["doctor"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    for says in ["over TLS", "fresh within 15 min", "svc-billing"] {
        assert!(doctor.out.contains(says), "{says}: {}", doctor.out);
    }
}

// Threat: a crash loses what was taken, or does it twice.
pub(crate) fn killed_and_started_again_nothing_is_lost(kind: Kind) {
    let place = Place::new(kind);
    place.assume();
    let shop = &place.shop;
    let published: BTreeSet<String> = shop.publish(60).into_iter().collect();
    let (mut seen, mut repeated) = (BTreeSet::new(), 0);
    for round in 0..2 {
        let mut running = Running::start(shop, &CONSUME);
        for _ in 0..10 + round {
            let id = running.next()["id"].as_str().unwrap().to_owned();
            repeated += usize::from(!seen.insert(id));
        }
        running.signal("KILL");
        running.wait();
    }
    let idle = (kind.death_s() + 5).to_string();
    let rest = shop.run(&consume(&["--idle-exit", &idle]));
    repeated += ids(&rest).into_iter().filter(|id| !seen.insert(id.clone())).count();
    for id in published.difference(&seen) {
        // Written to the pipe of a process that was killed before it was read.
        assert!(shop.run(&["evidence", "show", id]).ok().contains("done"), "{id} is lost");
    }
    assert!(repeated <= 2, "at most the message in hand comes again: {repeated}");
    let status = shop.run(&["--json", "status"]).json().remove(0);
    assert_eq!(status["services"][0]["done"], 60, "each once: {status}");
    assert_eq!(shop.run(&["kept", "ls"]).ok(), "nothing is set aside\n");
}

pub(crate) fn two_consumers_share_a_group(kind: Kind) {
    let place = Place::new(kind);
    place.assume();
    let shop = &place.shop;
    let idle = (kind.death_s() + 5).to_string();
    let both = || {
        let args = consume(&["--idle-exit", &idle]);
        let shop = &place.shop;
        move || shop.run(&args)
    };
    let (first, second, published) = std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(both()), scope.spawn(both()));
        let published: Vec<String> = (0..10).flat_map(|_| shop.publish(10)).collect();
        (first.join().unwrap(), second.join().unwrap(), published)
    });
    let all: Vec<String> = ids(&first).into_iter().chain(ids(&second)).collect();
    let unique: BTreeSet<&String> = all.iter().collect();
    assert_eq!((first.code, second.code), (0, 0), "{first:?} {second:?}");
    assert_eq!(unique, published.iter().collect(), "nothing is lost");
    assert_eq!(all.len(), published.len(), "nothing is done twice");
}

// Threat: whoever may append says whatever he likes in anybody's name.
pub(crate) fn what_a_stock_client_sends_unsigned_is_set_aside(kind: Kind) {
    let place = Place::new(kind);
    place.assume();
    let shop = &place.shop;
    let body = chancery::core::text::b64u(order("o_evil", 1_000_000).trim_end().as_bytes());
    let key = chancery::core::text::b64u(b"o_evil");
    place.ask(json!({"do": "append", "stream": "orders.created", "fields": [], "key": key,
                     "body": body}));
    let honest = shop.fed(&["publish", "orders.created"], &orders(1)).ok();
    let idle = kind.death_s().to_string();
    let consumed = shop.run(&consume(&["--idle-exit", &idle]));
    assert_eq!(ids(&consumed), [honest.trim_end()], "{consumed:?}");
    let kept = shop.run(&["--json", "kept", "ls"]).json().remove(0);
    let kept = kept["kept"].as_array().unwrap();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0]["reason"], "E201_UNSIGNED");
    assert_eq!(kept[0]["disposition"], "quarantine");
}

// Threat: a stream that forgets, or has no clock, is taken for one that is as the policy says.
pub(crate) fn a_stream_that_is_not_as_promised_is_refused(kind: Kind) {
    let place = Place::new(kind);
    let shop = &place.shop;
    let setting = match kind {
        Kind::Nats => "sync_interval",
        Kind::RabbitMq => {
            // The operator has not said that this broker stamps the time.
            let mut mapping = place.mapping("admin");
            mapping["append_time"] = json!("none");
            place.configure(mapping);
            place.assume();
            "freshness: "
        }
        Kind::Kafka | Kind::Sqs => panic!("their own tests break them"),
    };
    shop.publish(1);
    let ended = shop.run(&consume(&["--idle-exit", "1"])).failed(64, "E901_CAPABILITY");
    assert!(ended.err.contains(setting) && ended.out.is_empty(), "{ended:?}");
    let doctor = shop.run(&["doctor"]).failed(1, "");
    assert!(doctor.out.contains("BROKEN for svc-billing as billing"), "{}", doctor.out);
}
