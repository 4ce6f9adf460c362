// SPDX-License-Identifier: MIT OR Apache-2.0
//! No change to a signed message is admitted as something else, and nothing that arrives panics.
//! Single rules are judged by `vectors/cases/`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::bundle::{Bundle, KeyEntry};
use crate::delivery::{AppendTime, Field};
use crate::header::{HEADER, SALT, SENDER, SIGNATURE, TICKET};
use crate::keys::{HEADER_TYPE, Secret, body_digest, pae};
use crate::reason::Reason;
use crate::snapshot::Sources;
use crate::text::b64u;

pub(super) const NOW: Timestamp = Timestamp(1_772_705_553_500);
pub(super) const POLICY: &str = "
version: 1
domain: d
environment: e
services: { svc: {}, reader: {} }
streams:
  orders: { kind: event, owner: svc, handled_by: { group: reader } }
";
pub(super) const BODY: &str = "{\"event_id\":\"0123456789\",\"event_type\":\"orders\",\"schema_version\":1,\
    \"occurred_at\":\"2026-03-05T10:12:33Z\",\"producer\":\"svc\",\"payload\":{\"n\":1}}";

pub(super) fn secret() -> Secret {
    Secret::ed25519(&[7; 32])
}

/// Another service's key.
pub(super) fn insider() -> Secret {
    Secret::ed25519(&[6; 32])
}

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| snapshot(POLICY));

pub(super) fn snapshot(policy: &str) -> Snapshot {
    let (from, until) = (NOW + -1_000_000, NOW + 1_000_000);
    let root = Secret::ed25519(&[8; 32]);
    let bundle = Bundle {
        v: 1,
        domain: "d".into(),
        environment: "e".into(),
        version: 1,
        issued: from.0,
        expires: until.0,
        keys: vec![
            KeyEntry::new(&secret(), "svc", from, until),
            KeyEntry::new(&insider(), "reader", from, until),
        ],
    };
    let schemas = BTreeMap::from([(("orders".to_owned(), 1), b"{\"type\":\"object\"}".to_vec())]);
    let sources = Sources {
        bundle: bundle.seal(&root).unwrap().into_bytes(),
        root: root.public(),
        policy: policy.to_owned(),
        schemas,
        secrets: Vec::new(),
    };
    Snapshot::build(&sources).unwrap()
}

fn message(h: &str, body: &str, salt: Option<[u8; 16]>) -> Delivery {
    message_by(&secret(), h, body, salt)
}

pub(super) fn message_by(secret: &Secret, h: &str, body: &str, salt: Option<[u8; 16]>) -> Delivery {
    let signature = b64u(&secret.sign(&pae(HEADER_TYPE, h.as_bytes())));
    let block = format!("1;{}:{signature}", secret.kid());
    let mut fields = vec![Field::new(HEADER, h.to_owned()), Field::new(SIGNATURE, block)];
    fields.extend(salt.map(|salt| Field::new(SALT, b64u(&salt))));
    Delivery {
        stream: "orders".into(),
        position: "orders/1".into(),
        fields,
        key: None,
        body: Some(Bytes::from(body.to_owned())),
        appended: AppendTime::Broker(NOW),
        deliveries: 1,
    }
}

pub(super) fn good() -> Delivery {
    let (length, salt) = (BODY.len(), [9; 16]);
    let digest = b64u(&body_digest(Some(BODY.as_bytes()), Some(&salt)));
    let h = format!(
        "{{\"v\":1,\"kind\":\"event\",\"id\":\"0123456789\",\"typ\":\"orders\",\"sv\":1,\
         \"occ\":\"2026-03-05T10:12:33Z\",\"src\":\"svc\",\"aud\":\"d/e/orders\",\
         \"iat\":{},\"lane\":\"BwcHBwcHBwcHBwcHBwcHBw\",\"seq\":1,\
         \"ct\":\"application/json\",\"bl\":{length},\"bd\":\"{digest}\"}}",
        NOW.0
    );
    message(&h, BODY, Some(salt))
}

