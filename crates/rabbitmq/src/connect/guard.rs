// SPDX-License-Identifier: MIT OR Apache-2.0
//! Stands between the socket and the client library, which ends the connection at a header name
//! or routing key that is not UTF-8, and the process at a table that is nested deeply enough.
//! Anybody who may publish can send these, and the broker would deliver them again and again.
//!
//! What the library cannot read is handed to it as something that it can: nothing stops, nothing
//! is lost, and the path refuses the message like any other that nobody signed.

use std::collections::BTreeMap;

use crate::convert::BODY_BYTES_MAX;

/// The field that carries the bytes of properties that cannot be read.
pub(super) const UNREADABLE: &str = "unreadable-properties";
/// The same for a message whose body is larger than any that is let through; its body is empty.
const OVERSIZED: &str = "oversized-body";

/// Largest frame that we agree to, in bytes: what servers negotiate by default.
pub(super) const FRAME_BYTES_MAX: u32 = 128 << 10;
/// Smallest that a server may ask for (AMQP 0-9-1).
const FRAME_BYTES_MIN: u32 = 4096;
/// Deepest nesting of tables and arrays that is let through.
const DEPTH_MAX: u8 = 16;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
/// Octets of a frame round its payload: kind, channel, size; an end mark.
const ROUND: u32 = 8;
const END: u8 = 0xce;
/// Class and method.
const START: [u8; 4] = [0, 10, 0, 10];
const TUNE: [u8; 4] = [0, 10, 0, 30];
const DELIVER: [u8; 4] = [0, 60, 0, 60];

/// Frames of one connection, on their way from the server.
#[derive(Default)]
pub(super) struct Guard {
    /// The beginning of a frame that must be whole to be looked at.
    held: Vec<u8>,
    /// Octets to come of a frame that needs no look, and whether they are left out.
    through: usize,
    left_out: bool,
    /// Octets to come of bodies that are left out, by channel.
    bodies: BTreeMap<u16, u64>,
    /// The largest frame, once it is agreed.
    frame_max: Option<u32>,
    /// The server's name and version, once it has said them.
    pub(super) server: Option<String>,
}

