// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a topic is set to, asked with a token. librdkafka's administrator never gets one (its queue
//! of callbacks is not polled), so these three requests of Kafka's protocol are written by hand:
//! SaslHandshake 1, SaslAuthenticate 0, DescribeConfigs 1 (Kafka 1.1 and later).

use std::collections::BTreeMap;
use std::io::{Read, Write};

use rdkafka::error::RDKafkaErrorCode as Code;
use zeroize::Zeroizing;

use super::{ANSWER, Trouble, token};
use crate::config::{Settings, TokenFrom};

const SASL_HANDSHAKE: (i16, i16) = (17, 1);
const SASL_AUTHENTICATE: (i16, i16) = (36, 0);
const DESCRIBE_CONFIGS: (i16, i16) = (32, 1);
const TOPIC: u8 = 2;
/// Longest answer, in bytes.
const BYTES_MAX: u32 = 1 << 20;
/// Codes of Kafka's protocol.
const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

/// Asks the first broker that answers; waits for it.
pub(crate) fn topic_settings(
    settings: &Settings,
    tokens: &TokenFrom,
    topic: &str,
) -> Result<BTreeMap<String, String>, Trouble> {
    let token = token::get(tokens).map_err(|why| Trouble::new(Code::Authentication, why))?;
    let Some(tls) = &settings.security.tls else {
        let reason = "a token is not sent without TLS for the sake of a question";
        return Err(Trouble::new(Code::TopicAuthorizationFailed, reason));
    };
    let mut last = Trouble::silent(ANSWER);
    for server in settings.servers.split(',') {
        let Some((host, port)) = server.rsplit_once(':') else { continue };
        let Ok(port) = port.parse() else { continue };
        let host = host.trim_matches(['[', ']']);
        match token::dial(tls.ca.as_deref(), host, port) {
            Ok(mut stream) => return ask(&mut stream, &token.text, topic),
            Err(why) => last = Trouble::new(Code::BrokerTransportFailure, why),
        }
    }
    Err(last)
}

fn ask(
    stream: &mut (impl Read + Write),
    token: &str,
    topic: &str,
) -> Result<BTreeMap<String, String>, Trouble> {
    let mut hello = Request::new(SASL_HANDSHAKE);
    hello.text("OAUTHBEARER");
    let answer = hello.send(stream)?;
    let refused = |code: i16| {
        let reason = format!("the broker does not take the token (error {code})");
        Trouble::new(Code::Authentication, reason)
    };
    let code = Answer(&answer).i16().ok_or_else(unreadable)?;
    if code != 0 {
        return Err(refused(code));
    }
    let mut proof = Request::new(SASL_AUTHENTICATE);
    let bearer = Zeroizing::new(format!("n,,\x01auth=Bearer {token}\x01\x01"));
    proof.bytes(bearer.as_bytes());
    let answer = proof.send(stream)?;
    let code = Answer(&answer).i16().ok_or_else(unreadable)?;
    if code != 0 {
        return Err(refused(code));
    }
    let mut question = Request::new(DESCRIBE_CONFIGS);
    question.i32(1);
    question.0.push(TOPIC);
    question.text(topic);
    question.i32(-1);
    question.0.push(0);
    let answer = question.send(stream)?;
    read(&mut Answer(&answer)).ok_or_else(unreadable)?
}

fn unreadable() -> Trouble {
    Trouble::new(Code::BadMessage, "the broker's answer cannot be read")
}

