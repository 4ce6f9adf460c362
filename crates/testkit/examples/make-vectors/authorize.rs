// SPDX-License-Identifier: MIT OR Apache-2.0
//! May this producer say this, here, for this tenant, and may this reader have it?

use crate::cases::{Cases, Step};
use crate::craft::{Copy, Message, SIGNED, quoted};
use crate::world::{MINUTE, World};

const E301: &str = "E301_GRANT";
const E302: &str = "E302_WRONG_DESTINATION";
const E303: &str = "E303_TYPE";
const E304: &str = "E304_TENANT";
const E402: &str = "E402_SCHEMA_TOO_OLD";

pub(crate) fn cases(cases: &mut Cases, world: &World) {
    destinations(cases, world);
    producers(cases, world);
    readers(cases, world);
    contents(cases, world);
    tenants(cases, world);
    keys(cases, world);
}

fn destinations(cases: &mut Cases, world: &World) {
    for (file, aud, why) in [
        ("stream", "example.org/test/orders.mirror", "put into another stream of ours"),
        ("environment", "example.org/prod/orders.created", "from production into the test"),
        ("domain", "example.com/test/orders.created", "from another house"),
        ("longer", "example.org/test/orders.created.eu", "a stream whose name begins alike"),
        ("shorter", "example.org/test/orders", "a stream whose name this one begins with"),
        ("case", "example.org/test/Orders.created", "names are compared byte for byte"),
    ] {
        let copy = world.order().set("aud", &quoted(aud)).signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E302);
        cases.one(&format!("authorize/destination-{file}"), why, step);
    }
}

fn producers(cases: &mut Cases, world: &World) {
    let unlisted = |copy: Message| copy.set("aud", "\"example.org/test/orders.unknown\"");
    let copy = unlisted(world.order()).signed(&[&world.orders]);
    let why = "a stream that nobody wrote down does not exist";
    cases.one("authorize/stream-unlisted", why, Step::new("orders.unknown", copy, E301));
    let by = |source: &str| world.order().enveloped_again().both("src", &quoted(source));
    for (file, copy, why) in [
        (
            "producer-not-owner",
            by("svc-shop").signed(&[&world.shop]),
            "it signs well and may not publish here",
        ),
        (
            "producer-not-signer",
            by("svc-orders").signed(&[&world.shop]),
            "svc-shop says that it is svc-orders",
        ),
        (
            "producer-other-signer",
            by("svc-shop").signed(&[&world.orders]),
            "nor may svc-orders speak for svc-shop",
        ),
        (
            "producer-unlisted",
            by("svc-nobody").signed(&[&world.orders]),
            "a name that the policy does not have",
        ),
    ] {
        cases.one(&format!("authorize/{file}"), why, Step::new("orders.created", copy, E301));
    }
    let copy = world.change("o_1", 1).signed(&[&world.orders]).key("o_1");
    let why = "svc-orders has the role that owns the stream";
    cases.one("authorize/producer-by-role", why, Step::new("orders.changed", copy, "ok"));
    for (file, sender, why) in [
        ("sender-other", "svc-shop", "the key is svc-orders', the connection was svc-shop's"),
        ("sender-nobody", "", "the broker vouches for senders, and for none here"),
    ] {
        let copy = world.order().signed(&[&world.orders]).field("chancery-sender", sender);
        let step = Step::new("orders.created", copy, E301);
        cases.one(&format!("authorize/{file}"), why, step);
    }
    let copy = world.order().signed(&[&world.orders]).field("chancery-sender", "svc-orders");
    let step = Step::new("orders.created", copy, "ok");
    cases.one("authorize/sender-same", "the broker says so too", step);
    let copy = world.change("o_1", 1).enveloped_again().both("src", "\"svc-shop\"");
    let copy = copy.signed(&[&world.shop]).key("o_1");
    cases.one(
        "authorize/producer-without-role",
        "svc-shop has not",
        Step::new("orders.changed", copy, E301),
    );
}

fn readers(cases: &mut Cases, world: &World) {
    for (file, service, group, why) in [
        ("other-group", "svc-billing", "audit", "that group is another service"),
        ("unlisted-group", "svc-billing", "billing-2", "a group that nobody wrote down"),
        ("other-service", "svc-shop", "billing", "that group is svc-billing"),
        ("unlisted-service", "svc-nobody", "billing", "a service that nobody wrote down"),
    ] {
        let copy = world.order().signed(&[&world.orders]);
        let step = Step::new("orders.created", copy, E301);
        let vector = cases.script(&format!("authorize/reader-{file}"), why, vec![step]);
        (vector.reader.service, vector.reader.group) = (service.to_owned(), group.to_owned());
    }
}

