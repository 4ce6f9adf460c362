// SPDX-License-Identifier: MIT OR Apache-2.0
//! To a pipe and to a program: at least once, in order, and never lost.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use crate::shop::{Ended, Running, Shop, eventually, ids, order};

const CONSUME: [&str; 4] = ["consume", "orders.created", "--group", "billing"];

fn with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&CONSUME[..], more].concat()
}

#[test]
fn max_stops_and_the_rest_comes_next_time() {
    let shop = Shop::new();
    let published = shop.publish(5);
    let first = shop.run(&with(&["--max", "2"]));
    assert_eq!(ids(&first), published[..2]);
    assert_eq!(ids(&shop.consume()), published[2..]);
    assert_eq!(shop.consume().ok(), "");
}

#[test]
fn a_closed_pipe_ends_it_and_the_message_comes_again() {
    let shop = Shop::new();
    let published = shop.publish(2);
    // More often than attempts are counted: nobody reading is no fault of the message.
    for _ in 0..7 {
        let mut running = Running::start(&shop, &with(&["--attempts", "2"]));
        drop(running.child.stdout.take());
        let (reader, _) = std::io::pipe().unwrap();
        drop(std::mem::replace(&mut running.lines, std::io::BufReader::new(closed(reader))));
        assert_eq!(running.wait(), 141);
    }
    assert_eq!(ids(&shop.consume()), published);
    assert_eq!(shop.run(&["kept", "ls"]).ok(), "nothing is set aside\n");
}

// Only to have something else to hold while the real pipe is dropped.
fn closed(_: std::io::PipeReader) -> std::process::ChildStdout {
    let mut child = std::process::Command::new("true");
    let child = child.stdout(std::process::Stdio::piped()).spawn();
    child.unwrap().stdout.take().unwrap()
}

