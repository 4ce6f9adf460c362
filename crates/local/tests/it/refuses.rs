// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the broker refuses, clearly, and loses nothing by.

use std::fs;
use std::path::Path;
use std::time::Duration;

use chancery::{Sink, Source};
use chancery_core::{Fault, FaultKind, Field};
use chancery_local::{BODY_BYTES_MAX, Broker, FIELDS_BYTES_MAX, FIELDS_MAX, KEY_BYTES_MAX};
use chancery_testkit::conformance::{finish, message, silent};
use rusqlite::Connection;

fn refused(dir: &Path, words: &[&str]) {
    let fault = Broker::open(dir).unwrap_err();
    let file = dir.join("broker.db").display().to_string();
    assert_eq!(fault.kind, FaultKind::Broker);
    for word in words.iter().copied().chain([file.as_str()]) {
        assert!(fault.detail.contains(word), "`{word}` is not in: {fault}");
    }
}

#[test]
fn a_file_that_is_no_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.db");
    let text = "not a database, but long enough to have a header ".repeat(40);
    fs::write(&file, &text).unwrap();
    refused(dir.path(), &["not a broker's", "name another directory"]);
    assert_eq!(fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn another_programs_database_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("broker.db");
    Connection::open(&file).unwrap().execute_batch("CREATE TABLE theirs (x)").unwrap();
    let before = fs::read(&file).unwrap();
    refused(dir.path(), &["another program's", "name another directory"]);
    assert_eq!(fs::read(&file).unwrap(), before);
}

#[test]
fn a_newer_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(Broker::open(dir.path()).unwrap());
    let db = Connection::open(dir.path().join("broker.db")).unwrap();
    db.pragma_update(None, "user_version", 2).unwrap();
    refused(dir.path(), &["version 2", "knows 1", "newer"]);
}

#[test]
fn a_damaged_file_is_a_fault_and_never_an_empty_stream() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for _ in 0..200 {
        broker.append_raw("a.b", &[], None, Some(&[7; 1_000])).unwrap();
    }
    drop(broker);
    let file = dir.path().join("broker.db");
    let mut bytes = fs::read(&file).unwrap();
    bytes.iter_mut().skip(4_096).for_each(|b| *b = 0xa5);
    fs::write(&file, bytes).unwrap();
    let fault = Broker::open(dir.path())
        .and_then(|broker| broker.browse("a.b", 1, 500).map(drop))
        .unwrap_err();
    assert!(fault.detail.contains("the file is damaged"), "{fault}");
    assert!(fault.detail.contains("restore"), "{fault}");
}

#[test]
fn header_fields_that_were_tampered_with_are_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    broker.append_raw("a.b", &[Field::new("n", "v")], None, None).unwrap();
    let db = Connection::open(dir.path().join("broker.db")).unwrap();
    for fields in [&[0, 0, 0, 9, 1][..], &[255; 8], &[0, 0], &[0, 0, 0, 0], &[0; 8 * 129]] {
        db.execute("UPDATE message SET fields = ?1", [fields]).unwrap();
        let fault = broker.browse("a.b", 1, 1).unwrap_err();
        assert!(
            fault.detail.contains("message a.b/1 cannot be read: its header fields"),
            "{fault}"
        );
    }
}

// One bad row stops a stream: who repairs it must be told which.
#[tokio::test]
async fn an_unreadable_message_is_named() {
    use chancery::Source;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for stream in ["a.b", "c.d"] {
        for _ in 0..300 {
            broker.append_raw(stream, &[], None, Some(b"x")).unwrap();
        }
    }
    assert_eq!(broker.unreadable(10).unwrap(), []);
    let db = Connection::open(dir.path().join("broker.db")).unwrap();
    let spoil = "UPDATE message SET fields = x'00' WHERE offset = 290";
    assert_eq!(db.execute(spoil, []).unwrap(), 2);
    let found = broker.unreadable(10).unwrap();
    let positions: Vec<_> = found.iter().map(|one| one.position.as_str()).collect();
    assert_eq!(positions, ["a.b/290", "c.d/290"]);
    assert!(found.iter().all(|one| one.why.contains("header fields")), "{found:?}");
    assert_eq!(broker.unreadable(1).unwrap().len(), 1);

    let mut source = broker.subscribe("c.d", "g").unwrap();
    let fault = source.receive(300, std::time::Duration::ZERO).await.unwrap_err();
    assert!(fault.detail.contains("message c.d/290 cannot be read"), "{fault}");
}

// A row that no append made must not make us allocate what it says.
#[tokio::test]
async fn a_row_larger_than_any_append_is_a_fault() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    broker.append_raw("a.b", &[], None, None).unwrap();
    let db = Connection::open(dir.path().join("broker.db")).unwrap();
    db.execute("UPDATE message SET body = zeroblob(20000000)", []).unwrap();
    let fault = broker.browse("a.b", 1, 1).unwrap_err();
    assert!(fault.detail.contains("message a.b/1 cannot be read: it is larger"), "{fault}");
}

