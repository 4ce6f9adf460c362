// SPDX-License-Identifier: MIT OR Apache-2.0
//! kill -9 in the middle, again and again: nothing is lost, and the log stays sound.

use std::collections::BTreeSet;

use crate::shop::{Running, Shop, ids};

#[test]
fn killed_in_the_middle_nothing_is_lost() {
    let shop = Shop::new();
    let published: BTreeSet<String> = shop.publish(120).into_iter().collect();
    let mut seen = BTreeSet::new();
    let mut repeated = 0;
    for round in 0..6 {
        let mut running =
            Running::start(&shop, &["consume", "orders.created", "--group", "billing"]);
        for _ in 0..5 + 3 * round {
            let id = running.next()["id"].as_str().unwrap().to_owned();
            repeated += usize::from(!seen.insert(id));
        }
        running.signal("KILL");
        running.wait();
    }
    let rest = shop.consume();
    repeated += ids(&rest).into_iter().filter(|id| !seen.insert(id.clone())).count();
    let missing: Vec<_> = published.difference(&seen).collect();
    // What was written and not read when its process was killed is lost with the pipe, and says so
    // in the record: it is done.
    for id in &missing {
        assert!(shop.run(&["evidence", "show", id]).ok().contains("done"), "{id} is lost");
    }
    assert!(repeated <= 6, "at most the message in hand comes again: {repeated}");
    assert!(shop.run(&["evidence", "verify"]).ok().contains("sound"));
    assert_eq!(shop.run(&["kept", "ls"]).ok(), "nothing is set aside\n");
}

#[test]
fn a_program_whose_consumer_is_killed_runs_again_under_the_same_key() {
    let shop = Shop::new();
    shop.publish(1);
    let script = "echo \"$CHANCERY_KEY $CHANCERY_FENCE\" >> ran; sleep 60";
    let consume = ["consume", "orders.created", "--group", "billing"];
    for round in 1..=2 {
        let exec = [&consume[..], &["--exec", "sh", "-c", script]].concat();
        let running = Running::start(&shop, &exec);
        crate::shop::eventually("the program runs", || {
            shop.path("ran").exists() && shop.read("ran").lines().count() == round
        });
        running.signal("KILL");
    }
    let ran = shop.read("ran");
    let ran: Vec<_> = ran.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(ran[0].0, ran[1].0);
    assert!(ran[0].1.parse::<u64>().unwrap() < ran[1].1.parse::<u64>().unwrap());
}
