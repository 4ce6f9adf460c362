// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is refused before anything is parsed: sizes, names, the form of the signature block.

use crate::cases::{Cases, Step};
use crate::craft::b64u;
use crate::world::World;

const E101: &str = "E101_TOO_LARGE";
const E102: &str = "E102_HEADER_AMBIGUOUS";
const E110: &str = "E110_UNSUPPORTED";
const E111: &str = "E111_MALFORMED";

pub(crate) fn cases(cases: &mut Cases, world: &World) {
    names(cases, world);
    absent(cases, world);
    sizes(cases, world);
    blocks(cases, world);
    batch_blocks(cases, world);
}

fn names(cases: &mut Cases, world: &World) {
    let signed = || world.order().signed(&[&world.orders]);
    let h = world.order().h();
    let other = world.order().set("ten", "\"t_456\"").h();
    let block = format!("1;{}", world.orders.entry(h.as_bytes()));
    for (file, copy, why) in [
        (
            "header-doubled",
            signed().field("chancery", &other),
            "one reader takes the first, one the last",
        ),
        ("header-doubled-alike", signed().field("chancery", &h), "even if both are the same"),
        (
            "header-also-capitalized",
            signed().field("Chancery", &other),
            "HTTP-like transports fold case",
        ),
        ("header-capitalized", signed().renamed("chancery", "Chancery"), "one spelling"),
        ("signature-doubled", signed().field("chancery-sig", &block), "one signature block"),
        ("signature-upper-case", signed().renamed("chancery-sig", "CHANCERY-SIG"), "one spelling"),
        (
            "salt-doubled",
            signed().field("chancery-salt", "a").field("chancery-salt", "a"),
            "one salt",
        ),
        ("salt-mixed-case", signed().field("Chancery-Salt", "a"), "one spelling"),
        (
            "ticket-doubled",
            signed().field("chancery-ticket", "a").field("chancery-ticket", "a"),
            "one ticket",
        ),
        (
            "sender-doubled",
            signed().field("chancery-sender", "svc-orders").field("chancery-sender", "svc-shop"),
            "one sender",
        ),
    ] {
        cases.one(&format!("frame/{file}"), why, Step::new("orders.created", copy, E102));
    }
    for (file, name) in [
        ("ticket", "chancery-ticket"),
        ("reserved", "chancery-later"),
        ("reserved-other-case", "Chancery-Later"),
        ("reserved-prefix", "chanceryx"),
    ] {
        let step = Step::new("orders.created", signed().field(name, "1"), E110);
        cases.one(&format!("frame/{file}"), "names that begin with `chancery` are reserved", step);
    }
    let copy =
        signed().field("content-type", "text/html").field("content-type", "x").field("chance", "y");
    let step = Step::new("orders.created", copy, "ok");
    cases.one(
        "frame/other-fields",
        "fields that are not ours are nobody's proof and no harm",
        step,
    );
}

fn absent(cases: &mut Cases, world: &World) {
    let signed = || world.order().signed(&[&world.orders]);
    let step = Step::new("orders.created", world.order().bare(), "E201_UNSIGNED");
    cases.one("frame/unsigned", "a missing signature is never 'legacy'", step);
    let copy = world.order().bare().field("chancery-salt", "BwcHBwcHBwcHBwcHBwcHBw");
    let step = Step::new("orders.created", copy, "E201_UNSIGNED");
    cases.one("frame/only-a-salt", "a salt proves nothing", step);
    let step =
        Step::new("orders.created", signed().without("chancery-sig"), "E212_SIGNATURE_STRIPPED");
    cases.one("frame/signature-stripped", "somebody took the signature away", step);
    let step = Step::new("orders.created", signed().without("chancery"), E111);
    cases.one("frame/header-stripped", "a signature over nothing", step);
}

fn sizes(cases: &mut Cases, world: &World) {
    let signed = || world.order().signed(&[&world.orders]);
    let many = |count: usize| (0..count).fold(signed(), |copy, n| copy.field(&format!("f{n}"), ""));
    cases.one("frame/most-fields", "128 fields", Step::new("orders.created", many(126), "ok"));
    cases.one("frame/too-many-fields", "129 fields", Step::new("orders.created", many(127), E101));
    let held: usize = signed().fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    let fat = |count: usize| signed().field("f", &"v".repeat(count - held - 1));
    cases.one(
        "frame/most-bytes",
        "64 KiB of fields",
        Step::new("orders.created", fat(65_536), "ok"),
    );
    cases.one(
        "frame/too-many-bytes",
        "and one byte",
        Step::new("orders.created", fat(65_537), E101),
    );
    let block = format!("1;{}", "a".repeat(1535));
    let copy = world.order().carrying(&world.order().h(), &block);
    cases.one("frame/block-too-long", "1537 bytes", Step::new("orders.created", copy, E101));
    let copy = signed().key(&"k".repeat(4097));
    cases.one("frame/key-too-long", "4097 bytes", Step::new("orders.created", copy, E101));
    let step = Step::new("orders.created", signed(), E101).filled((16 << 20) + 1, b' ');
    cases.one("frame/body-too-long", "16 MiB and one byte", step);
}

