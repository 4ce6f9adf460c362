// SPDX-License-Identifier: MIT OR Apache-2.0
//! A delivery as bytes, and back, strictly: every byte counts, none is left over.

use bytes::Bytes;
use chancery_core::{AppendTime, Delivery, Field, Timestamp};
use sha2::{Digest, Sha256};

const FORMAT: u8 = 1;

/// The whole delivery.
pub(crate) fn encode(delivery: &Delivery) -> Vec<u8> {
    let mut out = vec![FORMAT];
    put(&mut out, delivery.stream.as_bytes());
    put(&mut out, delivery.position.as_bytes());
    let (clock, at) = match delivery.appended {
        AppendTime::Unknown => (0, 0),
        AppendTime::Bounded(at) => (1, at.0),
        AppendTime::Broker(at) => (2, at.0),
    };
    out.push(clock);
    out.extend_from_slice(&at.to_be_bytes());
    out.extend_from_slice(&delivery.deliveries.to_be_bytes());
    put_option(&mut out, delivery.key.as_ref());
    put_option(&mut out, delivery.body.as_ref());
    for field in &delivery.fields {
        put(&mut out, field.name.as_bytes());
        put(&mut out, &field.value);
    }
    out
}

/// The delivery, or `None` for anything that [`encode`] does not write.
pub(crate) fn decode(bytes: &[u8]) -> Option<Delivery> {
    let rest = &mut &*bytes;
    if byte(rest)? != FORMAT {
        return None;
    }
    let stream = text(rest)?;
    let position = text(rest)?;
    let clock = byte(rest)?;
    let at = Timestamp(i64::from_be_bytes(array(rest)?));
    let appended = match (clock, at.0) {
        (0, 0) => AppendTime::Unknown,
        (1, _) => AppendTime::Bounded(at),
        (2, _) => AppendTime::Broker(at),
        _ => return None,
    };
    let deliveries = u32::from_be_bytes(array(rest)?);
    let key = option(rest)?;
    let body = option(rest)?;
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let name = text(rest)?;
        fields.push(Field::new(name, Bytes::copy_from_slice(slice(rest)?)));
    }
    Some(Delivery { stream, position, fields, key, body, appended, deliveries })
}

/// What tells two messages apart that nobody has verified. Of one that carries reserved fields,
/// those, the key and the body count; a broker may change the other fields at each delivery.
pub(crate) fn digest(delivery: &Delivery) -> [u8; 32] {
    let reserved = |field: &&Field| {
        field.name.get(..8).is_some_and(|name| name.eq_ignore_ascii_case("chancery"))
    };
    let mut out = Vec::new();
    let signed = delivery.fields.iter().any(|field| reserved(&field));
    for field in delivery.fields.iter().filter(|field| !signed || reserved(field)) {
        put(&mut out, field.name.as_bytes());
        put(&mut out, &field.value);
    }
    if !signed {
        put(&mut out, delivery.position.as_bytes());
    }
    put_option(&mut out, delivery.key.as_ref());
    let mut hash = Sha256::new();
    hash.update((out.len() as u64).to_be_bytes());
    hash.update(&out);
    hash.update([u8::from(delivery.body.is_some())]);
    hash.update(delivery.body.as_deref().unwrap_or_default());
    hash.finalize().into()
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u64).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn put_option(out: &mut Vec<u8>, bytes: Option<&Bytes>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        put(out, bytes);
    }
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    array(rest).map(|[byte]| byte)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn slice<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = usize::try_from(u64::from_be_bytes(array(rest)?)).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    std::str::from_utf8(slice(rest)?).ok().map(str::to_owned)
}

fn option(rest: &mut &[u8]) -> Option<Option<Bytes>> {
    match byte(rest)? {
        0 => Some(None),
        1 => Some(Some(Bytes::copy_from_slice(slice(rest)?))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery() -> Delivery {
        Delivery {
            stream: "orders".into(),
            position: "orders/7".into(),
            fields: vec![Field::new("a", &b"\x00\xff"[..]), Field::new("a", &b""[..])],
            key: Some(Bytes::from_static(b"")),
            body: None,
            appended: AppendTime::Bounded(Timestamp(-5)),
            deliveries: 3,
        }
    }

    #[test]
    fn every_byte_survives() {
        let mut other = delivery();
        other.body = Some(Bytes::from_static(&[0, 1, 2, 255]));
        other.key = None;
        other.appended = AppendTime::Unknown;
        for one in [delivery(), other] {
            assert_eq!(decode(&encode(&one)), Some(one));
        }
    }

    #[test]
    fn what_is_cut_changed_or_longer_is_refused() {
        let good = encode(&delivery());
        for cut in 0..good.len() {
            let shorter = decode(&good[..cut]);
            assert!(shorter.is_none_or(|less| less != delivery()), "cut at {cut}");
        }
        let longer = [&good[..], b"\0"].concat();
        assert_eq!(decode(&longer), None);
        let mut newer = good.clone();
        newer[0] = 2;
        assert_eq!(decode(&newer), None);
        let mut huge = good;
        huge[1..9].copy_from_slice(&u64::MAX.to_be_bytes());
        assert_eq!(decode(&huge), None);
    }

    #[test]
    fn a_tampered_copy_is_another_message() {
        let signed = |body: &'static [u8], extra: &'static [u8]| Delivery {
            fields: vec![Field::new("chancery", &b"h"[..]), Field::new("x-death", extra)],
            body: Some(Bytes::from_static(body)),
            ..delivery()
        };
        assert_eq!(digest(&signed(b"1", b"")), digest(&signed(b"1", b"again")));
        assert_ne!(digest(&signed(b"1", b"")), digest(&signed(b"2", b"")));
        let moved = Delivery { position: "orders/8".into(), ..delivery() };
        assert_ne!(digest(&delivery()), digest(&moved));
    }
}