fn judge(delivery: &Delivery) -> Result<Validated<'_>, Refusal> {
    let reader = Reader { service: "reader".into(), group: "group".into() };
    screen(delivery, &SNAPSHOT, &reader, NOW)
}

fn refused(delivery: &Delivery) -> Option<Reason> {
    judge(delivery).err().map(|refusal| refusal.reason)
}

#[test]
fn the_message_itself_is_good() {
    let delivery = good();
    let validated = judge(&delivery).unwrap();
    assert_eq!(BODY.get(validated.payload.clone()), Some("{\"n\":1}"));
    assert_eq!((validated.lateness, validated.signer.principal.as_str()), (Lateness::Fresh, "svc"));
}

/// Threat: tampering in the broker, one bit at a time.
#[test]
fn no_bit_of_it_can_be_flipped() {
    let whole = good();
    for at in 0..whole.fields.len() {
        for bit in 0..whole.fields[at].value.len() * 8 {
            let mut changed = whole.clone();
            changed.fields[at].value = flipped(&whole.fields[at].value, bit);
            assert!(refused(&changed).is_some(), "field {at}, bit {bit}");
        }
        for bit in 0..whole.fields[at].name.len() * 8 {
            let mut changed = whole.clone();
            let name = flipped(whole.fields[at].name.as_bytes(), bit).to_vec();
            let Ok(name) = String::from_utf8(name) else { continue };
            changed.fields[at].name = name;
            assert!(refused(&changed).is_some(), "name {at}, bit {bit}");
        }
    }
    for bit in 0..BODY.len() * 8 {
        let mut changed = whole.clone();
        changed.body = Some(flipped(BODY.as_bytes(), bit));
        assert_eq!(refused(&changed), Some(Reason::BodyDigest), "body, bit {bit}");
    }
}

/// Threat: cutting a message short, anywhere.
#[test]
fn no_end_of_it_can_be_cut() {
    let whole = good();
    for at in 0..whole.fields.len() {
        for end in 0..whole.fields[at].value.len() {
            let mut changed = whole.clone();
            changed.fields[at].value = whole.fields[at].value.slice(..end);
            assert!(refused(&changed).is_some(), "field {at}, {end} bytes");
        }
        let mut changed = whole.clone();
        changed.fields.remove(at);
        assert!(refused(&changed).is_some(), "without field {at}");
    }
    for end in 0..BODY.len() {
        let mut changed = whole.clone();
        changed.body = Some(Bytes::copy_from_slice(&BODY.as_bytes()[..end]));
        assert_eq!(refused(&changed), Some(Reason::BodyDigest));
    }
}

/// Threat: an unlisted stream answers like a listed one.
#[test]
fn it_is_good_on_its_own_stream_only() {
    let mut elsewhere = good();
    elsewhere.stream = "other".into();
    assert_eq!(refused(&elsewhere), Some(Reason::WrongDestination));
}

/// Threat: bytes of a message in our logs.
#[test]
fn refusals_quote_no_body() {
    let marked = BODY.replace("\"n\":1", "\"n\":1,\"n\":\"SECRET\"");
    let h = good().fields[0].value.clone();
    let h = String::from_utf8(h.to_vec()).unwrap();
    let digest = |body: &str, salt| b64u(&body_digest(Some(body.as_bytes()), Some(&salt)));
    let h = h.replace(&digest(BODY, [9; 16]), &digest(&marked, [9; 16]));
    let h = h.replace(&format!("\"bl\":{}", BODY.len()), &format!("\"bl\":{}", marked.len()));
    let delivery = message(&h, &marked, Some([9; 16]));
    let refusal = judge(&delivery).unwrap_err();
    assert_eq!(refusal.reason, Reason::JsonAmbiguous);
    assert!(!refusal.to_string().contains("SECRET"));
    assert!(!format!("{delivery:?}").contains("SECRET"));
}

pub(super) fn flipped(bytes: &[u8], bit: usize) -> Bytes {
    let mut bytes = bytes.to_vec();
    bytes[bit / 8] ^= 1 << (bit % 8);
    bytes.into()
}