#[tokio::test]
async fn a_full_disk_is_told_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap().with_quota(1 << 20).unwrap();
    let body = [b'x'; 10_000];
    let mut appended = 0;
    let fault: Fault = loop {
        match broker.append_raw("a.b", &[], Some(b"k"), Some(&body)) {
            Ok(_) => appended += 1,
            Err(fault) => break fault,
        }
        assert!(appended < 200, "the quota does not hold");
    };
    assert!(fault.detail.contains("full") && fault.detail.contains("nothing was"), "{fault}");
    let batch = vec![message(None, &"y".repeat(9_000)); 30];
    broker.append(&batch).await.unwrap_err();
    assert!(appended > 10);
    let mut source = broker.subscribe("a.b", "g").unwrap();
    assert_eq!(finish(&mut source, appended).await.len(), appended);
    silent(&mut source).await;
    assert!(broker.browse("orders.created", 0, 10).unwrap().is_empty(), "half a batch");
    let roomier = broker.with_quota(1 << 24).unwrap();
    let next = roomier.append_raw("a.b", &[], None, Some(&body)).unwrap();
    assert_eq!(next, i64::try_from(appended).unwrap() + 1, "a refused append used an offset");
}

#[test]
fn names_out_of_the_grammar_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    for stream in ["", "a..b", "../x", "a b", "a/b", "é", "a.b\n", &"x".repeat(129)] {
        assert!(broker.append_raw(stream, &[], None, None).is_err(), "{stream:?}");
        assert!(broker.subscribe(stream, "g").is_err(), "{stream:?}");
    }
    for group in ["", ".hidden", "a b", "a/b", &"x".repeat(65)] {
        assert!(broker.subscribe("a.b", group).is_err(), "{group:?}");
    }
    assert!(broker.redrive("a.b").unwrap_err().detail.contains(".dlq"));
    assert!(broker.streams().unwrap().is_empty());
}

#[test]
fn sizes_out_of_bounds_are_refused_before_they_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let append = |fields: &[Field], key: usize, body: usize| {
        broker.append_raw("a.b", fields, Some(&vec![0; key]), Some(&vec![0; body]))
    };
    let many = vec![Field::new("n", "v"); FIELDS_MAX + 1];
    let long = [Field::new("n", vec![0; FIELDS_BYTES_MAX])];
    for too_much in [
        append(&[], 0, BODY_BYTES_MAX + 1),
        append(&[], KEY_BYTES_MAX + 1, 0),
        append(&many, 0, 0),
        append(&long, 0, 0),
    ] {
        assert!(too_much.unwrap_err().detail.contains("send less"));
    }
    append(&many[1..], KEY_BYTES_MAX, BODY_BYTES_MAX).unwrap();
    assert_eq!(broker.browse("a.b", 0, 10).unwrap().len(), 1);
}

// The lock files' names come from the file: they must not lead anywhere else.
#[tokio::test]
async fn an_owner_with_a_path_for_a_name_is_a_fault() {
    use chancery::Source;
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::open(dir.path()).unwrap();
    let precious = dir.path().join("precious");
    fs::write(&precious, "x").unwrap();
    let db = Connection::open(dir.path().join("broker.db")).unwrap();
    db.execute("INSERT INTO owner (name, until) VALUES ('../precious', 0)", []).unwrap();
    let mut source = broker.subscribe("a.b", "g").unwrap();
    let fault = source.receive(1, std::time::Duration::ZERO).await.unwrap_err();
    assert!(fault.detail.contains("name of an owner"), "{fault}");
    assert!(precious.exists());
}

#[cfg(unix)]
#[test]
fn only_its_user_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("deep/broker");
    let broker = Broker::open(&home).unwrap();
    broker.append_raw("a.b", &[], None, None).unwrap();
    for (path, mode) in
        [("", 0o700), ("owners", 0o700), ("broker.db", 0o600), ("broker.db-wal", 0o600)]
    {
        let found = fs::metadata(home.join(path)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{path}: {found:o}");
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let fault = Broker::open(&file).unwrap_err();
    assert!(fault.detail.contains("cannot be made"), "{fault}");
}

// A folder that is restored or made anew beneath a running program: it must not go on with the one
// that is gone, neither appending to it nor reading it.
#[tokio::test]
async fn a_file_that_is_gone_or_another_is_a_fault_and_not_the_past() {
    let dir = tempfile::tempdir().unwrap();
    let (here, away) = (dir.path().join("broker"), dir.path().join("away"));
    let broker = Broker::open(&here).unwrap();
    broker.append_raw("orders.created", &[], None, Some(b"1")).unwrap();
    let mut source = broker.subscribe("orders.created", "g").unwrap();
    std::fs::rename(&here, &away).unwrap();
    for made_anew in [false, true] {
        if made_anew {
            Broker::open(&here).unwrap();
        }
        let words = if made_anew { "was replaced" } else { "is gone" };
        let received = source.receive(1, Duration::ZERO).await.map(|_| ());
        let appended = broker.append_raw("orders.created", &[], None, Some(b"2")).map(|_| ());
        for told in [received, appended] {
            let fault = told.unwrap_err();
            assert!(fault.detail.contains(words), "{}", fault.detail);
        }
    }
    let mut of_old = Broker::open(&away).unwrap().subscribe("orders.created", "h").unwrap();
    assert_eq!(of_old.receive(9, Duration::ZERO).await.unwrap().len(), 1);
}
