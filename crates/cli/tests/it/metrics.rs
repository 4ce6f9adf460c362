// SPDX-License-Identifier: MIT OR Apache-2.0
//! The little HTTP server, as Prometheus and as a nuisance.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::shop::{Running, Shop, eventually};

fn ask(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    response
}

fn serving(shop: &Shop) -> (Running, String) {
    let args = ["consume", "orders.created", "--group", "billing", "--metrics", "0"];
    let mut running = Running::start(shop, &args);
    let told = running.told("metrics at http://");
    let address = told.split("http://").nth(1).unwrap().trim_end_matches("/metrics").to_owned();
    (running, address)
}

#[test]
fn what_happens_can_be_scraped() {
    let shop = Shop::new();
    shop.publish(2);
    let (mut running, address) = serving(&shop);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    running.next();
    running.next();
    let metrics = || ask(&address, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    eventually("two are handled", || {
        metrics().contains("chancery_handled_total{stream=\"orders.created\"} 2")
    });
    let text = metrics();
    assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
    for gauge in ["lag_messages", "lag_seconds", "evidence_pending", "evidence_size", "ledger_rows"]
    {
        assert!(text.contains(&format!("chancery_state{{of=\"{gauge}\"}}")), "{gauge}: {text}");
    }
    let series = "chancery_kept_messages{stream=\"orders.created\",disposition=\"hold\"} 0";
    assert!(text.contains(series), "{series}: {text}");
    assert!(text.trim_end().ends_with("# EOF"));
    assert!(ask(&address, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("\r\n\r\nok\n"));
}

#[test]
fn anything_else_is_refused_and_nobody_blocks_it() {
    let shop = Shop::new();
    let (_running, address) = serving(&shop);
    assert!(ask(&address, "POST /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 405"));
    assert!(ask(&address, "GET /secret HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404"));
    assert!(ask(&address, "hello\r\n\r\n").starts_with("HTTP/1.1 400"));
    assert!(ask(&address, &"a".repeat(9000)).starts_with("HTTP/1.1 431"));
    // Connections that say nothing hold their places for a few seconds only.
    let silent: Vec<TcpStream> = (0..40).map(|_| TcpStream::connect(&address).unwrap()).collect();
    assert!(ask(&address, "GET /healthz HTTP/1.1\r\n\r\n").ends_with("ok\n"));
    drop(silent);
}

#[test]
fn an_address_in_use_is_told_before_the_first_message() {
    let shop = Shop::new();
    shop.publish(1);
    let (_running, address) = serving(&shop);
    let args = ["consume", "orders.created", "--group", "billing", "--metrics", &address];
    shop.run(&args).failed(64, "--metrics");
}

// An alert on a series that nobody exports never fires.
#[test]
fn every_series_of_an_alert_rule_is_exported() {
    let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/alerts/async-security.yml");
    let rules = std::fs::read_to_string(rules).unwrap();
    let words = rules.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let series: Vec<&str> = words.filter(|word| word.ends_with("_total")).collect();
    assert_eq!(series.len(), 3, "{series:?}");
    let shop = Shop::new();
    let broker = chancery_local::Broker::open(&shop.path("data/broker")).unwrap();
    broker.append_raw("orders.created", &[], None, Some(b"{}")).unwrap();
    let (_running, address) = serving(&shop);
    eventually("an unsigned message is counted", || {
        let text = ask(&address, "GET /metrics HTTP/1.1\r\n\r\n");
        series.iter().all(|series| text.contains(&format!("{series}{{stream=\"orders.created\"")))
    });
    for exact in [
        "expr: rate(queue_dlq_messages_total[5m]) > 5\n    for: 10m\n",
        "expr: rate(queue_authz_denies_total[5m]) > 20\n    for: 5m\n",
    ] {
        assert!(rules.contains(exact), "the rules of the source document stay as they are");
    }
}
