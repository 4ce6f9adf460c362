// SPDX-License-Identifier: MIT OR Apache-2.0
//! Key validity, clocks, deadlines, horizon; lateness that no ledger excuses.

use chancery_core::{AppendTime, Timestamp};

use crate::cases::{Cases, Step};
use crate::craft::{Key, Message, SIGNED};
use crate::world::{DAY, MINUTE, World};

const L: i64 = 15 * MINUTE;
/// 15 min + 7 d + 7 d + 1 h + 1 min, the defaults.
const HORIZON: i64 = 14 * DAY + 76 * MINUTE;

pub(crate) fn cases(cases: &mut Cases, world: &World) {
    keys(cases, world);
    clocks(cases, world);
    deadlines(cases, world);
}

fn broker(ms: i64) -> AppendTime {
    AppendTime::Broker(Timestamp(ms))
}

fn keys(cases: &mut Cases, world: &World) {
    let (e206, e207) = ("E206_KEY_NOT_VALID_THEN", "E207_KEY_REVOKED");
    let signed = |key: &Key| world.order().signed(&[key]);
    let at = |message: Message, key: &Key, iat: i64, appended: AppendTime, expect: &str| {
        let copy = message.set("iat", &iat.to_string()).signed(&[key]);
        Step::new("orders.created", copy, expect).appended(appended)
    };
    let order = || world.order();
    let retired = &world.retired;
    let last = retired.sign_until;
    let young = &world.young;
    for (file, step, why) in [
        (
            "retired",
            Step::new("orders.created", signed(retired), e206),
            "signed a day after its last day",
        ),
        (
            "retired-last-moment",
            at(order(), retired, last, broker(last + L), "ok"),
            "the broker may take it L later",
        ),
        (
            "retired-too-late",
            at(order(), retired, last, broker(last + L + 1), e206),
            "and no later",
        ),
        (
            "retired-old-word",
            at(order(), retired, last, broker(SIGNED), e206),
            "the producer's own time does not excuse it",
        ),
        ("young", Step::new("orders.created", signed(young), e206), "not valid until tomorrow"),
        (
            "young-skew",
            at(order(), young, young.not_before - MINUTE, broker(young.not_before - MINUTE), "ok"),
            "clocks may be a minute apart",
        ),
        (
            "young-too-early",
            at(
                order(),
                young,
                young.not_before - MINUTE,
                broker(young.not_before - MINUTE - 1),
                e206,
            ),
            "and no more",
        ),
        (
            "unknown-time-signed-in-time",
            at(order(), &world.orders, SIGNED, AppendTime::Unknown, "ok"),
            "where the broker keeps no time the signing time has to do",
        ),
        (
            "unknown-time-retired",
            at(order(), retired, SIGNED, AppendTime::Unknown, e206),
            "it is judged too",
        ),
    ] {
        let step = if file.starts_with("young-") { step.now(SIGNED + DAY) } else { step };
        cases.one(&format!("freshness/key-{file}"), why, step);
    }
    let stolen = &world.compromised;
    let since = SIGNED + MINUTE;
    for (file, appended, expect, why) in [
        ("before", broker(since - 1), "ok", "the broker had it before the key was lost"),
        ("since", broker(since), e207, "from then on it proves nothing"),
        (
            "bounded",
            AppendTime::Bounded(Timestamp(SIGNED)),
            e207,
            "a time that a client chose proves nothing",
        ),
        ("unknown-time", AppendTime::Unknown, e207, "nor does none"),
    ] {
        let step = at(order(), stolen, SIGNED, appended, expect);
        cases.one(&format!("freshness/compromised-{file}"), why, step);
    }
    let copy = order().signed(&[&world.orders, stolen]);
    let step = Step::new("orders.created", copy, e207).appended(broker(since));
    cases.one("freshness/compromised-among-others", "every known signer must be good", step);
}

fn clocks(cases: &mut Cases, world: &World) {
    let copy = || world.order().signed(&[&world.orders]);
    let new = |expect| Step::new("orders.created", copy(), expect);
    for (file, step, why) in [
        (
            "signed-ahead",
            new("ok").appended(broker(SIGNED - MINUTE)),
            "clocks may be a minute apart",
        ),
        (
            "signed-too-far-ahead",
            new("E507_CLOCK").appended(broker(SIGNED - MINUTE - 1)),
            "a clock set forward would outlive the ledger",
        ),
        (
            "append-in-time",
            new("ok").appended(broker(SIGNED + L)).now(SIGNED + L),
            "L after signing",
        ),
        (
            "append-late",
            new("E505_LATE_PUBLISH").appended(broker(SIGNED + L + 1)).now(SIGNED + DAY),
            "kept back and put in later: no ledger knows it",
        ),
        (
            "append-late-bounded",
            new("E505_LATE_PUBLISH")
                .appended(AppendTime::Bounded(Timestamp(SIGNED + L + 1)))
                .now(SIGNED + DAY),
            "whoever stamped it",
        ),
        ("backlog", new("ok").now(SIGNED + 13 * DAY), "an outage refuses no backlog"),
        ("horizon", new("ok").now(SIGNED + HORIZON), "the last moment that the ledger remembers"),
        (
            "beyond-horizon",
            new("E506_BEYOND_HORIZON").now(SIGNED + HORIZON + 1),
            "the ledger has forgotten, so it must not run",
        ),
        (
            "beyond-horizon-unknown-time",
            new("E506_BEYOND_HORIZON").appended(AppendTime::Unknown).now(SIGNED + HORIZON + 1),
            "without the broker's time too",
        ),
        (
            "our-clock-behind",
            new("ok").now(SIGNED - DAY),
            "our own clock judges only deadline and horizon",
        ),
    ] {
        cases.one(&format!("freshness/{file}"), why, step);
    }
}

fn deadlines(cases: &mut Cases, world: &World) {
    let payout = || world.payout().signed(&[&world.payments]);
    let new = |expect| Step::new("payouts.requested", payout(), expect);
    let event = world.order().set("exp", &(SIGNED + MINUTE).to_string()).signed(&[&world.orders]);
    for (file, step, why) in [
        ("command-in-time", new("ok").now(SIGNED + MINUTE), "until its deadline"),
        (
            "command-expired",
            new("E508_EXPIRED").now(SIGNED + MINUTE + 1),
            "an order of yesterday is not obeyed today",
        ),
        (
            "event-expired",
            Step::new("orders.created", event, "E508_EXPIRED").now(SIGNED + DAY),
            "an event may have a deadline too",
        ),
    ] {
        cases.one(&format!("freshness/{file}"), why, step);
    }
}
