// SPDX-License-Identifier: MIT OR Apache-2.0
//! H as a parser sees it; member by member it is judged by `vectors/cases/header/`.

use proptest::prelude::*;

use super::*;

const GOOD: &str = "{\"v\":1,\"kind\":\"event\",\"id\":\"0123456789\",\"typ\":\"a.b\",\"sv\":1,\
    \"occ\":\"2026-03-05T10:12:33Z\",\"src\":\"svc\",\"aud\":\"d/e/s\",\"iat\":1,\
    \"lane\":\"BwcHBwcHBwcHBwcHBwcHBw\",\"seq\":1,\"ct\":\"a/b\",\"bl\":-1,\
    \"bd\":\"BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc\"}";

fn with(member: &str) -> String {
    GOOD.replacen('{', &format!("{{{member},"), 1)
}

fn reason(h: &str) -> Option<Reason> {
    parse(h).err().map(|refusal| refusal.reason)
}

#[test]
fn every_member_is_read() {
    let id = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc";
    let more = format!(
        "\"exp\":9,\"ten\":\"t_1\",\"act\":\"u\",\"req\":\"r\",\"ep\":2,\"okey\":\"k\",\"ov\":3,\
         \"oph\":\"BwcHBwcHBwcHBwcHBwcHBw\",\"sd\":\"{id}\",\"cause\":\"{id},{id}\",\
         \"tp\":\"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\""
    );
    let text = with(&more);
    let header = parse(&text).unwrap();
    assert_eq!((header.kind, &*header.id, &*header.typ), (Kind::Event, "0123456789", "a.b"));
    assert_eq!((header.sv, &*header.src, &*header.aud), (1, "svc", "d/e/s"));
    assert_eq!((header.iat, header.exp), (Timestamp(1), Some(Timestamp(9))));
    assert_eq!((header.ten.as_deref(), header.act.as_deref()), (Some("t_1"), Some("u")));
    assert_eq!((header.req.as_deref(), header.tp.is_some()), (Some("r"), true));
    assert_eq!((header.lane, header.ep, header.seq), ([7; 16], Some(2), 1));
    assert_eq!(
        (header.okey.as_deref(), header.ov, header.oph),
        (Some("k"), Some(3), Some([7; 16]))
    );
    assert_eq!((&*header.ct, header.bl, header.bd), ("a/b", None, [7; 32]));
    assert_eq!((header.sd, header.cause.len()), (Some([7; 32]), 2));
    assert_eq!(header.clone().into_owned(), header);
}

/// What one parser rounds another keeps: beyond 2^53 nothing is a number here.
#[test]
fn integers_are_exact_or_refused() {
    let at = |n: &str| GOOD.replacen("\"seq\":1", &format!("\"seq\":{n}"), 1);
    assert_eq!(parse(&at("9007199254740991")).unwrap().seq, 9_007_199_254_740_991);
    for n in [
        "9007199254740992",
        "9007199254740993",
        "18446744073709551617",
        "1e0",
        "1.0",
        "-1",
        "0",
        "-0",
    ] {
        assert_eq!(reason(&at(n)), Some(Reason::Malformed), "{n}");
    }
}

#[test]
fn unknown_is_held_and_extensions_are_passed_over() {
    assert_eq!(reason(&with("\"new\":1")), Some(Reason::Unsupported));
    assert_eq!(reason(&with("\"crit\":\"x_a\"")), Some(Reason::Unsupported));
    assert_eq!(reason(&with("\"x_a\":\"b\"")), None);
    assert_eq!(reason(&with("\"x_a\":{}")), Some(Reason::Malformed));
    assert_eq!(reason(&with("\"x_a\":1,\"x_a\":1")), Some(Reason::Malformed));
}

/// A version-2 header may have any members; what decides is `v`, wherever it stands.
#[test]
fn a_later_version_is_held() {
    let newer = GOOD.replacen("\"v\":1", "\"v\":2", 1);
    assert_eq!(reason(&newer), Some(Reason::Unsupported));
    assert_eq!(reason(&GOOD.replacen("\"v\":1,", "", 1)), Some(Reason::Malformed));
}

proptest! {
    #[test]
    fn nothing_panics(h in "\\PC*") {
        let _ = parse(&h);
    }

    #[test]
    fn no_member_value_panics(name in "[a-z_]{1,6}", value in "(\"\\PC{0,20}\"|-?[0-9]{1,20}|true|null|\\[\\])") {
        let _ = parse(&with(&format!("\"{name}\":{value}")));
    }

    /// Whatever is accepted says exactly what its text says.
    #[test]
    fn a_changed_byte_changes_what_is_read_or_is_refused(at in 0..GOOD.len(), byte in 0x20u8..0x7f) {
        let mut changed = GOOD.as_bytes().to_vec();
        changed[at] = byte;
        let changed = String::from_utf8(changed).unwrap();
        if changed != GOOD && let Ok(header) = parse(&changed) {
            prop_assert_ne!(header, parse(GOOD).unwrap());
        }
    }
}