fn any_name() -> impl Strategy<Value = String> {
    let ours = vec![HEADER, SIGNATURE, SALT, SENDER, TICKET, "Chancery", "chancery-x", "other"];
    prop_oneof![proptest::sample::select(ours).prop_map(str::to_owned), "\\PC{0,12}"]
}

fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let whole = good();
    let parts: Vec<Vec<u8>> = whole.fields.iter().map(|field| field.value.to_vec()).collect();
    prop_oneof![
        vec(any::<u8>(), 0..64),
        "(1|m1|2);[A-Za-z0-9_-]{20,24}:[A-Za-z0-9_-]{0,90}(;[0-9]{0,3}){0,3}"
            .prop_map(String::into_bytes),
        "\\{(\"[a-z]{1,4}\":(1|\"a\"),?){0,4}\\}".prop_map(String::into_bytes),
        proptest::sample::select(parts),
    ]
}

pub(super) fn any_delivery() -> impl Strategy<Value = Delivery> {
    let fields = vec((any_name(), any_value()), 0..5);
    let body =
        proptest::option::of(prop_oneof![vec(any::<u8>(), 0..64), Just(BODY.as_bytes().to_vec())]);
    let appended = prop_oneof![
        Just(AppendTime::Unknown),
        any::<i64>().prop_map(|at| AppendTime::Broker(Timestamp(at))),
        any::<i64>().prop_map(|at| AppendTime::Bounded(Timestamp(at))),
    ];
    let key = proptest::option::of(vec(any::<u8>(), 0..8));
    (fields, body, appended, key).prop_map(|(fields, body, appended, key)| Delivery {
        stream: "orders".into(),
        position: String::new(),
        fields: fields.into_iter().map(|(name, value)| Field::new(name, value)).collect(),
        key: key.map(Bytes::from),
        body: body.map(Bytes::from),
        appended,
        deliveries: 1,
    })
}

proptest! {
    /// Whatever arrives is judged; if it is good, it is the one message that was signed.
    #[test]
    fn any_delivery_is_judged(delivery in any_delivery()) {
        if let Ok(validated) = judge(&delivery) {
            let whole = good();
            prop_assert_eq!(validated.message_id, judge(&whole).unwrap().message_id);
            prop_assert_eq!(&delivery.body, &whole.body);
        }
    }

    /// Several changes at once admit nothing else either.
    #[test]
    fn changes_admit_nothing_else(
        at in 0usize..3,
        splices in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        body in any::<bool>(),
    ) {
        let whole = good();
        let mut changed = whole.clone();
        let field = if body { whole.body.clone().unwrap() } else { whole.fields[at].value.clone() };
        let mut bytes = field.to_vec();
        for (index, byte) in splices {
            let place = index.index(bytes.len());
            bytes[place] = byte;
        }
        let same = bytes == field;
        if body { changed.body = Some(bytes.into()) } else { changed.fields[at].value = bytes.into() }
        prop_assert_eq!(refused(&changed).is_none(), same);
    }

    /// An insider signs whatever he likes: judged, never a panic, never for another producer.
    #[test]
    fn whatever_a_key_signs_is_judged(
        member in "[a-z]{1,4}|x_[a-z]{1,3}",
        value in "\"\\PC{0,40}\"|-?[0-9]{1,19}|true|null",
        body in "\\PC{0,64}",
    ) {
        let h = String::from_utf8(good().fields[0].value.to_vec()).unwrap();
        let h = h.replacen('{', &format!("{{\"{member}\":{value},"), 1);
        let delivery = message(&h, &body, None);
        if let Ok(validated) = judge(&delivery) {
            prop_assert_eq!(&*validated.header.src, "svc");
        }
        let _ = judge(&message(&h, BODY, Some([9; 16])));
    }

    /// Clocks at the ends of time overflow nothing.
    #[test]
    fn any_clock_is_judged(now: i64, at: i64) {
        let mut delivery = good();
        delivery.appended = AppendTime::Broker(Timestamp(at));
        let reader = Reader { service: "reader".into(), group: "group".into() };
        let _ = screen(&delivery, &SNAPSHOT, &reader, Timestamp(now));
    }
}
