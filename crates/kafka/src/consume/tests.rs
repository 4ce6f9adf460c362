// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is in hand, and what becomes of it. No broker is asked.

use bytes::Bytes;
use rdkafka::error::RDKafkaErrorCode;

use super::*;
use crate::connect::consumer::Stamp;

fn held() -> Held {
    Held {
        stream: "s".into(),
        doing: Doing::Receive { topic: "t".into(), group: "g".into() },
        times: Mutex::default(),
        state: Mutex::default(),
        changed: Notify::new(),
    }
}

fn place(partition: i32) -> Place {
    Place { topic: "t".into(), partition }
}

fn assign(held: &Held, partition: i32, offset: i64) {
    held.assigned(vec![Mark {
        place: place(partition),
        offset: Some(offset),
        note: String::new(),
    }]);
}

fn record(partition: i32, offset: i64, bytes: usize) -> Incoming {
    Incoming {
        place: place(partition),
        offset,
        stamp: Stamp::Broker(0),
        key: None,
        body: Some(Bytes::from(vec![0; bytes])),
        fields: Vec::new(),
    }
}

/// Takes what waits into hand.
fn hand(held: &Held) -> Vec<KafkaReceipt> {
    held.lock().give(usize::MAX).into_iter().map(|(_, receipt)| receipt).collect()
}

// Threat: a record of a partition that is not known yet is thrown away, and never comes again.
#[test]
fn what_comes_before_it_is_known_where_to_begin_is_not_taken() {
    let held = held();
    assert!(!held.take(record(0, 0, 1)));
    assign(&held, 0, 0);
    assert!(held.take(record(0, 0, 1)));
    assert_eq!(hand(&held).len(), 1);
}

// Threat: "acknowledged", and yet it comes again, to somebody else.
#[test]
fn what_has_moved_is_not_acknowledged_nor_what_was_with_it() {
    let held = held();
    assign(&held, 0, 0);
    assign(&held, 1, 0);
    assert!(held.take(record(0, 0, 1)) && held.take(record(1, 0, 1)));
    let receipts = hand(&held);
    held.gone(&[place(0)]);
    assert!(held.lock().settle(receipts.clone()).is_none());
    assert!(held.lock().marks(&receipts).is_none());
    assert_eq!(held.lock().marks(&receipts[1..]).unwrap()[0].1, 0);
    // It comes back: what was in hand before is still not its.
    assign(&held, 0, 0);
    assert!(held.lock().settle(receipts[..1].to_vec()).is_none());
    let settled = held.lock().settle(receipts[1..].to_vec()).unwrap();
    assert_eq!(held.lock().marks(&settled).unwrap()[0].1, 1);
    // Twice is no fault.
    assert_eq!(held.lock().settle(receipts[1..].to_vec()).unwrap().len(), 0);
}

// Threat: the place that a group had is gone, others' records come, and nobody is told.
#[test]
fn a_place_that_is_gone_stays_a_fault() {
    let held = held();
    assign(&held, 0, 0);
    held.trouble(Some(Trouble::new(RDKafkaErrorCode::AutoOffsetReset, "out of range")));
    assert!(held.take(record(0, 0, 1)));
    held.trouble(None);
    assign(&held, 1, 0);
    assert!(held.halted().unwrap_err().detail.contains("no longer there"));
}

// Threat: large messages in the window, and no memory left.
#[test]
fn what_is_in_hand_counts_by_its_bytes() {
    let held = held();
    assign(&held, 0, 0);
    let mut receipts = Vec::new();
    for offset in 0.. {
        if !held.has_room() {
            break;
        }
        assert!(offset < 1_000, "there is no end");
        assert!(held.take(record(0, offset, 1 << 20)));
        receipts.extend(hand(&held));
    }
    assert!(receipts.len() <= BYTES_MAX >> 20);
    // What was fetched ahead has an end too.
    let ahead = (1_000..).take_while(|offset| held.take(record(0, *offset, 1 << 20))).count();
    assert!((1..=QUEUE_BYTES_MAX >> 20).contains(&ahead), "{ahead}");
    held.lock().queue.clear();
    held.lock().queue_bytes = 0;
    let one = held.lock().settle(receipts.split_off(1)).unwrap();
    held.lock().settled(&one);
    assert!(held.has_room());
    held.gone(&[place(0)]);
    assert!(held.lock().partitions.is_empty());
}

/// As if it had been told so long ago.
fn age(held: &Held, by: Duration) {
    let mut state = held.lock();
    let (since, told, trouble) = state.trouble.take().unwrap();
    state.trouble = Some((since - by, told - by, trouble));
}

// Threat: a trouble that is long over, and a quiet topic that faults for ever.
#[test]
fn trouble_is_over_when_it_is_not_told_again() {
    let held = held();
    let told = |code| held.trouble(Some(Trouble::new(code, "it")));
    let is_fault = || held.told(DOWN).is_err();
    told(RDKafkaErrorCode::Fail);
    assert!(is_fault());
    age(&held, OVER + Duration::from_secs(1));
    assert!(!is_fault());
    told(RDKafkaErrorCode::Fail);
    assert!(is_fault());
    assign(&held, 0, 0);
    assert!(!is_fault());
    // A right that is missing is told once, a broker that is down until it is there.
    for code in
        [RDKafkaErrorCode::TopicAuthorizationFailed, RDKafkaErrorCode::BrokerTransportFailure]
    {
        told(code);
        age(&held, 10 * OVER);
        assert!(is_fault(), "{code:?}");
        assign(&held, 0, 0);
    }
}