fn read(from: &mut Answer<'_>) -> Option<Result<BTreeMap<String, String>, Trouble>> {
    let _throttle = from.i32()?;
    if from.i32()? != 1 {
        return None;
    }
    let code = from.i16()?;
    let _message = from.text()?;
    let _kind = from.take(1)?;
    let _name = from.text()?;
    match code {
        0 => {}
        TOPIC_AUTHORIZATION_FAILED => {
            let code = Code::TopicAuthorizationFailed;
            return Some(Err(Trouble::new(code, code.to_string())));
        }
        other => return Some(Err(Trouble::new(Code::Fail, format!("error {other}")))),
    }
    let mut known = BTreeMap::new();
    for _ in 0..from.i32()? {
        let (name, value) = (from.text()?, from.text()?);
        let _flags = from.take(3)?;
        for _ in 0..from.i32()? {
            let _synonym = (from.text()?, from.text()?, from.take(1)?);
        }
        known.extend(name.zip(value));
    }
    Some(Ok(known))
}

/// A request: its head, then what is put into it.
struct Request(Zeroizing<Vec<u8>>);

impl Request {
    fn new((api, version): (i16, i16)) -> Request {
        let mut request = Request(Zeroizing::new(Vec::new()));
        request.0.extend(api.to_be_bytes());
        request.0.extend(version.to_be_bytes());
        request.i32(1);
        request.text("chancery");
        request
    }

    fn i32(&mut self, number: i32) {
        self.0.extend(number.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.0.extend(i16::try_from(text.len()).unwrap_or(i16::MAX).to_be_bytes());
        self.0.extend(text.as_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.i32(i32::try_from(bytes.len()).unwrap_or(i32::MAX));
        self.0.extend(bytes);
    }

    /// Sends it; gives the answer behind its head.
    fn send(&self, stream: &mut (impl Read + Write)) -> Result<Vec<u8>, Trouble> {
        let cut =
            |error: std::io::Error| Trouble::new(Code::BrokerTransportFailure, error.to_string());
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        stream.write_all(&length.to_be_bytes()).map_err(cut)?;
        stream.write_all(&self.0).map_err(cut)?;
        let mut head = [0; 4];
        stream.read_exact(&mut head).map_err(cut)?;
        let length = u32::from_be_bytes(head);
        if !(4..=BYTES_MAX).contains(&length) {
            return Err(unreadable());
        }
        let mut answer = Vec::new();
        let read = stream.take(u64::from(length)).read_to_end(&mut answer).map_err(cut)?;
        if u32::try_from(read) != Ok(length) {
            return Err(unreadable());
        }
        Ok(answer.split_off(4))
    }
}

struct Answer<'a>(&'a [u8]);

impl<'a> Answer<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn i16(&mut self) -> Option<i16> {
        self.take(2)?.try_into().ok().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.take(4)?.try_into().ok().map(i32::from_be_bytes)
    }

    /// A text that may be null.
    fn text(&mut self) -> Option<Option<String>> {
        match usize::try_from(self.i16()?) {
            Ok(len) => String::from_utf8(self.take(len)?.to_vec()).ok().map(Some),
            Err(_) => Some(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(code: i16) -> Vec<u8> {
        let mut out = Request(Zeroizing::new(Vec::new()));
        out.i32(0);
        out.i32(1);
        out.0.extend(code.to_be_bytes());
        out.0.extend((-1i16).to_be_bytes());
        out.0.push(TOPIC);
        out.text("orders.created");
        out.i32(1);
        out.text("cleanup.policy");
        out.text("delete");
        out.0.extend([0, 5, 0]);
        out.i32(1);
        out.text("log.cleanup.policy");
        out.text("delete");
        out.0.push(5);
        out.0.to_vec()
    }

    #[test]
    fn an_answer_is_read_and_a_denial_is_one() {
        let known = read(&mut Answer(&answer(0))).unwrap().unwrap();
        assert_eq!(known["cleanup.policy"], "delete");
        let denied = read(&mut Answer(&answer(29))).unwrap().unwrap_err();
        assert_eq!(denied.code, Code::TopicAuthorizationFailed);
    }

    // Threat: an answer that says that it is longer than it is.
    #[test]
    fn what_is_cut_off_is_not_read() {
        let whole = answer(0);
        for end in 0..whole.len() {
            assert!(read(&mut Answer(&whole[..end])).is_none(), "{end}");
        }
    }
}