/// A method that is larger than what was agreed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Guard {
    /// Takes what came from the socket; adds to `out` what may be read.
    pub(super) fn pass(&mut self, came: &[u8], out: &mut Vec<u8>) -> Result<(), TooLarge> {
        self.held.extend_from_slice(came);
        let held = std::mem::take(&mut self.held);
        let mut left = &*held;
        while !left.is_empty() {
            if self.through > 0 {
                let (through, rest) = left.split_at(left.len().min(self.through));
                if !self.left_out {
                    out.extend_from_slice(through);
                }
                self.through -= through.len();
                left = rest;
                continue;
            }
            let Some(&[kind, high, low, a, b, c, d]) = left.first_chunk() else { break };
            let channel = u16::from_be_bytes([high, low]);
            let size = u32::from_be_bytes([a, b, c, d]);
            let whole = bytes(size.saturating_add(ROUND));
            let most = bytes(self.frame_max());
            match kind {
                METHOD if whole > most => return Err(TooLarge),
                METHOD | HEADER => {
                    // The server adds to properties that were as large as they may be.
                    let Some((frame, rest)) = left.split_at_checked(whole.min(most)) else { break };
                    self.look(frame, channel, whole > most, out);
                    left = rest;
                    (self.through, self.left_out) = (whole - frame.len(), true);
                }
                // A body, a heartbeat, or another protocol's greeting: no concern of ours.
                _ => {
                    self.through = if kind <= HEARTBEAT { whole } else { usize::MAX };
                    self.left_out = kind == BODY && self.leaves_out(channel, size);
                }
            }
        }
        self.held = left.to_vec();
        Ok(())
    }

    fn frame_max(&self) -> u32 {
        self.frame_max.unwrap_or(FRAME_BYTES_MAX)
    }

    /// Whether a part of a body, `size` octets, is left out.
    fn leaves_out(&mut self, channel: u16, size: u32) -> bool {
        let Some(left) = self.bodies.get_mut(&channel) else { return false };
        *left = left.saturating_sub(u64::from(size));
        if *left == 0 {
            self.bodies.remove(&channel);
        }
        true
    }

    fn header(&mut self, payload: &[u8], channel: u16, too_large: bool) -> Option<Vec<u8>> {
        // Class, weight, size of the body: 12 octets; then flags and properties.
        let (fixed, properties) = payload.split_at_checked(12)?;
        let body = u64::from_be_bytes(*fixed.last_chunk()?);
        let room = bytes(self.frame_max() - ROUND);
        self.bodies.remove(&channel);
        if body > BODY_BYTES_MAX as u64 {
            self.bodies.insert(channel, body);
            let fixed = [fixed.get(..4)?, &[0; 8]].concat();
            return Some(replacement(&fixed, OVERSIZED, properties, room));
        }
        let good = !too_large && readable(properties);
        (!good).then(|| replacement(fixed, UNREADABLE, properties, room))
    }

    fn look(&mut self, frame: &[u8], channel: u16, too_large: bool, out: &mut Vec<u8>) {
        let payload = frame.get(7..frame.len().saturating_sub(1)).unwrap_or_default();
        let changed = match frame.first() {
            Some(&HEADER) => self.header(payload, channel, too_large),
            _ if payload.starts_with(&DELIVER) => deliver(payload),
            _ if payload.starts_with(&TUNE) => {
                self.frame_max = frame_max(payload);
                None
            }
            _ if payload.starts_with(&START) => {
                self.server = self.server.take().or_else(|| server(payload));
                None
            }
            _ => None,
        };
        match changed {
            None => out.extend_from_slice(frame),
            Some(payload) => {
                let size = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(frame.get(..3).unwrap_or_default());
                out.extend_from_slice(&size.to_be_bytes());
                out.extend_from_slice(&payload);
                out.push(END);
            }
        }
    }
}

/// The largest frame that the server's proposal leaves us with; 0 is no limit of its own.
fn frame_max(payload: &[u8]) -> Option<u32> {
    // Class, method, most channels: 6 octets.
    let said = u32::from_be_bytes(*payload.get(6..)?.first_chunk()?);
    (said > 0).then(|| said.clamp(FRAME_BYTES_MIN, FRAME_BYTES_MAX))
}

fn bytes(count: u32) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A content header whose only property is a table with one field: the bytes of the properties
/// that it had, as many as there is room for in a frame.
fn replacement(fixed: &[u8], name: &str, properties: &[u8], room: usize) -> Vec<u8> {
    let name = name.as_bytes();
    let around = fixed.len() + 2 + 4 + 1 + name.len() + 1 + 4;
    let room = room.saturating_sub(around);
    let kept = properties.get(..properties.len().min(room)).unwrap_or_default();
    let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_be_bytes();
    let mut out = Vec::with_capacity(around + kept.len());
    out.extend_from_slice(fixed);
    out.extend_from_slice(&HEADERS.to_be_bytes());
    out.extend_from_slice(&length(1 + name.len() + 1 + 4 + kept.len()));
    out.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(name);
    out.push(b'S');
    out.extend_from_slice(&length(kept.len()));
    out.extend_from_slice(kept);
    out
}

/// The flag of the table among the properties.
const HEADERS: u16 = 1 << 13;
/// The properties in order, from the highest flag down (AMQP 0-9-1, basic class).
const PROPERTIES: [Kind; 14] = [
    Kind::Text,
    Kind::Text,
    Kind::Table,
    Kind::Octets(1),
    Kind::Octets(1),
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Octets(8),
    Kind::Text,
    Kind::Text,
    Kind::Text,
    Kind::Text,
];

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Table,
    Octets(usize),
}

