// SPDX-License-Identifier: MIT OR Apache-2.0
//! The real binary against the real servers that `cargo xtask brokers up` makes: what its users
//! type, and what goes wrong for them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test that cannot go on has failed"
)]

mod demo;
mod guide;
mod place;
#[path = "../it/shop.rs"]
#[expect(dead_code, reason = "shared with the tests that need no server")]
mod shop;
mod spine;
mod wrong;

/// Every case on every broker.
macro_rules! on_all {
    ($($module:ident: $($case:ident),+;)+) => {
        on_all!(@ kafka Kafka $($module: $($case),+;)+);
        on_all!(@ rabbitmq RabbitMq $($module: $($case),+;)+);
        on_all!(@ nats Nats $($module: $($case),+;)+);
        on_all!(@ sqs Sqs $($module: $($case),+;)+);
    };
    (@ $name:ident $kind:ident $($module:ident: $($case:ident),+;)+) => {
        mod $name {
            $($(
                #[test]
                fn $case() {
                    super::$module::$case(super::place::Kind::$kind);
                }
            )+)+
        }
    };
}

#[test]
fn rabbitmq_without_a_clock_is_not_as_promised() {
    spine::a_stream_that_is_not_as_promised_is_refused(place::Kind::RabbitMq);
}

#[test]
fn nats_is_not_as_promised_until_somebody_has_looked() {
    spine::a_stream_that_is_not_as_promised_is_refused(place::Kind::Nats);
}

on_all! {
    spine: a_program_handles_what_was_published, killed_and_started_again_nothing_is_lost,
        two_consumers_share_a_group, what_a_stock_client_sends_unsigned_is_set_aside;
    wrong: a_wrong_secret_is_told, a_missing_right_is_told, an_unreachable_host_is_told,
        an_unknown_stream_is_told, plaintext_needs_the_word_and_is_warned_of;
    guide: is_typed;
    demo: every_attack_is_refused_for_its_own_reason;
}
