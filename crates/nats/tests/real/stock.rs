// SPDX-License-Identifier: MIT OR Apache-2.0
//! What others' clients publish arrives as it is: nothing trimmed, merged, sorted, or fatal.

use std::time::Duration;

use chancery::{Broker, Promise, Source};
use chancery_core::{Delivery, Field};
use chancery_testkit::conformance::{STREAM, finish, take};
use serde_json::{Value, json};

use crate::world::{Corner, administer, config, connect, name, placed, server, subject, tool};

async fn first(corner: &Corner) -> Delivery {
    let broker = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    let mut source = broker.subscribe(STREAM, "g").await.unwrap();
    take(&mut source, 1).await.remove(0).0
}

fn fields(delivery: &Delivery) -> Vec<(String, Vec<u8>)> {
    delivery.fields.iter().map(|field| (field.name.clone(), field.value.to_vec())).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
}

fn ran(mut command: std::process::Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Threat: a duplicate, or another case, that one reader hides and another believes.
#[tokio::test]
async fn the_nats_program_sends_duplicates_and_cases() {
    let corner = Corner::new();
    let folder = server().client("admin");
    let mut nats = tool("nats");
    nats.args(["--no-context", "-s", &server().endpoint("client"), "--tlsca"]);
    nats.arg(folder.join("ca.pem")).arg("--nkey").arg(folder.join("user.nk"));
    nats.args(["req", &format!("{}.k", subject(&corner.id)), "a body", "--raw"]);
    for header in ["chancery:1", "chancery:2", "Chancery:3", "CHANCERY:4", "x:a b: c"] {
        nats.args(["-H", header]);
    }
    ran(nats);
    let delivery = first(&corner).await;
    let mut got = fields(&delivery);
    got.sort();
    // The program keeps names in a map: their order is its own.
    let mut want = pairs(&[
        ("CHANCERY", "4"),
        ("Chancery", "3"),
        ("chancery", "1"),
        ("chancery", "2"),
        ("x", "a b: c"),
    ]);
    want.sort();
    assert_eq!(got, want);
    assert_eq!(delivery.key.as_deref(), Some(&b"k"[..]));
    assert_eq!(delivery.body.as_deref(), Some(&b"a body"[..]));
}

const PYTHON: &str = "
import asyncio, sys, nats
url, ca, seed, subject, head = sys.argv[1:]
async def main():
    import ssl
    tls = ssl.create_default_context(cafile=ca)
    client = await nats.connect(url, tls=tls, nkeys_seed=seed)
    if head:
        block, body = head.encode('latin-1').decode('unicode_escape').encode('latin-1'), b'raw'
        sent = f'HPUB {subject} {len(block)} {len(block) + len(body)}\\r\\n'.encode()
        await client._send_command(sent + block + body + b'\\r\\n')
        await client.flush()
    else:
        headers = {'chancery': '{}', 'Chancery-Sig': 'x', 'empty': ''}
        await client.jetstream().publish(subject, b'a body', headers=headers)
    await client.close()
asyncio.run(main())
";

fn python(corner: &Corner, key: &str, head: &str) {
    let folder = server().client("admin");
    let mut python = tool("python");
    python.args(["-c", PYTHON, &server().endpoint("client")]);
    python.arg(folder.join("ca.pem")).arg(folder.join("user.nk"));
    python.args([&format!("{}.{key}", subject(&corner.id)), head]);
    ran(python);
}

#[tokio::test]
async fn a_client_in_python_is_read() {
    let corner = Corner::new();
    python(&corner, "=C3=BC", "");
    let delivery = first(&corner).await;
    let want = pairs(&[("chancery", "{}"), ("Chancery-Sig", "x"), ("empty", "")]);
    assert_eq!(fields(&delivery), want);
    assert_eq!(delivery.key.as_deref(), Some("ü".as_bytes()));
}

/// Threat: one message that ends every consumer of a stream, or makes it come round for ever.
#[tokio::test]
async fn no_header_block_stops_what_comes_behind_it() {
    let corner = Corner::new();
    let blocks = [
        "NATS/1.0\\r\\nx: a\\rb\\r\\n\\r\\n",
        "NATS/1.0\\r\\nx: \\xff\\xfe\\r\\n\\xff: y\\r\\n\\r\\n",
        "NATS/1.0\\r\\nno colon\\r\\n continued\\r\\n\\r\\n",
        "NATS/1.0 408 Request Timeout\\r\\nNats-Pin-Id: mine\\r\\n\\r\\n",
        "NATS/1.0 503\\r\\n\\r\\n",
        "NATS/1.0\\r\\n\\r\\n\\r\\n\\r\\n",
        "NATS/1.0",
        "NATS/1.0\\r\\nNats-Pin-Id: AAAAAA",
    ];
    for block in blocks {
        python(&corner, "k", block);
    }
    python(&corner, "k", "");
    let broker = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    let mut source = broker.subscribe(STREAM, "g").await.unwrap();
    let mut all = Vec::new();
    while all.len() <= blocks.len() {
        let batch = source.receive(10, Duration::from_secs(20)).await.unwrap();
        assert!(!batch.is_empty(), "it stops behind {}", all.len());
        for (delivery, receipt) in batch {
            all.push(delivery);
            source.acknowledge(vec![receipt]).await.unwrap();
        }
    }
    assert_eq!(fields(&all[0]), pairs(&[("x", "a\rb")]));
    assert_eq!(all[1].fields[0].value.as_ref(), b"\xff\xfe");
    assert_eq!(fields(&all[2]), pairs(&[("no colon", ""), (" continued", "")]));
    assert_eq!(fields(&all[3]), pairs(&[("Nats-Pin-Id", "mine")]));
    assert_eq!(all[4].body.as_deref(), Some(&b"raw"[..]));
    assert_eq!(all[blocks.len()].body.as_deref(), Some(&b"a body"[..]));
    let lag = broker.lag(STREAM, "g").await.unwrap();
    assert_eq!(lag.messages, Some(0));
}

/// A copy that the server makes of a whole stream, as a second source of the same messages.
#[tokio::test]
async fn a_mirror_and_a_sourced_stream_are_read_byte_for_byte() {
    let corner = Corner::new();
    python(
        &corner,
        "k",
        "NATS/1.0\\r\\nchancery:  a \\r\\nChancery: b\\r\\nchancery: c\\r\\n\\r\\n",
    );
    let original = first(&corner).await;
    for (copy, how) in [("mirror", "mirror"), ("sourced", "sources")] {
        let id = format!("{}{copy}", corner.id);
        let of = json!({"name": name(&corner.id)});
        let of = if how == "mirror" { of } else { json!([of]) };
        let made = json!({"name": name(&id), "storage": "file", (how): of});
        let (subject, mut reader) = crate::world::consumer(&id, "g");
        reader["config"]["filter_subject"] = "".into();
        administer(vec![(format!("$JS.API.STREAM.CREATE.{}", name(&id)), made), (subject, reader)]);
        let mut there = placed(config("admin"), &corner.id);
        there["streams"][STREAM]["stream"] = name(&id).into();
        let broker = connect(&there).await.unwrap();
        let mut source = broker.subscribe(STREAM, "g").await.unwrap();
        let (delivery, _) = take(&mut source, 1).await.remove(0);
        let ours = |field: &&Field| !field.name.starts_with("Nats-");
        let got: Vec<&Field> = delivery.fields.iter().filter(ours).collect();
        assert!(got == original.fields.iter().collect::<Vec<_>>(), "{got:?} in a {copy}");
        assert_eq!(delivery.key, original.key);
        let live = broker.inspect(STREAM, None).await.unwrap();
        let late = live.findings.iter().any(|finding| finding.promise == Promise::Freshness);
        match copy {
            // The server keeps a mirror's times; those of other copies are their own, and said so.
            "mirror" => assert_eq!((delivery.appended, late), (original.appended, false)),
            _ => assert!(delivery.appended.at() > original.appended.at() && late),
        }
        let gone = format!("$JS.API.STREAM.DELETE.{}", name(&id));
        administer(vec![(gone, Value::Null)]);
    }
    let broker = connect(&placed(config("admin"), &corner.id)).await.unwrap();
    let mut source = broker.subscribe(STREAM, "billing").await.unwrap();
    assert_eq!(finish(&mut source, 1).await, ["raw"]);
}
