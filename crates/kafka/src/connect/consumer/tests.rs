// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is remembered of a partition, across a rebalance. No broker is asked.

use super::*;
use crate::config::Security;

struct Nobody;

impl Holder for Nobody {
    fn has_room(&self) -> bool {
        true
    }
    fn take(&self, _: Incoming) -> bool {
        false
    }
    fn may_go_on(&self, _: &Place, _: i64) -> bool {
        true
    }
    fn assigned(&self, _: Vec<Mark>) -> Vec<(Place, Option<i64>)> {
        Vec::new()
    }
    fn wanted(&self, _: &[Place]) {}
    fn let_go(&self, _: &[Place]) -> bool {
        false
    }
    fn gone(&self, _: &[Place]) {}
    fn trouble(&self, _: Option<Trouble>) {}
}

fn member() -> BaseConsumer<Member> {
    let member = Member {
        context: Context::new(&Security::plain()),
        holder: Arc::new(Nobody),
        leaving: Mutex::default(),
        blocked: Mutex::default(),
        unknown: Mutex::default(),
        closing: AtomicBool::new(false),
    };
    // Of no group: whatever is asked fails at once.
    rdkafka::ClientConfig::new().create_with_context(member).unwrap()
}

fn place(partition: i32) -> Place {
    Place { topic: "t".into(), partition }
}

// Threat: a partition that was blocked is lost and comes back; it goes on at the old offset, and
// what lies between is settled unseen.
#[test]
fn a_partition_that_goes_is_blocked_no_longer() {
    for closing in [false, true] {
        let consumer = member();
        let member = consumer.context();
        member.closing.store(closing, Ordering::Release);
        lock(&member.blocked).extend([(place(0), 7), (place(1), 8)]);
        lock(&member.unknown).extend([place(0), place(1)]);
        let mut list = TopicPartitionList::new();
        list.add_partition("t", 0);
        member.rebalance(
            &consumer,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS,
            &mut list,
        );
        assert_eq!(*lock(&member.blocked), [(place(1), 8)]);
        assert_eq!(*lock(&member.unknown), [place(1)]);
    }
}

// Threat: a partition that could not be wound back is forgotten as blocked, and stays paused.
#[test]
fn a_partition_that_cannot_go_on_yet_is_tried_again() {
    let consumer = Arc::new(member());
    lock(&consumer.context().blocked).push((place(0), 7));
    let poller = Poller {
        holder: Arc::new(Nobody),
        stop: Arc::default(),
        full_since: None,
        paused: false,
        probed: Instant::now(),
        asked: Instant::now(),
        down: false,
        topic: "t".into(),
        consumer,
    };
    // It is not this member's: the library refuses.
    poller.unblock();
    assert_eq!(*lock(&poller.consumer.context().blocked), [(place(0), 7)]);
}

// Threat: where the group is cannot be asked for a moment, and the partition is nobody's until the
// next rebalance, its records thrown away.
#[test]
fn a_partition_where_the_group_is_not_known_waits() {
    let consumer = member();
    let member = consumer.context();
    let mut list = TopicPartitionList::new();
    list.add_partition("t", 0);
    member.assign(&consumer, &list);
    assert_eq!(*lock(&member.unknown), [place(0)]);
    assert!(member.is_blocked(&place(0)));
    member.begin_late(&consumer);
    assert_eq!(*lock(&member.unknown), [place(0)]);
}

// Threat: a header field's name that is no text stops every receiver of the topic.
#[test]
fn what_the_library_cannot_read_is_no_panic_of_ours() {
    assert_eq!(unless_unreadable(|| 1), Some(1));
    assert_eq!(unless_unreadable::<u8>(|| panic!("not UTF-8")), None);
}