fn contents(cases: &mut Cases, world: &World) {
    let order = || world.order().enveloped_again();
    let deadline = (SIGNED + MINUTE).to_string();
    let signed = |message: Message| message.signed(&[&world.orders]);
    let typ = "\"application/xml\"";
    for (file, copy, expect, why) in [
        (
            "kind-command",
            signed(order().set("kind", "\"command\"").set("exp", &deadline)),
            E303,
            "a command smuggled in as an event",
        ),
        (
            "kind-canary",
            signed(order().set("kind", "\"canary\"")),
            E303,
            "no policy can grant a canary yet",
        ),
        (
            "kind-lane",
            signed(order().set("kind", "\"lane\"")),
            E303,
            "heartbeats stay on control streams",
        ),
        (
            "kind-void",
            signed(order().set("kind", "\"void\"")),
            E303,
            "voids stay on control streams",
        ),
        (
            "type-unlisted",
            signed(order().both("typ", "\"orders.deleted\"")),
            E303,
            "a type that the stream does not carry",
        ),
        (
            "version-older",
            signed(order().both("sv", "1")),
            E402,
            "a schema that was too lax and is gone",
        ),
        ("version-newer", signed(order().both("sv", "4")), E402, "a schema that is not there yet"),
        (
            "content-type",
            signed(order().set("ct", typ)),
            "E113_CONTENT_TYPE",
            "a parser that nobody asked for",
        ),
        (
            "content-opaque",
            signed(order().set("ct", "\"application/octet-stream\"")),
            "E113_CONTENT_TYPE",
            "opaque bytes would pass by the schema",
        ),
    ] {
        cases.one(&format!("authorize/{file}"), why, Step::new("orders.created", copy, expect));
    }
    let event = world.payout().set("kind", "\"event\"").signed(&[&world.payments]);
    let why = "an event on a command stream: no deadline would be asked of it";
    cases.one("authorize/kind-event", why, Step::new("payouts.requested", event, E303));
    let blob = |size: usize| world.blob(Some(&vec![b'b'; size])).signed(&[&world.orders]);
    cases.one("authorize/size-largest", "1024 bytes", Step::new("blobs.stored", blob(1024), "ok"));
    let step = Step::new("blobs.stored", blob(1025), "E114_STREAM_SIZE");
    cases.one("authorize/size-too-large", "and one byte", step);
}

fn tenants(cases: &mut Cases, world: &World) {
    let order = || world.order().enveloped_again();
    let none = order().without("ten").untold("tenant_id").signed(&[&world.orders]);
    let unlisted = order().both("ten", "\"t_999\"").signed(&[&world.orders]);
    for (file, copy, why) in [
        ("missing", none, "a stream with tenants refuses a message without one"),
        ("unlisted", unlisted, "a tenant that the stream does not carry"),
    ] {
        cases.one(
            &format!("authorize/tenant-{file}"),
            why,
            Step::new("orders.created", copy, E304),
        );
    }
    let change = world.change("o_1", 1).set("ten", "\"t_123\"").tell("tenant_id", "\"t_123\"");
    let copy = change.signed(&[&world.orders]).key("o_1");
    let why = "a stream without tenants refuses a message with one";
    cases.one("authorize/tenant-unexpected", why, Step::new("orders.changed", copy, E304));
    let mirror = |tenant: &str| {
        let message = order().both("src", "\"svc-shop\"").both("ten", tenant);
        message.set("aud", "\"example.org/test/orders.mirror\"").signed(&[&world.shop])
    };
    let step = Step::new("orders.mirror", mirror("\"t_123\""), "ok");
    cases.one("authorize/tenant-of-producer", "svc-shop speaks for t_123", step);
    let step = Step::new("orders.mirror", mirror("\"t_456\""), E304);
    cases.one("authorize/tenant-not-of-producer", "and for nobody else", step);
    let copy = world.order().signed(&[&world.orders]);
    let step = Step::new("orders.created", copy, E304);
    let why = "svc-audit may touch t_456 only";
    let vector = cases.script("authorize/tenant-not-of-reader", why, vec![step]);
    (vector.reader.service, vector.reader.group) = ("svc-audit".to_owned(), "audit".to_owned());
}

fn keys(cases: &mut Cases, world: &World) {
    let (e515, e519) = ("E515_KEY_MISMATCH", "E519_VERSION_MISSING");
    let change = || world.change("o_1", 1);
    let signed = |message: Message| -> Copy { message.signed(&[&world.orders]) };
    for (file, copy, expect, why) in [
        (
            "other",
            signed(change()).key("o_2"),
            e515,
            "into the partition, and the lock, of another order",
        ),
        ("absent", signed(change()), e515, "without its key it would overtake"),
        ("unsigned", signed(change().without("okey")).key("o_1"), e519, "a key that nobody signed"),
        (
            "no-version",
            signed(change().without("ov")).key("o_1"),
            e519,
            "an ordered stream needs both",
        ),
    ] {
        cases.one(&format!("authorize/key-{file}"), why, Step::new("orders.changed", copy, expect));
    }
    let copy = world.order().signed(&[&world.orders]).key("o_789");
    let why = "a record key on a message that signed none";
    cases.one("authorize/key-unexpected", why, Step::new("orders.created", copy, e515));
}
