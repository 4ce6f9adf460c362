// SPDX-License-Identifier: MIT OR Apache-2.0
//! An admitted message as one line of JSON.

use chancery::Admitted;
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct Line<'e> {
    id: &'e str,
    #[serde(rename = "type")]
    event_type: &'e str,
    version: u32,
    producer: &'e str,
    tenant: Option<&'e str>,
    stream: &'e str,
    key: Option<&'e str>,
    time: &'e str,
    payload: &'e RawValue,
}

/// The line with its end. The payload's bytes stay as they were signed, except that line breaks
/// between its members, which mean nothing in JSON, become spaces.
pub(crate) fn encode<E>(event: &Admitted<E>) -> Result<Vec<u8>, serde_json::Error> {
    let payload: &RawValue = serde_json::from_slice(event.payload())?;
    let mut line = serde_json::to_vec(&Line {
        id: event.id(),
        event_type: event.event_type(),
        version: event.schema_version(),
        producer: event.producer(),
        tenant: event.tenant(),
        stream: event.stream(),
        key: event.key(),
        time: &event.header().occ,
        payload,
    })?;
    for byte in line.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')) {
        *byte = b' ';
    }
    line.push(b'\n');
    Ok(line)
}