fn readable(properties: &[u8]) -> bool {
    let read = || -> Option<bool> {
        let (flags, mut rest) = properties.split_first_chunk()?;
        let flags = u16::from_be_bytes(*flags);
        for (at, kind) in PROPERTIES.into_iter().enumerate() {
            if flags & (1 << (15 - at)) != 0 {
                match kind {
                    Kind::Text => drop(text(&mut rest)?),
                    Kind::Table => table(&mut rest, 0)?,
                    Kind::Octets(count) => drop(octets(&mut rest, count)?),
                }
            }
        }
        // The two lowest bits announce flags that nobody has defined.
        Some(flags & 3 == 0 && rest.is_empty())
    };
    read().unwrap_or(false)
}

/// A delivery whose routing key is not text, with U+FFFD for what is not.
fn deliver(payload: &[u8]) -> Option<Vec<u8>> {
    let mut rest = payload.get(4..)?;
    text(&mut rest)?;
    octets(&mut rest, 8 + 1)?;
    text(&mut rest)?;
    let before = payload.get(..payload.len() - rest.len())?;
    let key = short(&mut rest)?;
    if std::str::from_utf8(key).is_ok() {
        return None;
    }
    let mut shown = String::from_utf8_lossy(key).into_owned();
    while shown.len() > usize::from(u8::MAX) {
        shown.pop();
    }
    let length = u8::try_from(shown.len()).ok()?;
    Some([before, &[length], shown.as_bytes()].concat())
}

/// What the server calls itself in the first method that it sends.
fn server(payload: &[u8]) -> Option<String> {
    // Class, method, major and minor version; then its properties.
    let mut rest = payload.get(6..)?;
    let mut entries = sized(&mut rest)?;
    let (mut product, mut version) = (None, None);
    while !entries.is_empty() {
        let name = text(&mut entries)?;
        let mut value = entries;
        self::value(&mut entries, 0)?;
        if octets(&mut value, 1)? == b"S" && matches!(name, "product" | "version") {
            let said = String::from_utf8_lossy(sized(&mut value)?).into_owned();
            *(if name == "product" { &mut product } else { &mut version }) = Some(said);
        }
    }
    Some(format!("{} {}", product?, version?))
}

fn table(rest: &mut &[u8], depth: u8) -> Option<()> {
    let mut entries = sized(rest)?;
    while !entries.is_empty() {
        text(&mut entries)?;
        value(&mut entries, depth)?;
    }
    Some(())
}

fn array(rest: &mut &[u8], depth: u8) -> Option<()> {
    let mut entries = sized(rest)?;
    while !entries.is_empty() {
        value(&mut entries, depth)?;
    }
    Some(())
}

/// The types that the library knows (RabbitMQ's reading of AMQP 0-9-1).
fn value(rest: &mut &[u8], depth: u8) -> Option<()> {
    if depth == DEPTH_MAX {
        return None;
    }
    let [kind] = octets(rest, 1)? else { return None };
    match kind {
        b'V' => {}
        b't' | b'b' | b'B' => drop(octets(rest, 1)?),
        b's' | b'U' | b'u' => drop(octets(rest, 2)?),
        b'I' | b'i' | b'f' => drop(octets(rest, 4)?),
        b'D' => drop(octets(rest, 5)?),
        b'L' | b'l' | b'd' | b'T' => drop(octets(rest, 8)?),
        b'S' | b'x' => drop(sized(rest)?),
        b'F' => table(rest, depth + 1)?,
        b'A' => array(rest, depth + 1)?,
        _ => return None,
    }
    Some(())
}

fn text<'b>(rest: &mut &'b [u8]) -> Option<&'b str> {
    std::str::from_utf8(short(rest)?).ok()
}

fn short<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let [length] = octets(rest, 1)? else { return None };
    octets(rest, usize::from(*length))
}

fn sized<'b>(rest: &mut &'b [u8]) -> Option<&'b [u8]> {
    let length = octets(rest, 4)?.first_chunk()?;
    octets(rest, usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

fn octets<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (taken, left) = rest.split_at_checked(count)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests;