fn blocks(cases: &mut Cases, world: &World) {
    let h = world.order().h();
    let entry = world.orders.entry(h.as_bytes());
    let (kid, signature) = entry.split_once(':').expect("an entry");
    let table = [
        ("empty", String::new(), E111),
        ("no-version", entry.clone(), E111),
        ("empty-version", format!(";{entry}"), E111),
        ("version-2", format!("2;{entry}"), E110),
        ("version-m2", format!("m2;{entry};1;0;"), E110),
        ("version-none", format!("none;{entry}"), E110),
        ("version-long", format!("abcde;{entry}"), E111),
        ("version-upper-case", format!("M1;{entry};1;0;"), E111),
        ("version-spaced", format!("1 ;{entry}"), E111),
        ("no-entry", "1;".to_owned(), E111),
        ("five-entries", format!("1;{}", vec![entry.clone(); 5].join(",")), E111),
        ("trailing-comma", format!("1;{entry},"), E111),
        ("space-after-comma", format!("1;{entry}, {entry}"), E111),
        ("no-colon", format!("1;{kid}{signature}"), E111),
        ("no-signature", format!("1;{kid}:"), E111),
        ("kid-short", format!("1;{}:{signature}", &kid[1..]), E111),
        ("kid-padded", format!("1;{kid}==:{signature}"), E111),
        ("kid-loose-bits", format!("1;{}_:{signature}", &kid[..21]), E111),
        ("signature-padded", format!("1;{entry}=="), E111),
        ("signature-plain-base64", format!("1;{kid}:+{}", &signature[1..]), E111),
        ("signature-spaced", format!("1;{entry} "), E111),
        ("not-ascii", format!("1;{kid}:é{signature}"), E111),
        ("third-part", format!("1;{entry};1"), E111),
    ];
    for (file, block, expect) in table {
        let copy = world.order().carrying(&h, &block);
        let why = match expect {
            E110 => "a version that we do not know may be honest and newer",
            _ => "the block is checked by its grammar before any key is looked up",
        };
        cases.one(&format!("frame/block-{file}"), why, Step::new("orders.created", copy, expect));
    }
    for (file, salt) in [
        ("short", b64u(&[7; 15])),
        ("padded", "BwcHBwcHBwcHBwcHBwcHBw==".into()),
        ("empty", String::new()),
    ] {
        let copy = world.order().signed(&[&world.orders]).field("chancery-salt", &salt);
        let step = Step::new("orders.created", copy, E111);
        cases.one(&format!("frame/salt-{file}"), "a salt has 16 bytes", step);
    }
}

fn batch_blocks(cases: &mut Cases, world: &World) {
    let h = world.order().h();
    let entry = world.orders.entry(h.as_bytes());
    for (file, rest) in [
        ("no-proof", format!("{entry};1;0")),
        ("six-parts", format!("{entry};1;0;;")),
        ("size-zero", format!("{entry};0;0;")),
        ("size-too-large", format!("{entry};65537;0;")),
        ("size-leading-zero", format!("{entry};01;0;")),
        ("size-signed", format!("{entry};+1;0;")),
        ("size-empty", format!("{entry};;0;")),
        ("index-outside", format!("{entry};1;1;")),
        ("index-negative", format!("{entry};1;-1;")),
        ("index-long", format!("{entry};1;0000000;")),
        ("proof-not-base64url", format!("{entry};2;0;!!")),
        ("proof-padded", format!("{entry};2;0;{}=", b64u(&[7; 32]))),
        ("two-entries", format!("{entry},{entry};1;0;")),
    ] {
        let copy = world.order().carrying(&h, &format!("m1;{rest}"));
        let step = Step::new("orders.created", copy, E111);
        cases.one(&format!("frame/batch-{file}"), "m1;kid:signature;size;index;proof", step);
    }
    let unknown = format!("m1;{};2;0;!!", world.stranger.entry(h.as_bytes()));
    let step = Step::new("orders.created", world.order().carrying(&h, &unknown), E111);
    cases.one("frame/batch-garbage-under-unknown-kid", "no newer bundle could make it good", step);
}
