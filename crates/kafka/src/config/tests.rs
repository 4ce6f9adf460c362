// SPDX-License-Identifier: MIT OR Apache-2.0
//! Weakened, misspelt and leaking configurations.

use super::*;

const SCRAM: &str = "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\n\
    sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \
    username=\"billing\" password=\"hunter2\";\n";

fn read(text: &str, insecure: bool) -> Result<Settings, Misuse> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("client.properties"), text).unwrap();
    let config = Config {
        url: "kafka://localhost:9093".into(),
        properties: Some("client.properties".into()),
        insecure,
        streams: BTreeMap::new(),
    };
    config.read(dir.path())
}

fn refused(text: &str) -> Misuse {
    let misuse = read(text, true).unwrap_err();
    assert!(!format!("{misuse:?}").contains("hunter2"), "{misuse:?}");
    misuse
}

#[test]
fn a_password_is_read_and_never_shown() {
    let settings = read(SCRAM, false).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    let Some(Sasl::Password { mechanism, user, password }) = settings.security.sasl else {
        panic!("no password")
    };
    assert_eq!((mechanism, user.as_str()), ("SCRAM-SHA-512", "billing"));
    assert_eq!(password.reveal(), "hunter2");
    assert!(settings.security.tls.is_some_and(|tls| tls.ca.is_none() && tls.own.is_none()));
}

// Threat: a password and every message in the clear, because a line was forgotten.
#[test]
fn without_tls_nothing_connects_unless_the_word_is_there() {
    let plain = SCRAM.replace("SASL_SSL", "SASL_PLAINTEXT");
    for text in ["", "security.protocol=PLAINTEXT\n", &plain] {
        let misuse = read(text, false).unwrap_err();
        assert!(misuse.fix.contains("insecure: true"), "{misuse}");
        assert!(read(text, true).unwrap().security.tls.is_none());
    }
    let bare = Config {
        url: "kafka://localhost:9092".into(),
        properties: None,
        insecure: false,
        streams: BTreeMap::new(),
    };
    assert!(bare.clone().read(Path::new(".")).is_err());
    assert!(Config { insecure: true, ..bare }.read(Path::new(".")).is_ok());
}

// Threat: a setting that makes a Java client stricter, or looser, is passed over here.
#[test]
fn what_concerns_security_and_is_not_understood_is_refused_by_name() {
    for line in [
        "ssl.endpoint.identification.algorithm=",
        "ssl.endpoint.identification.algorithm=none",
        "ssl.cipher.suites=TLS_AES_256_GCM_SHA384",
        "ssl.enabled.protocols=TLSv1.3",
        "ssl.enabled.protocols=TLSv1,TLSv1.2",
        "ssl.protocol=TLSv1.1",
        "ssl.engine.factory.class=com.example.TrustAll",
        "ssl.trustmanager.algorithm=PKIX",
        "ssl.truststore.type=BKS\nssl.truststore.location=x",
        "ssl.truststore.location=no-such-file",
        "ssl.keystore.key=x",
        "ssl.new.setting=x",
        "sasl.login.class=com.example.Mine",
        "sasl.client.callback.handler.class=com.example.Mine",
        "sasl.kerberos.service.name=kafka",
        "security.providers=com.example.Provider",
        "config.providers=env",
        "security.protocol=SASL_SSLL",
        "sasl.mechanism=GSSAPI",
        "sasl.mechanism=OAUTHBEARER",
    ] {
        let misuse = refused(&format!("{SCRAM}{line}\n"));
        let key = line.split(['=', '\n']).next().unwrap();
        let named = misuse.at.contains(key) || line.starts_with("ssl.truststore.type");
        assert!(named || line.ends_with("OAUTHBEARER"), "{line}: {misuse}");
    }
    for line in ["ssl.enabled.protocols=TLSv1.3,TLSv1.2", "acks=1", "client.id=x"] {
        read(&format!("{SCRAM}{line}\n"), false).unwrap();
    }
}

#[test]
fn a_jaas_line_of_another_kind_is_refused() {
    for (from, to) in [
        ("scram.ScramLoginModule", "plain.PlainLoginModule"),
        ("username=\"billing\"", ""),
        ("username", "serviceName"),
        (";\n", " tokenauth=\"true\";\n"),
        (";\n", "\n"),
    ] {
        let misuse = refused(&SCRAM.replace(from, to));
        assert!(misuse.at.contains("sasl.jaas.config"), "{misuse}");
    }
}

#[test]
fn a_token_endpoint_without_tls_is_refused() {
    let oauth = "security.protocol=SASL_SSL\nsasl.mechanism=OAUTHBEARER\n\
        sasl.oauthbearer.token.endpoint.url=https://issuer/token\n\
        sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule \
        required clientId=\"billing\" clientSecret=\"hunter2\" scope=\"kafka\";\n";
    let settings = read(oauth, false).unwrap();
    assert!(!format!("{settings:?}").contains("hunter2"));
    let misuse = refused(&oauth.replace("https:", "http:"));
    assert!(misuse.at.contains("token.endpoint.url"), "{misuse}");
    let file = oauth.replace("https://issuer/token", "file:///run/token");
    let Some(Sasl::Token(TokenFrom::File(path))) = read(&file, false).unwrap().security.sasl else {
        panic!("no file")
    };
    assert_eq!(path, Path::new("/run/token"));
}

#[test]
fn a_url_names_hosts_and_ports_and_nothing_else() {
    for url in ["kafka://a:1", "kafka://a:1,b.c:2", "kafka://[::1]:9093/", "kafka://10.0.0.1:9092"]
    {
        servers(url).unwrap();
    }
    for url in [
        "kafka://",
        "kafka://a",
        "kafka://a:0",
        "kafka://a:65536",
        "kafka://a:1,",
        "kafka://::1:9093",
        "kafka://a b:1",
        "kafkas://a:1",
        "kafka://orders:hunter2@a:1",
        "kafka://a:1/topic",
    ] {
        let misuse = servers(url).unwrap_err();
        assert!(!misuse.to_string().contains("hunter2"), "{misuse}");
    }
}

#[test]
fn names_that_kafka_has_not_are_refused() {
    for name in ["", "a b", "a/b", "ä", &"x".repeat(250)] {
        let address = Address { topic: Some(name.into()), ..Address::default() };
        assert!(address.check("orders").is_err(), "{name}");
    }
    let address = Address { group: Some("shop.{group}".into()), ..Address::default() };
    address.check("orders").unwrap();
}
