// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reasons that only a memory can give: each case is a sequence of deliveries to one group.

use chancery_core::{AppendTime, Timestamp};
use chancery_testkit::vectors::Action;

use crate::cases::{Cases, Step, reads};
use crate::craft::{Copy, Message, SIGNED, b64u, quoted, sha256};
use crate::world::{DAY, MINUTE, SOURCE, World};

pub(crate) fn cases(cases: &mut Cases, world: &World) {
    duplicates(cases, world);
    equivocations(cases, world);
    scopes(cases, world);
    lateness(cases, world);
    handlers(cases, world);
    ordering(cases, world);
    forks(cases, world);
    parked_keys(cases, world);
    holds(cases, world);
    ladder(cases, world);
}

/// On a stream at `observe`, whose producer may still be unsigned.
fn ladder(cases: &mut Cases, world: &World) {
    let e212 = "E212_SIGNATURE_STRIPPED";
    let signed = || world.order().signed(&[&world.orders]);
    let bare = || world.order().bare();
    let tell = |from: &str, to: &str| bare().body(Some(SOURCE.replace(from, to).as_bytes()));
    let at = |copy: Copy, place: u64, expect: &str| {
        created(copy, expect).position(&format!("orders.created/{place}"))
    };
    let mut script = |name: &str, why: &str, steps: Vec<Step>| {
        cases.script(name, why, steps).snapshot = "observed".to_owned();
    };
    script(
        "ladder/latch",
        "once a producer has signed, its unsigned messages are refused on every rung",
        vec![
            at(bare(), 1, "ok"),
            at(signed(), 2, "ok"),
            at(tell("Z6K8X", "Z6K8Y"), 3, e212),
            at(signed(), 4, "E502_REPLAY"),
        ],
    );
    script(
        "ladder/unknown-key-after-latch",
        "a key that is not known here may be new and honest: held, not observed",
        vec![
            at(signed(), 1, "ok"),
            at(world.order().signed(&[&world.stranger]), 2, "E202_UNKNOWN_KEY"),
        ],
    );
    let stripped = signed().without("chancery-sig");
    script(
        "ladder/stripped",
        "a signature that was taken away is no honest absence on any rung",
        vec![at(stripped, 1, e212), at(bare(), 2, "ok")],
    );
    script(
        "ladder/attribute",
        "what contradicts the signed header is refused on every rung",
        vec![at(signed().field("ce_type", "orders.deleted"), 1, "E108_ENVELOPE_MISMATCH")],
    );
    let other = tell("\"producer\": \"svc-orders\"", "\"producer\": \"svc-shop\"");
    script(
        "ladder/unlisted",
        "who may be unsigned is written down; nobody else may",
        vec![at(other, 1, "E201_UNSIGNED")],
    );
    script(
        "ladder/replay",
        "replay is never laddered, signed or not",
        vec![at(bare(), 1, "ok"), at(bare(), 2, "E502_REPLAY"), at(bare(), 1, "E501_DUPLICATE")],
    );
}

fn created(copy: Copy, expect: &str) -> Step {
    Step::new("orders.created", copy, expect)
}

