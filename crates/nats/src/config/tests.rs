// SPDX-License-Identifier: MIT OR Apache-2.0
//! What people have in hand, and what is wrong with it, before anything connects.

use chancery_core::Misuse;
use serde_json::{Value, json};

use super::*;

// Made by the nk program of nats-io/nkeys, for these tests alone.
const SEED: &str = "SUAD53JZZ3MJU6ZSV5PT67I3KA7AJ67I2GQM7S2HNNHTQVE2PYZVQ2VFT4";
const PUBLIC: &str = "UC4UQWL53ZDXAQAYRLMQLWCL2TK3WEVQ67NKEAT63IYJ645ATYJJPPGA";

fn read(config: Value, folder: &Path) -> Result<Settings, Misuse> {
    let config: Config = serde_json::from_value(config).unwrap();
    config.read(folder)
}

fn refused(config: Value) -> Misuse {
    let folder = folder();
    read(config, folder.path()).unwrap_err()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("user.nk"), format!("{SEED}\n")).unwrap();
    folder
}

fn creds(claims: &Value, seed: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let jwt = format!("{}.{}.sig", part(&json!({"alg": "ed25519-nkey"})), part(claims));
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n*** secret ***\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

#[test]
fn a_stream_is_found_under_its_own_name_or_the_one_that_is_written() {
    let folder = folder();
    let config = json!({
        "url": "tls://a, b:1,[::1]:2", "nkey": {"file": "user.nk"}, "inbox": "_INBOX.billing",
        "domain": "hub",
        "streams": {"a.b": {"stream": "S", "subject": "x.y", "consumers": {"billing": "B"}}},
    });
    let settings = read(config, folder.path()).unwrap();
    let server = |host: &str, port| (host.to_owned(), port);
    assert_eq!(settings.servers, [server("a", 4222), server("b", 1), server("::1", 2)]);
    assert_eq!(settings.api, "$JS.hub.API");
    let names =
        |stream: &str, subject: &str| Names { stream: stream.into(), subject: subject.into() };
    assert_eq!(settings.names("a.b"), names("S", "x.y"));
    assert_eq!(settings.names("orders.created"), names("orders_created", "orders.created"));
    assert_eq!(settings.consumer("a.b", "billing"), "B");
    assert_eq!(settings.consumer("a.b", "audit"), "audit");
    assert_eq!(settings.identity.name().as_deref(), Some(PUBLIC));
}

// Threat: plaintext by a typing error; a password that an address carries into logs.
#[test]
fn what_is_not_safe_is_misuse_that_says_so() {
    for (config, at) in [
        (json!({"url": "nats://a"}), "broker.url"),
        (json!({"url": "tls://u:p@a"}), "broker.url"),
        (json!({"url": "nats://token@a", "insecure": true}), "broker.url"),
        (json!({"url": "tls://a,nats://b"}), "broker.url"),
        (json!({"url": "tls://a/b"}), "broker.url"),
        (json!({"url": "tls://"}), "broker.url"),
        (json!({"url": "tls://a:x"}), "broker.url"),
        (json!({"url": "wss://a"}), "broker.url"),
        (json!({"url": "nats:"}), "broker.url"),
        (json!({}), "broker.url"),
        (json!({"url": "nats://a", "insecure": true, "cert": "c"}), "broker.cert"),
        (json!({"url": "tls://a", "cert": "user.nk"}), "broker.cert"),
        (json!({"url": "tls://a", "ca": "user.nk"}), "broker.ca"),
        (json!({"url": "tls://a", "ca": "none"}), "broker.ca"),
        (json!({"url": "tls://a", "inbox": "a.>"}), "broker.inbox"),
        (json!({"url": "tls://a", "inbox": ""}), "broker.inbox"),
        (json!({"url": "tls://a", "domain": "a.b"}), "broker.domain"),
        (json!({"url": "tls://a", "streams": {"s": {"stream": "a.b"}}}), "broker.streams.s.stream"),
        (
            json!({"url": "tls://a", "streams": {"s": {"subject": "a.*"}}}),
            "broker.streams.s.subject",
        ),
        (
            json!({"url": "tls://a", "streams": {"s": {"consumers": {"g": "a b"}}}}),
            "broker.streams.s.consumers",
        ),
        (json!({"url": "tls://a", "nkey": {"file": "none"}}), "broker.nkey"),
        (json!({"url": "tls://a", "creds": "user.nk"}), "broker.creds"),
        (json!({"url": "tls://a", "creds": "x", "nkey": {"file": "y"}}), "broker.creds"),
        (json!({"url": "tls://a", "context": "./none.json"}), "broker.context"),
    ] {
        let misuse = refused(config.clone());
        assert_eq!(misuse.at, at, "{config}: {misuse}");
        assert!(!misuse.to_string().contains(SEED), "{config}");
        assert!(!misuse.to_string().contains("u:p"), "{config}");
    }
}

#[test]
fn credentials_are_a_jwt_and_its_own_seed() {
    let folder = folder();
    let write = |text: &str| std::fs::write(folder.path().join("user.creds"), text).unwrap();
    let config = || json!({"url": "tls://a", "creds": "user.creds"});
    write(&creds(&json!({"sub": PUBLIC, "name": "billing", "exp": 1_700_000_000}), SEED));
    let settings = read(config(), folder.path()).unwrap();
    assert_eq!(settings.identity.name(), Some(format!("billing ({PUBLIC})")));
    let Identity::Jwt { expires, .. } = &settings.identity else { panic!("no JWT") };
    assert_eq!(*expires, Some(1_700_000_000));
    assert!(!format!("{settings:?}").contains(SEED));
    for text in [
        creds(&json!({"sub": "UOTHER"}), SEED),
        creds(&json!({"sub": PUBLIC}), "SUNONE"),
        creds(&json!({"sub": PUBLIC}), ""),
        creds(&json!("none"), SEED),
        String::from("-----BEGIN NATS USER JWT-----"),
    ] {
        write(&text);
        let misuse = read(config(), folder.path()).unwrap_err();
        assert_eq!(misuse.at, "broker.creds", "{misuse}");
        assert!(!misuse.to_string().contains(SEED), "{misuse}");
    }
}

#[test]
fn a_context_of_the_nats_program_fills_in_what_is_not_written() {
    let folder = folder();
    let write = |context: &Value| {
        let path = folder.path().join("prod.json");
        std::fs::write(path, context.to_string()).unwrap();
    };
    let config = |more: Value| {
        let mut config = json!({"url": "nats:", "context": "./prod.json"});
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        config
    };
    let seed = folder.path().join("user.nk");
    write(&json!({
        "description": "x", "url": "tls://a:1", "nkey": seed, "inbox_prefix": "_INBOX.me",
        "jetstream_domain": "hub", "color_scheme": "", "user": "", "token": "",
    }));
    let settings = read(config(json!({})), folder.path()).unwrap();
    assert_eq!(settings.servers, [("a".to_owned(), 1)]);
    assert_eq!((settings.inbox.as_str(), settings.api.as_str()), ("_INBOX.me", "$JS.hub.API"));
    assert_eq!(settings.identity.name().as_deref(), Some(PUBLIC));
    let settings = read(config(json!({"inbox": "_INBOX.own", "url": "tls://b"})), folder.path());
    assert_eq!(settings.as_ref().unwrap().servers, [("b".to_owned(), 4222)]);
    assert_eq!(settings.unwrap().inbox, "_INBOX.own");
    // Threat: a context with a password, or without TLS, is not taken as it is.
    for member in ["user", "password", "token", "user_jwt", "user_seed", "nsc", "socks_proxy"] {
        write(&json!({"url": "tls://a", (member): "hunter2"}));
        let misuse = read(config(json!({})), folder.path()).unwrap_err();
        assert_eq!(misuse.at, "broker.context");
        assert!(misuse.what.contains(member) && !misuse.to_string().contains("hunter2"));
    }
    write(&json!({"url": "nats://a"}));
    assert_eq!(read(config(json!({})), folder.path()).unwrap_err().at, "broker.url");
    std::fs::write(folder.path().join("prod.json"), "hunter2").unwrap();
    let misuse = read(config(json!({})), folder.path()).unwrap_err();
    assert!(!misuse.to_string().contains("hunter2"), "{misuse}");
}

#[test]
fn an_unknown_member_is_refused() {
    for config in
        [json!({"url": "tls://a", "password": "x"}), json!({"streams": {"s": {"topic": "x"}}})]
    {
        assert!(serde_json::from_value::<Config>(config).is_err());
    }
}
