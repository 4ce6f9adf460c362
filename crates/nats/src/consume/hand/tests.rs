// SPDX-License-Identifier: MIT OR Apache-2.0
//! Pins that come, go and are doubted; what a dead receiver had comes first.

use chancery_core::{AppendTime, Timestamp};

use super::*;

const WAIT: Duration = Duration::from_secs(10);

fn came(hand: &mut Hand, pin: &str, sequence: u64) {
    let delivery = Delivery {
        stream: "s".into(),
        position: format!("s/{sequence}"),
        fields: Vec::new(),
        key: None,
        body: None,
        appended: AppendTime::Broker(Timestamp(0)),
        deliveries: 1,
    };
    hand.enter(Some(pin.to_owned()), sequence, (delivery, format!("ack-{sequence}").into(), 10));
}

fn given(hand: &mut Hand, now: Instant) -> Vec<u64> {
    hand.ready(100, now).0.iter().map(|(_, receipt)| receipt.sequence).collect()
}

/// A hand that has the pin, nothing missing.
fn settled(now: Instant) -> Hand {
    let mut hand = Hand::default();
    assert_eq!(hand.wanted(100, now, WAIT), Some(1), "one message is enough to get the pin");
    came(&mut hand, "a", 1);
    let (term, had) = hand.may_look(now + WAIT).unwrap();
    assert_eq!(had, 1);
    hand.ours_until(term, now + WAIT);
    hand.looked(term, 0, now);
    hand
}

// Threat: what is newer overtakes what a dead receiver had, and is done before it.
#[test]
fn nothing_is_handed_over_until_all_that_is_unacknowledged_is_here() {
    let now = Instant::now();
    let mut hand = Hand::default();
    came(&mut hand, "a", 9);
    let (term, _) = hand.may_look(now + WAIT).unwrap();
    hand.ours_until(term, now + WAIT * 3);
    assert_eq!(given(&mut hand, now), [] as [u64; 0]);
    assert_eq!(hand.wanted(100, now, WAIT), None, "it is not known yet what is missing");
    hand.looked(term, 2, now);
    assert_eq!(hand.wanted(100, now, WAIT), Some(2));
    hand.pull_begins("i", 2, now + WAIT);
    assert_eq!(hand.wanted(100, now, WAIT), None, "one pull at a time");
    came(&mut hand, "a", 10);
    came(&mut hand, "a", 11);
    assert_eq!(given(&mut hand, now), [] as [u64; 0]);
    hand.looked(term, 2, now);
    assert_eq!(hand.wanted(100, now, WAIT), None, "newer ones came: now it waits");
    let later = Instant::now() + WAIT;
    assert_eq!(hand.wanted(100, later, WAIT), Some(2));
    came(&mut hand, "a", 3);
    came(&mut hand, "a", 2);
    hand.looked(term, 0, now);
    assert_eq!(given(&mut hand, now), [2, 3, 9, 10, 11], "in the stream's order");
}

// Threat: two receivers have a message, since one does not know yet that its time is over.
#[test]
fn what_was_had_under_an_earlier_pin_is_lost() {
    let now = Instant::now();
    let mut hand = settled(now);
    let (batch, _) = hand.ready(1, now);
    let receipt = batch[0].1.clone();
    assert_eq!(hand.ack(&receipt, now).as_deref(), Some("ack-1"));
    came(&mut hand, "b", 2);
    assert_eq!(hand.ack(&receipt, now), None);
    assert!(hand.may_look(now + WAIT).is_some(), "it settles anew");
    let mut hand = settled(now);
    hand.lose();
    assert_eq!(given(&mut hand, now), [] as [u64; 0]);
    assert_eq!(hand.wanted(100, now, WAIT), Some(1));
}

// Threat: a pull of an old pin is filled with what is another receiver's, and both have the key.
#[test]
fn a_pull_that_names_a_pin_brings_no_other() {
    let now = Instant::now();
    let mut hand = settled(now);
    let receipt = hand.ready(1, now).0.remove(0).1;
    let old = hand.pull_begins("i", 5, now + WAIT);
    came(&mut hand, "another's", 2);
    assert!(hand.pin().is_none() && hand.ack(&receipt, now).is_none());
    assert!(hand.may_look(now + WAIT).is_none() && given(&mut hand, now).is_empty());
    came(&mut hand, "a", 3);
    assert!(hand.pin().is_some(), "the pin that it named may come again");
    hand.lose();
    assert!(hand.pull_ended(&old));
    hand.pull_begins("i", 1, now + WAIT);
    came(&mut hand, "b", 2);
    assert!(hand.pin().is_some_and(|(_, pin)| pin == "b"), "it named none: this is ours");
}