fn duplicates(cases: &mut Cases, world: &World) {
    let copy = || world.order().signed(&[&world.orders]);
    cases.script(
        "ledger/duplicate",
        "the broker delivers the same copy again",
        vec![created(copy(), "ok"), created(copy(), "E501_DUPLICATE").deliveries(2)],
    );
    cases.script(
        "ledger/replay",
        "somebody put another copy of the same bytes into the stream",
        vec![created(copy(), "ok"), created(copy(), "E502_REPLAY").position("orders.created/2")],
    );
    let later = (SIGNED + MINUTE).to_string();
    let lane = quoted(&b64u(&[8; 16]));
    let resigned = world.order().set("iat", &later).set("lane", &lane).set("seq", "9");
    let resigned = resigned.signed(&[&world.orders_next]);
    let step = created(resigned, "E501_DUPLICATE").position("orders.created/2");
    let step =
        step.appended(AppendTime::Broker(Timestamp(SIGNED + MINUTE))).now(SIGNED + 2 * MINUTE);
    let why = "a producer that crashed tells the same event again, signed anew from another boot";
    cases.script("ledger/duplicate-signed-anew", why, vec![created(copy(), "ok"), step]);
    let trace = "\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b8-01\"";
    let payload = r#"{ "order_id": "o_789", "amount": 129.50, "currency": "USD" }"#;
    let traced = world.order().tell("payload", payload).both("tp", trace).both("req", "\"r-2\"");
    let step = created(traced.signed(&[&world.orders]), "E501_DUPLICATE");
    let why = "of an envelope only the payload's bytes count: trace and request differ honestly";
    let steps = vec![created(copy(), "ok"), step.position("orders.created/2")];
    cases.script("ledger/duplicate-other-trace", why, steps);
    let salted = world.order().salted([7; 16]).signed(&[&world.orders]);
    let step = created(salted, "E501_DUPLICATE").position("orders.created/2");
    let why = "the salt differs between two signings of one event";
    cases.script("ledger/duplicate-salted", why, vec![created(copy(), "ok"), step]);
}

fn equivocations(cases: &mut Cases, world: &World) {
    let e503 = "E503_EQUIVOCATION";
    let copy = || world.order().signed(&[&world.orders]);
    let other = r#"{ "order_id": "o_789", "amount": 929.50, "currency": "USD" }"#;
    let other = || world.order().tell("payload", other).signed(&[&world.orders]);
    cases.script(
        "ledger/equivocation",
        "the same id with another amount; the first stands",
        vec![
            created(copy(), "ok"),
            created(other(), e503).position("orders.created/2"),
            created(copy(), "E501_DUPLICATE").deliveries(2),
        ],
    );
    cases.script(
        "ledger/equivocation-unfinished",
        "also while the first is not done",
        vec![
            created(copy(), "retry").handler(Action::Retry),
            created(other(), e503).position("orders.created/2"),
            created(copy(), "ok").deliveries(2).now(SIGNED + MINUTE),
        ],
    );
    let spelt = r#"{"order_id":"o_789","amount":129.5,"currency":"USD"}"#;
    let spelt = world.order().tell("payload", spelt).signed(&[&world.orders]);
    let step = created(spelt, e503).position("orders.created/2");
    let why = "129.50 and 129.5 are other bytes: there is no canonical form to hide behind";
    cases.script("ledger/equivocation-spelling", why, vec![created(copy(), "ok"), step]);
    let stored = |body: Option<&[u8]>, expect: &str, position: &str| {
        let copy = world.blob(body).signed(&[&world.orders]);
        Step::new("blobs.stored", copy, expect).position(position)
    };
    let why = "a null value and an empty body are two contents";
    cases.script(
        "ledger/equivocation-tombstone",
        why,
        vec![stored(None, "ok", "blobs.stored/1"), stored(Some(b""), e503, "blobs.stored/2")],
    );
}

fn scopes(cases: &mut Cases, world: &World) {
    let other = world.order().enveloped_again().both("ten", "\"t_456\"");
    let payload = r#"{ "order_id": "o_1", "amount": 1, "currency": "EUR" }"#;
    let other = other.tell("payload", payload).signed(&[&world.orders]);
    let first = created(world.order().signed(&[&world.orders]), "ok");
    let second = created(other, "ok").position("orders.created/2");
    let why = "ids belong to a tenant: nobody can take another's by using it first";
    cases.script("ledger/scope-tenant", why, vec![first, second]);
    let mirrored = |source: &str| {
        let message = world.order().enveloped_again().both("src", &quoted(source));
        message.set("aud", "\"example.org/test/orders.mirror\"")
    };
    let mirror = |copy: Copy, position: &str| {
        Step::new("orders.mirror", copy, "ok").position(&format!("orders.mirror/{position}"))
    };
    cases.script(
        "ledger/scope-producer-and-stream",
        "and to a producer, and to a stream",
        vec![
            created(world.order().signed(&[&world.orders]), "ok"),
            mirror(mirrored("svc-orders").signed(&[&world.orders]), "1"),
            mirror(mirrored("svc-shop").signed(&[&world.shop]), "2"),
        ],
    );
}

