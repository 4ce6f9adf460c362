// SPDX-License-Identifier: MIT OR Apache-2.0
//! boto3, the client that everybody else uses.

use std::io::Write;
use std::process::{Command, Stdio};

use chancery_testkit::servers;
use serde_json::Value;

use crate::stock::Corner;

const PROGRAM: &str = include_str!("boto.py");

/// Does what is asked as a service; gives what was answered. Keys and what is sent go through
/// files and standard input.
pub(crate) fn run(corner: &Corner, service: &str, ask: &Value) -> Value {
    let root = servers::pki("ca.pem").ancestors().nth(2).unwrap().to_owned();
    let cache = std::fs::read_dir(root.join("cache")).unwrap().map(|entry| entry.unwrap().path());
    let python = cache
        .map(|folder| folder.join("bin/python"))
        .find(|python| python.exists() && python.to_string_lossy().contains("/ministack-"));
    let client = corner.server().client(service);
    let mut child = Command::new(python.expect("run `cargo xtask brokers up sqs`"))
        .args(["-c", PROGRAM])
        .env("AWS_SHARED_CREDENTIALS_FILE", client.join("credentials"))
        .env("AWS_CONFIG_FILE", "/dev/null")
        .env("ENDPOINT", corner.endpoint())
        .env("CA", client.join("ca.pem"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(ask.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "boto3 failed: {}", output.status);
    serde_json::from_slice(&output.stdout).unwrap()
}
