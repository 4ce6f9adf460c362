// SPDX-License-Identifier: MIT OR Apache-2.0
//! Between our words and the file's: limits, header fields, rows.

use bytes::Bytes;
use chancery_core::{AppendTime, Delivery, Fault, Field, Timestamp};
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use crate::config::{BODY_BYTES_MAX, FIELDS_BYTES_MAX, FIELDS_MAX, KEY_BYTES_MAX, corrupt};
use crate::produce::RawMessage;

/// Refuses what is larger than the broker keeps.
pub(crate) fn check_sizes(message: &RawMessage<'_>) -> Result<(), Fault> {
    let fields_bytes: usize = message.fields.iter().map(|f| f.name.len() + f.value.len()).sum();
    for (what, size, max) in [
        ("a body of bytes", message.body.map_or(0, <[u8]>::len), BODY_BYTES_MAX),
        ("header fields", message.fields.len(), FIELDS_MAX),
        ("bytes of header fields", fields_bytes, FIELDS_BYTES_MAX),
        ("a record key of bytes", message.key.map_or(0, <[u8]>::len), KEY_BYTES_MAX),
    ] {
        if size > max {
            return Err(Fault::broker(format!("{what}: {size} is more than {max}; send less")));
        }
    }
    Ok(())
}

/// Names and values in order, each behind its length (32 bits, big-endian).
pub(crate) fn encode_fields(fields: &[Field]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in fields.iter().flat_map(|field| [field.name.as_bytes(), &field.value]) {
        out.extend(u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(part);
    }
    out
}

/// The inverse of [`encode_fields`]; `None` if it is not one.
pub(crate) fn decode_fields(encoded: Vec<u8>) -> Option<Vec<Field>> {
    let mut rest = Bytes::from(encoded);
    let mut fields = Vec::new();
    while !rest.is_empty() {
        if fields.len() == FIELDS_MAX {
            return None;
        }
        let name = String::from_utf8(part(&mut rest)?.to_vec()).ok()?;
        fields.push(Field { name, value: part(&mut rest)? });
    }
    Some(fields)
}

fn part(rest: &mut Bytes) -> Option<Bytes> {
    let len = u32::from_be_bytes(*rest.first_chunk()?);
    let end = usize::try_from(len).ok()?.checked_add(4)?;
    if end > rest.len() {
        return None;
    }
    Some(rest.split_to(end).slice(4..))
}

/// Reads one message; `None` if it is gone.
pub(crate) fn load(
    db: &Connection,
    (stream, name): (i64, &str),
    offset: i64,
    deliveries: u32,
) -> rusqlite::Result<Option<Delivery>> {
    if size(db, stream, offset)?.is_none() {
        return Ok(None);
    }
    let mut select = db.prepare_cached(
        "SELECT fields, key, body, appended FROM message WHERE stream = ?1 AND offset = ?2",
    )?;
    let delivery = select.query_row((stream, offset), |row| {
        let fields = decode_fields(row.get(0)?)
            .ok_or_else(|| corrupt("its header fields are not what any append wrote"))?;
        Ok(Delivery {
            stream: name.to_owned(),
            position: format!("{name}/{offset}"),
            fields,
            key: row.get::<_, Option<Vec<u8>>>(1)?.map(Bytes::from),
            body: row.get::<_, Option<Vec<u8>>>(2)?.map(Bytes::from),
            appended: AppendTime::Broker(Timestamp(row.get(3)?)),
            deliveries,
        })
    });
    delivery.map(Some).map_err(|error| at(db, stream, offset, error))
}

/// Names the message that cannot be read; whoever must deal with it has nothing else to go by.
fn at(db: &Connection, stream: i64, offset: i64, error: rusqlite::Error) -> rusqlite::Error {
    let unreadable = match error.sqlite_error_code() {
        None => true,
        Some(code) => code == ErrorCode::DatabaseCorrupt,
    };
    if !unreadable {
        return error;
    }
    let name = db.query_row("SELECT name FROM stream WHERE id = ?1", [stream], |row| row.get(0));
    let name: String = name.unwrap_or_else(|_| format!("stream {stream}"));
    corrupt(format!("message {name}/{offset} cannot be read: {error}"))
}

/// A message's size in bytes, read without the message.
pub(crate) fn size(db: &Connection, stream: i64, offset: i64) -> rusqlite::Result<Option<usize>> {
    let mut select = db.prepare_cached(
        "SELECT length(fields) + ifnull(length(key), 0) + ifnull(length(body), 0)
         FROM message WHERE stream = ?1 AND offset = ?2",
    )?;
    let size = select.query_row((stream, offset), |row| row.get::<_, i64>(0)).optional();
    let size = size.map_err(|error| at(db, stream, offset, error))?;
    let max = BODY_BYTES_MAX + KEY_BYTES_MAX + FIELDS_BYTES_MAX + 8 * FIELDS_MAX;
    match size.map(usize::try_from) {
        None => Ok(None),
        Some(Ok(size)) if size <= max => Ok(Some(size)),
        Some(_) => {
            let error = corrupt("it is larger than any that was appended");
            Err(at(db, stream, offset, error))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn fields_come_back_as_they_went(
            pairs in prop::collection::vec((".{0,20}", prop::collection::vec(any::<u8>(), 0..40)), 0..20)
        ) {
            let fields: Vec<Field> =
                pairs.into_iter().map(|(name, value)| Field::new(name, value)).collect();
            prop_assert!(decode_fields(encode_fields(&fields)) == Some(fields));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(fields) = decode_fields(bytes.clone()) {
                prop_assert_eq!(encode_fields(&fields), bytes);
            }
        }
    }
}