fn lateness(cases: &mut Cases, world: &World) {
    let copy = || world.order().signed(&[&world.orders]);
    let late = |expect: &str, position: &str| {
        let step = created(copy(), expect).position(position).now(SIGNED + DAY + MINUTE);
        step.appended(AppendTime::Broker(Timestamp(SIGNED + DAY)))
    };
    let e505 = "E505_LATE_PUBLISH";
    cases.script(
        "ledger/late-outstanding",
        "a redrive of what is known and not done may come late",
        vec![
            created(copy(), "retry").handler(Action::Retry),
            late("ok", "orders.created.dlq/1"),
            late("E502_REPLAY", "orders.created/9"),
        ],
    );
    let why = "a second late copy is no redrive: coming late must not make a message known";
    let steps = vec![late(e505, "orders.created/2"), late(e505, "orders.created/3")];
    cases.script("ledger/late-twice", why, steps);
    let steps = vec![late(e505, "orders.created/2"), late(e505, "orders.created/2").deliveries(2)];
    cases.script("ledger/late-redelivered", "nor a second delivery of the same one", steps);
}

fn handlers(cases: &mut Cases, world: &World) {
    let copy = || world.order().signed(&[&world.orders]);
    let failing = |expect: &str, count: u32| {
        let step = created(copy(), expect).deliveries(count).handler(Action::Retry);
        step.now(SIGNED + i64::from(count) * MINUTE)
    };
    let vector = cases.script(
        "handler/attempts",
        "three failures, then it is set aside",
        vec![
            failing("retry", 1),
            failing("retry", 2),
            failing("E601_ATTEMPTS", 3),
            created(copy(), "E601_ATTEMPTS").deliveries(4),
        ],
    );
    vector.attempts_max = Some(3);
    cases.script(
        "handler/refused",
        "the handler sets it aside",
        vec![created(copy(), "E602_HANDLER_REFUSED").handler(Action::Park)],
    );
    let change = |version: u64, quantity: &str, expect: &str| {
        let payload = format!("{{\"order_id\":\"o_1\",\"quantity\":{quantity}}}");
        let message = world.change("o_1", version).tell("payload", &payload);
        Step::new("orders.changed", message.signed(&[&world.orders]).key("o_1"), expect)
    };
    let steps = vec![change(1, "255", "ok")];
    cases.script("handler/type", "the handler's type holds it", steps).reads = reads("quantity");
    let why = "the schema admits 256, the handler's type does not";
    let steps = vec![change(1, "256", "E406_PAYLOAD_TYPE")];
    cases.script("handler/type-too-small", why, steps).reads = reads("quantity");
}

fn changed(message: Message, world: &World, version: u64, expect: &str) -> Step {
    let copy = message.signed(&[&world.orders]).key("o_1");
    Step::new("orders.changed", copy, expect).position(&format!("orders.changed/{version}"))
}

