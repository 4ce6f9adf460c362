// SPDX-License-Identifier: MIT OR Apache-2.0
//! The client protocol's frames (NATS "Client Protocol"), byte for byte: what a header field holds
//! is nobody's to trim, sort or refuse here.

use bytes::{Buf, Bytes, BytesMut};

/// Longest line: a server's INFO names every server of its cluster.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Largest message, with its header: a server takes 1 MiB unless it was told otherwise.
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What a server sends.
#[derive(Debug)]
pub(crate) enum Frame {
    Info(Bytes),
    Message(Message),
    Ping,
    Pong,
    Ok,
    /// Its words, without the quotes.
    Error(String),
}

/// A message as it came.
#[derive(Clone)]
pub(crate) struct Message {
    pub(crate) subject: String,
    /// The subscription that it came by.
    pub(crate) sid: u64,
    pub(crate) reply: Option<String>,
    /// The whole header block, from `NATS/1.0` to its empty line; empty if there is none.
    pub(crate) head: Bytes,
    pub(crate) payload: Bytes,
}

impl Message {
    /// Code and description of an answer by the server itself (`404 No Messages`).
    pub(crate) fn status(&self) -> Option<(u16, String)> {
        let line = self.head.split(|byte| *byte == b'\r').next()?;
        let line = String::from_utf8_lossy(line.strip_prefix(b"NATS/1.0")?);
        let (code, description) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        Some((code.parse().ok()?, description.trim().to_owned()))
    }
}

/// Sizes only.
impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (head, payload) = (self.head.len(), self.payload.len());
        write!(f, "message of {head} + {payload} bytes")
    }
}

/// Takes the first whole frame; `None`: more bytes must come.
///
/// # Errors
/// What is not the protocol; nothing that follows can be read.
pub(crate) fn take(buffer: &mut BytesMut) -> Result<Option<Frame>, String> {
    let Some(end) = buffer.windows(2).take(LINE_BYTES_MAX).position(|two| two == b"\r\n") else {
        return match buffer.len() > LINE_BYTES_MAX {
            true => Err(format!("a line of more than {LINE_BYTES_MAX} bytes")),
            false => Ok(None),
        };
    };
    let line = buffer.get(..end).unwrap_or_default();
    let (verb, rest) = line.split_at(line.iter().position(|b| *b == b' ').unwrap_or(end));
    let told = || String::from_utf8_lossy(rest).trim().trim_matches('\'').to_owned();
    let frame = match verb.to_ascii_uppercase().as_slice() {
        b"MSG" => return message(buffer, end, false),
        b"HMSG" => return message(buffer, end, true),
        b"INFO" => Frame::Info(Bytes::copy_from_slice(rest.trim_ascii())),
        b"PING" => Frame::Ping,
        b"PONG" => Frame::Pong,
        b"+OK" => Frame::Ok,
        b"-ERR" => Frame::Error(told()),
        _ => return Err("something that is not the NATS protocol".into()),
    };
    buffer.advance(end + 2);
    Ok(Some(frame))
}

/// `MSG subject sid [reply] bytes` or `HMSG subject sid [reply] header-bytes bytes`, and the bytes.
fn message(buffer: &mut BytesMut, end: usize, has_head: bool) -> Result<Option<Frame>, String> {
    let bad = || "a message that is not the NATS protocol".to_owned();
    let line = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).into_owned();
    let mut words: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
    let mut number = || words.pop()?.parse::<usize>().ok();
    let size = number().ok_or_else(bad)?;
    let head = if has_head { number().ok_or_else(bad)? } else { 0 };
    if head > size || size > MESSAGE_BYTES_MAX {
        return Err(format!("a message of {size} bytes; {MESSAGE_BYTES_MAX} are too many"));
    }
    let (subject, sid, reply) = match words[..] {
        [subject, sid] => (subject, sid, None),
        [subject, sid, reply] => (subject, sid, Some(reply.to_owned())),
        _ => return Err(bad()),
    };
    let sid = sid.parse().map_err(|_| bad())?;
    if buffer.len() < end + 2 + size + 2 {
        buffer.reserve(end + 2 + size + 2 - buffer.len());
        return Ok(None);
    }
    let subject = subject.to_owned();
    buffer.advance(end + 2);
    let head = buffer.split_to(head).freeze();
    let payload = buffer.split_to(size - head.len()).freeze();
    match buffer.get(..2) {
        Some(b"\r\n") => buffer.advance(2),
        _ => return Err(bad()),
    }
    Ok(Some(Frame::Message(Message { subject, sid, reply, head, payload })))
}

