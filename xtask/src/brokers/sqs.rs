// SPDX-License-Identifier: MIT OR Apache-2.0
//! An SQS-compatible server that checks signatures and IAM policies: ministack, from PyPI. It keeps
//! nothing: each start makes queues, users and access keys anew.

use std::process::Command;

use super::place::{Fixture, Place, Up};
use super::process::{listens, output};
use super::{SERVICES, install, private_file};

/// Young, and tests rely on what it answers: pinned.
const VERSION: &str = "1.5.33";
/// The server, and boto3, the client that everybody else uses.
const PACKAGES: [&str; 3] = ["ministack==1.5.33", "boto3==1.43.106", "cryptography==50.0.2"];
const SETUP: &str = include_str!("sqs/setup.py");
/// The server checks no signature of its root's key: the set-up has it, and no secret for it.
const ROOT: &str = "test";

pub(super) fn up(place: &Place) -> Result<Up, String> {
    let what = format!("ministack {VERSION} and boto3 from PyPI (95 MB, half a minute)");
    let venv = install::pip(place, &format!("ministack-{VERSION}"), &what, &PACKAGES)?;
    let port = place.port("sqs")?;
    let mut server = Command::new(venv.join("bin/ministack"));
    server
        .env("AUTH", "true")
        .env("BIND_HOST", "127.0.0.1")
        .env("GATEWAY_PORT", port.to_string())
        .env("MINISTACK_HOST", "localhost")
        .env("PERSIST_STATE", "0")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY")
        .env("TMPDIR", place.folder("tmp")?)
        .env("S3_DATA_DIR", place.folder("s3")?)
        .env("STATE_DIR", place.folder("state")?);
    let scheme = match place.fixture {
        Fixture::Hardened => {
            server
                .env("USE_SSL", "1")
                .env("MINISTACK_SSL_CERT", place.pki.join("server.pem"))
                .env("MINISTACK_SSL_KEY", place.pki.join("server.key"));
            "https"
        }
        Fixture::AsFound => "http",
    };
    place.start(&server, || listens(port))?;
    let url = format!("{scheme}://localhost:{port}");
    for service in SERVICES {
        place.client(service)?;
    }
    let script = place.home.join("setup.py");
    private_file(&script, SETUP)?;
    let mut setup = Command::new(venv.join("bin/python"));
    setup
        .arg(&script)
        .env("AWS_ACCESS_KEY_ID", ROOT)
        .env("AWS_SECRET_ACCESS_KEY", ROOT)
        .env_remove("AWS_SESSION_TOKEN")
        .env_remove("AWS_PROFILE")
        .env("ENDPOINT", &url)
        .env("CA", place.pki.join("ca.pem"))
        .env("CLIENTS", place.folder("clients")?)
        .env("FIXTURE", place.fixture.name());
    if let Err(why) = output(&mut setup) {
        place.kill();
        return Err(why);
    }
    Ok(Up::new(&format!("ministack {VERSION}"), &[("sqs", url)]))
}