fn ordering(cases: &mut Cases, world: &World) {
    let plain =
        |version: u64, expect: &str| changed(world.change("o_1", version), world, version, expect);
    let other_key = Step::new(
        "orders.changed",
        world.change("o_2", 1).signed(&[&world.orders]).key("o_2"),
        "ok",
    );
    cases.script(
        "order/in-order",
        "1, 2, 3 of one key, and another key between",
        vec![
            plain(1, "ok"),
            plain(2, "ok"),
            other_key.position("orders.changed/9"),
            plain(3, "ok"),
        ],
    );
    cases.script(
        "order/gap",
        "2 has not come; 3 waits for it and then has its turn",
        vec![plain(1, "ok"), plain(3, "E511_GAP"), plain(2, "ok"), Step::again(2, "ok")],
    );
    cases.script(
        "order/gap-at-first",
        "the first version of a key is 1",
        vec![plain(2, "E511_GAP")],
    );
    let old = world.change("o_1", 1).both("id", "\"another-event-1\"");
    cases.script(
        "order/stale-version",
        "another event under a version that is past",
        vec![plain(1, "ok"), plain(2, "ok"), changed(old, world, 9, "E512_STALE_VERSION")],
    );
    let term = |version: u64, term: &str, expect: &str| {
        changed(world.change("o_1", version).set("ep", term), world, version, expect)
    };
    cases.script(
        "order/stale-term",
        "an instance that was replaced goes on writing",
        vec![term(1, "1", "ok"), term(2, "2", "ok"), term(3, "1", "E513_STALE_TERM")],
    );
    cases.script(
        "order/no-term-after-one",
        "leaving the term out does not get past it",
        vec![term(1, "1", "ok"), plain(2, "E513_STALE_TERM")],
    );
}

fn forks(cases: &mut Cases, world: &World) {
    let e516 = "E516_FORK";
    let first = || changed(world.change("o_1", 1), world, 1, "ok");
    let id = |message: &Message| {
        let digest = sha256(&[b"chancery/mid/1\n", message.h().as_bytes()]);
        quoted(&b64u(&digest[..16]))
    };
    let two = |previous: &str, expect: &str| {
        changed(world.change("o_1", 2).set("oph", previous), world, 2, expect)
    };
    let other = world.change("o_1", 1).both("id", "\"another-event-1\"");
    let steps = vec![first(), changed(other.clone(), world, 9, e516)];
    cases.script("order/fork-same-version", "two events claim version 1; the first stands", steps);
    let steps = vec![first(), two(&id(&world.change("o_1", 1)), "ok")];
    cases.script("order/follows", "it names the message before it", steps);
    let steps = vec![first(), two(&id(&other), e516)];
    cases.script("order/fork-other-previous", "it follows a message that we never had", steps);
}

fn parked_keys(cases: &mut Cases, world: &World) {
    let plain =
        |version: u64, expect: &str| changed(world.change("o_1", version), world, version, expect);
    let parked = || plain(1, "E602_HANDLER_REFUSED").handler(Action::Park);
    let other_key = Step::new(
        "orders.changed",
        world.change("o_2", 1).signed(&[&world.orders]).key("o_2"),
        "ok",
    );
    cases.script(
        "order/behind-parked",
        "setting aside is per key: what follows waits, other keys do not",
        vec![
            parked(),
            plain(2, "E604_BEHIND_PARKED"),
            plain(3, "E604_BEHIND_PARKED"),
            other_key.position("orders.changed/9"),
        ],
    );
    cases.script(
        "order/behind-released",
        "once it is done the others have their turn",
        vec![parked(), plain(2, "E604_BEHIND_PARKED"), Step::again(1, "ok"), Step::again(2, "ok")],
    );
}

fn holds(cases: &mut Cases, world: &World) {
    let e202 = "E202_UNKNOWN_KEY";
    let copy = || world.order().signed(&[&world.late]);
    cases.script(
        "hold/newer-bundle",
        "a key that we do not know yet: held, and good once we do",
        vec![
            created(copy(), e202),
            Step::again(1, e202).now(SIGNED + DAY),
            Step::again(1, "ok").now(SIGNED + 2 * DAY).snapshot("newer"),
        ],
    );
    cases.script(
        "hold/expired",
        "held for seven days and nobody vouched for it",
        vec![
            created(copy(), e202),
            Step::again(1, e202).now(SIGNED + 7 * DAY),
            Step::again(1, "E605_HOLD_EXPIRED").now(SIGNED + 8 * DAY),
        ],
    );
}