#[test]
fn a_pin_whose_time_is_over_is_doubted_and_then_gone_for_good() {
    let now = Instant::now();
    let mut hand = settled(now);
    came(&mut hand, "a", 2);
    let receipt = hand.ready(1, now).0.remove(0).1;
    let late = now + WAIT;
    assert!(!hand.is_doubtful(now) && hand.is_doubtful(late));
    assert_eq!(given(&mut hand, late), [] as [u64; 0]);
    assert!(hand.acks(late).is_empty(), "it keeps nothing alive that may be another's");
    // The server says that the pin is still ours: nobody had it in between.
    let (term, _) = hand.pin().unwrap();
    hand.ours_until(term, late + WAIT);
    assert!(hand.ack(&receipt, late).is_some());
    // It does not: what is asked for once is lost, also when the server says so later.
    assert!(hand.ack(&receipt, late + WAIT).is_none());
    hand.ours_until(term, late + WAIT * 3);
    assert!(hand.ack(&receipt, late + WAIT).is_none() && hand.pin().is_none());
}

#[test]
fn a_copy_of_what_is_in_hand_is_not_handed_over_again() {
    let now = Instant::now();
    let mut hand = settled(now);
    assert_eq!(given(&mut hand, now), [1]);
    came(&mut hand, "a", 1);
    assert_eq!(given(&mut hand, now), [] as [u64; 0]);
    hand.settled(1);
    came(&mut hand, "a", 1);
    assert_eq!(given(&mut hand, now), [1], "its acknowledgement came too late, or is lost");
}

// Threat: what was on its way when the connection broke comes behind what is newer.
#[test]
fn a_connection_that_is_back_settles_anew_and_keeps_what_it_has() {
    let now = Instant::now();
    let mut hand = settled(now);
    let receipt = hand.ready(1, now).0.remove(0).1;
    hand.pull_begins("i", 5, now + WAIT);
    hand.connection_is_back();
    came(&mut hand, "a", 3);
    assert_eq!(given(&mut hand, now), [] as [u64; 0]);
    let (term, had) = hand.may_look(now + WAIT).unwrap();
    assert_eq!((had, hand.ack(&receipt, now).is_some()), (2, true));
    hand.looked(term + 1, 0, now);
    assert_eq!(given(&mut hand, now), [] as [u64; 0], "that was about another time");
    hand.looked(term, 0, now);
    assert_eq!(given(&mut hand, now), [3]);
}

// Threat: what was acknowledged before the connection broke stands for what is missing, and newer
// messages overtake that.
#[test]
fn what_may_be_acknowledged_does_not_count_as_in_hand() {
    let now = Instant::now();
    let mut hand = settled(now);
    came(&mut hand, "a", 2);
    hand.leaves(1);
    hand.connection_is_back();
    let (term, had) = hand.may_look(now + WAIT).unwrap();
    assert_eq!(had, 1, "the server may count 2 and one that is on its way");
    hand.looked(term, 1, now);
    assert_eq!(given(&mut hand, now), [] as [u64; 0]);
    came(&mut hand, "a", 1);
    assert_eq!(
        hand.may_look(now + WAIT),
        Some((term, 2)),
        "it comes again: it was not acknowledged"
    );
}

#[test]
fn only_the_current_pull_is_ended_and_a_silent_one_is_asked_again() {
    let now = Instant::now();
    let mut hand = settled(now);
    let first = hand.pull_begins("i", 5, now + WAIT);
    assert!(hand.pull_ended(&first) && !hand.pull_ended(&first));
    let second = hand.pull_begins("i", 5, now + WAIT);
    assert!(!hand.pull_ended(&first));
    assert_eq!(hand.wanted(7, now, WAIT), None);
    assert_eq!(hand.wanted(7, now + WAIT, WAIT), Some(7));
    assert!(!hand.pull_ended(&second));
    hand.refused(now, false);
    assert_eq!(hand.wanted(7, now, WAIT), None);
    assert_eq!(hand.wanted(7, now + WAIT, WAIT), Some(7));
}

// Threat: a receiver whose every pull is refused looks like an empty stream for ever.
#[test]
fn refusals_that_do_not_end_are_asked_about() {
    let now = Instant::now();
    let mut hand = settled(now);
    assert!(!hand.refused(now, false) && !hand.asks_why());
    assert!(!hand.refused(now + OUTAGE / 2, false) && !hand.asks_why());
    hand.served();
    assert!(!hand.refused(now + OUTAGE, false) && !hand.asks_why(), "there was one in between");
    assert!(hand.refused(now + OUTAGE * 2, false) && hand.asks_why());
    assert!(!hand.refused(now + OUTAGE * 2, false) && !hand.asks_why(), "not at each one");
    assert!(!hand.refused(now + OUTAGE * 2, true) && hand.asks_why(), "nobody is there");
}

// Threat: a flood of large messages fills the memory of whoever holds them back.
#[test]
fn so_many_bytes_in_hand_are_enough() {
    let now = Instant::now();
    let mut hand = settled(now);
    assert_eq!(hand.wanted(7, now, WAIT), Some(7));
    hand.bytes = BYTES_MAX;
    assert_eq!(hand.wanted(7, now, WAIT), None);
    hand.bytes = 10;
    hand.settled(1);
    assert_eq!(hand.bytes, 0);
}