#[test]
fn two_consumers_share_the_work_and_repeat_nothing() {
    let shop = Shop::new();
    let published: BTreeSet<String> = shop.publish(200).into_iter().collect();
    let start = || Running::start(&shop, &with(&["--idle-exit", "2"]));
    let mut both = [start(), start()];
    let mut seen = Vec::new();
    for running in &mut both {
        let mut text = String::new();
        running.lines.read_to_string(&mut text).unwrap();
        assert_eq!(running.wait(), 0);
        for line in text.lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            seen.push(line["id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(seen.len(), published.len());
    assert_eq!(seen.into_iter().collect::<BTreeSet<_>>(), published);
}

#[test]
fn a_program_gets_one_message_and_its_end_decides() {
    let shop = Shop::new();
    let published = shop.publish(1).remove(0);
    // Fails twice, then succeeds; each time under the same key and a higher fence.
    let script = "cat >> got; echo \"$CHANCERY_KEY $CHANCERY_FENCE\" >> tries; \
                  test $(wc -l < tries) -ge 3 || exit 75";
    shop.run(&with(&["--idle-exit", "2", "--exec", "sh", "-c", script])).ok();
    let keys = shop.read("tries");
    let keys: Vec<(&str, u64)> = keys
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(key, fence)| (key, fence.parse().unwrap()))
        .collect();
    assert_eq!(keys.len(), 3, "{keys:?}");
    assert!(keys.iter().all(|(key, _)| *key == keys[0].0));
    assert!(keys.windows(2).all(|two| two[0].1 < two[1].1));
    assert_eq!(shop.read("got").matches(&published).count(), 3);
    assert_eq!(shop.run(&["kept", "ls"]).ok(), "nothing is set aside\n");
}

#[test]
fn a_program_that_always_fails_or_dies_parks_its_message_and_no_other() {
    let shop = Shop::new();
    shop.publish(3);
    let script = "read line; case $line in *o_1*) exit 1;; *o_2*) kill -9 $$;; esac";
    let args = ["--idle-exit", "2", "--attempts", "2", "--exec", "sh", "-c", script];
    let ended = shop.run(&with(&args));
    assert!(ended.err.contains("1 handled"), "{ended:?}");
    let kept = shop.run(&["kept", "ls", "--reason", "E601"]).ok();
    assert_eq!(kept.lines().count(), 3, "{kept}");
    assert!(kept.contains("2 attempts; the last said: the program ended with 1"), "{kept}");
    assert!(kept.contains("the program died"), "{kept}");
}

#[test]
fn a_program_can_refuse_a_message() {
    let shop = Shop::new();
    shop.publish(1);
    shop.run(&with(&["--idle-exit", "1", "--exec", "sh", "-c", "exit 65"])).ok();
    assert!(shop.run(&["kept", "ls"]).ok().contains("E602_HANDLER_REFUSED"));
}

#[test]
fn a_program_that_hangs_is_ended_and_counted() {
    let shop = Shop::new();
    shop.publish(1);
    let args = ["--idle-exit", "1", "--attempts", "1", "--timeout", "1", "--exec", "sleep", "60"];
    shop.run(&with(&args)).ok();
    assert!(shop.run(&["kept", "ls"]).ok().contains("took too long"));
}

// What the program had started would go on and do its effect beside the next attempt's.
#[test]
fn what_a_program_has_started_ends_with_it() {
    let shop = Shop::new();
    shop.publish(1);
    let script = "sh -c 'sleep 2; echo done >> effect'; true";
    let args = ["--idle-exit", "2", "--attempts", "1", "--timeout", "1", "--exec", "sh", "-c"];
    shop.run(&with(&[&args[..], &[script]].concat())).ok();
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!shop.path("effect").exists());
}

// That nothing can be run is no fault of the messages.
#[test]
fn a_program_that_is_not_there_stops_at_once() {
    let shop = Shop::new();
    let published = shop.publish(2);
    for _ in 0..6 {
        shop.run(&with(&["--exec", "/nope/nope"])).failed(64, "--exec /nope/nope: cannot be run");
    }
    assert_eq!(ids(&shop.consume()), published);
}

// The shell would run what a message says.
#[test]
fn no_shell_reads_the_programs_arguments() {
    let shop = Shop::new();
    shop.publish(1);
    let ended = shop.run(&with(&["--max", "1", "--exec", "echo", "$(touch hacked); a  b"]));
    assert_eq!(ended.ok(), "$(touch hacked); a  b\n");
    assert!(!shop.path("hacked").exists());
}

#[test]
fn a_signal_finishes_the_message_in_hand() {
    for signal in ["INT", "TERM"] {
        let shop = Shop::new();
        let published = shop.publish(3);
        let script = "echo began >> began; sleep 1; cat >> done";
        let mut running = Running::start(&shop, &with(&["--exec", "sh", "-c", script]));
        eventually("the program runs", || shop.path("began").exists());
        running.signal(signal);
        assert_eq!(running.wait(), 0);
        assert!(shop.read("done").contains(&published[0]));
        assert_eq!(shop.read("done").lines().count(), 1);
        assert_eq!(ids(&shop.consume()), published[1..]);
    }
}

#[test]
fn who_may_not_handle_gets_nothing() {
    let shop = Shop::new();
    shop.publish(1);
    let consume = |args: &[&str]| shop.run(&[&["consume", "orders.created"], args].concat());
    consume(&["--group", "biling"]).failed(64, "did you mean `billing`?");
    consume(&["--group", "billing", "--as", "svc-payouts"]).failed(64, "is `svc-billing`");
    shop.run(&["consume", "order.created", "--group", "billing"]).failed(64, "did you mean");
    std::fs::remove_file(shop.path("keys/svc-billing.evidence.key")).unwrap();
    let ended = consume(&["--group", "billing", "--idle-exit", "1"]);
    let ended = ended.failed(64, "has no evidence key of `shop/dev/svc-billing`");
    assert_eq!(ended.out, "");
}

// A consumer that goes on reading a deleted file looks healthy and handles nothing.
#[test]
fn a_broker_replaced_beneath_it_ends_a_consumer() {
    let shop = Shop::new();
    shop.publish(1);
    let mut running = Running::start(&shop, &with(&["--patience", "0"]));
    running.next();
    std::fs::remove_dir_all(shop.path("data/broker")).unwrap();
    shop.publish(1);
    assert_eq!(running.wait(), 69);
    let told = running.told("E705_BROKER_DOWN");
    assert!(told.contains("while it was in use"), "{told}");
    assert_eq!(shop.consume().ok().lines().count(), 1, "the new one is served after a restart");
}

#[test]
fn a_broker_replaced_beneath_it_ends_a_publisher() {
    let shop = Shop::new();
    let mut child = shop
        .command(&["publish", "orders.created"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(order("o_1", 1).as_bytes()).unwrap();
    let mut id = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut id).unwrap();
    std::fs::remove_dir_all(shop.path("data/broker")).unwrap();
    stdin.write_all(order("o_2", 2).as_bytes()).unwrap();
    drop(stdin);
    let ended = Ended::of(child.wait_with_output().unwrap()).failed(69, "E705_BROKER_DOWN");
    assert!(ended.err.contains("lines 2 to 2 are not confirmed"), "{ended:?}");
}

// Nobody can repair what nobody names. The repair that `doctor` names must be one.
#[test]
fn an_unreadable_message_is_named_and_can_be_given_up() {
    let shop = Shop::new();
    shop.publish(3);
    let db = rusqlite::Connection::open(shop.path("data/broker/broker.db")).unwrap();
    db.execute("UPDATE message SET fields = x'00' WHERE offset = 2", []).unwrap();
    let ended = shop.consume().failed(69, "E705_BROKER_DOWN");
    assert!(ended.err.contains("message orders.created/2 cannot be read"), "{ended:?}");

    let ended = shop.run(&["--json", "doctor"]).failed(1, "");
    let checks = ended.json().remove(0)["checks"].as_array().unwrap().clone();
    let check = checks.iter().find(|check| check["check"] == "messages").unwrap();
    let says = check["says"].as_str().unwrap();
    assert!(says.starts_with("orders.created/2 (row 2 of `message`)"), "{says}");
    let fix = check["fix"].as_str().unwrap();
    let sql = fix.split('"').nth(1).unwrap();
    assert_eq!(db.execute(sql, []).unwrap(), 1, "{fix}");
    assert_eq!(shop.consume().ok().lines().count(), 2);
    shop.run(&["doctor"]).ok();
}
