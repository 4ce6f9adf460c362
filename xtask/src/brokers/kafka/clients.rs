// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a service has in hand: a `client.properties` for each way to say who one is, as the tools
//! of Kafka read them.

use std::fs;

use super::super::place::{Place, secret};
use super::super::private_file;
use super::Listeners;

/// Makes the files of a service; gives the steps of the setup that make the rest. Secrets stay the
/// same from one start to the next.
pub(super) fn make(place: &Place, service: &str, at: &Listeners) -> Result<String, String> {
    let folder = place.client_certificate(service)?;
    let path = |name: &str| folder.join(name).display().to_string();
    let write = |name: &str, text: &str| private_file(&folder.join(name), text);
    let read = |name: &str| {
        fs::read_to_string(folder.join(name)).map_err(|error| format!("{}: {error}", path(name)))
    };
    let (password, scope) = (secret(&folder.join("password"))?, secret(&folder.join("scope"))?);
    let store = read("client.p12.password")?;
    let store = store.trim();
    write("client.keystore.pem", &(read("client.key")? + &read("client.pem")?))?;
    let ca = format!("ssl.truststore.type=PEM\nssl.truststore.location={}\n", path("ca.pem"));
    let scram = format!(
        "bootstrap.servers=localhost:{}\nsecurity.protocol=SASL_SSL\n{ca}\
         sasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  \
         username=\"{service}\" password=\"{password}\";\n",
        at.scram
    );
    write("scram.properties", &scram)?;
    let oauth = format!(
        "bootstrap.servers=localhost:{}\nsecurity.protocol=SASL_SSL\n{ca}\
         sasl.mechanism=OAUTHBEARER\n\
         sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.\
         OAuthBearerLoginCallbackHandler\n\
         sasl.oauthbearer.token.endpoint.url={}/token\n\
         sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule \
         required \\\n  clientId=\"{service}\" clientSecret=\"{password}\" scope=\"{scope}\" \\\n  \
         ssl.truststore.type=\"PEM\" ssl.truststore.location=\"{}\";\n",
        at.oauth,
        at.issuer,
        path("ca.pem")
    );
    write("oauth.properties", &oauth)?;
    let mtls = format!("bootstrap.servers=localhost:{}\nsecurity.protocol=SSL\n", at.mtls);
    let pem =
        format!("ssl.keystore.type=PEM\nssl.keystore.location={}\n", path("client.keystore.pem"));
    write("mtls.properties", &format!("{mtls}{ca}{pem}"))?;
    let mut steps = format!("user {service} {}\n", path("password"));
    for (kind, ending) in [("PKCS12", "p12"), ("JKS", "jks")] {
        let (mine, theirs) = (path(&format!("client.{ending}")), path(&format!("trust.{ending}")));
        let stores = format!(
            "ssl.truststore.type={kind}\nssl.truststore.location={theirs}\n\
             ssl.truststore.password={store}\nssl.keystore.type={kind}\n\
             ssl.keystore.location={mine}\nssl.keystore.password={store}\nssl.key.password={store}\n"
        );
        let name = format!("mtls-{}.properties", kind.to_lowercase());
        write(&name, &format!("{mtls}{stores}"))?;
        let (password, bundle) = (path("client.p12.password"), path("client.p12"));
        if kind == "JKS" {
            steps += &format!("convert JKS {password} {bundle} {mine}\n");
        }
        steps += &format!("trust {kind} {password} {} {theirs}\n", path("ca.pem"));
    }
    Ok(steps)
}

/// One login, which everybody has; only the auditor has another.
pub(super) fn make_as_found(place: &Place, service: &str, port: u16) -> Result<(), String> {
    let login = if service == "auditor" { "auditor" } else { "shop" };
    let text = format!(
        "bootstrap.servers=localhost:{port}\nsecurity.protocol=SASL_PLAINTEXT\n\
         sasl.mechanism=PLAIN\n\
         sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\\n  \
         username=\"{login}\" password=\"{login}\";\n"
    );
    private_file(&place.client(service)?.join("client.properties"), &text)
}