/// `PUB` or, with a header block, `HPUB`.
pub(crate) fn publish(subject: &str, reply: &str, head: &[u8], payload: &[u8]) -> Bytes {
    let (verb, size) = if head.is_empty() { ("PUB", payload.len()) } else { ("HPUB", head.len()) };
    let mut out = format!("{verb} {subject} {reply} {size}");
    if !head.is_empty() {
        out += &format!(" {}", head.len() + payload.len());
    }
    [out.as_bytes(), b"\r\n", head, payload, b"\r\n"].concat().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Vec<Frame> {
        let mut buffer = BytesMut::from(bytes);
        std::iter::from_fn(|| take(&mut buffer).unwrap()).collect()
    }

    #[test]
    fn frames_come_as_they_were_sent_however_they_are_cut() {
        let head = b"NATS/1.0\r\na:\r\n\r\n";
        let mut sent = b"PING\r\n-ERR 'Stale Connection'\r\nMSG a.b 7 3\r\n\r\nx\r\n".to_vec();
        sent.extend(format!("HMSG a 7 r {} {}\r\n", head.len(), head.len() + 1).bytes());
        sent.extend([&head[..], b"z\r\n"].concat());
        let mut buffer = BytesMut::new();
        let mut frames = Vec::new();
        for byte in sent {
            buffer.extend([byte]);
            frames.extend(take(&mut buffer).unwrap());
        }
        let [Frame::Ping, Frame::Error(error), Frame::Message(plain), Frame::Message(message)] =
            &frames[..]
        else {
            panic!("{frames:?}")
        };
        assert_eq!(error, "Stale Connection");
        assert_eq!((plain.payload.as_ref(), plain.reply.as_deref()), (&b"\r\nx"[..], None));
        assert_eq!((message.head.as_ref(), message.payload.as_ref()), (&head[..], &b"z"[..]));
        assert_eq!(message.reply.as_deref(), Some("r"));
    }

    // Threat: a server, or whoever answers in its place, makes us allocate or read on for ever.
    #[test]
    fn what_is_not_the_protocol_ends_it() {
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"MSG a 1 99999999999\r\n",
            b"HMSG a 1 9 5\r\nNATS/1.0\r\n",
            b"MSG a x 1\r\na\r\n",
            b"MSG a 1 1\r\nabc",
            b"MSG 1\r\n",
            b"MSG a 1 b c 1\r\n",
            &vec![b'x'; LINE_BYTES_MAX + 1],
        ] {
            let mut buffer = BytesMut::from(bytes);
            assert!(take(&mut buffer).is_err(), "{}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn a_status_is_read_from_the_first_line_only() {
        let of = |head: &'static [u8]| {
            let head = Bytes::from_static(head);
            let (subject, payload) = (String::new(), Bytes::new());
            Message { subject, sid: 1, reply: None, head, payload }.status()
        };
        assert_eq!(of(b"NATS/1.0 404 No Messages\r\n\r\n"), Some((404, "No Messages".into())));
        assert_eq!(of(b"NATS/1.0 503\r\n\r\n"), Some((503, String::new())));
        assert_eq!(of(b"NATS/1.0\r\nx: 404 No\r\n\r\n"), None);
        assert_eq!(of(b""), None);
    }

    #[test]
    fn what_is_published_reads_back() {
        let frames = all(b"MSG s 1 r 1\r\nx\r\n");
        assert_eq!(frames.len(), 1);
        assert_eq!(publish("s", "r", b"", b"x").as_ref(), b"PUB s r 1\r\nx\r\n");
        let head = b"NATS/1.0\r\n\r\n";
        let sent = publish("s", "r", head, b"x");
        assert_eq!(sent.as_ref(), [&b"HPUB s r 12 13\r\n"[..], head, b"x\r\n"].concat());
    }
}
