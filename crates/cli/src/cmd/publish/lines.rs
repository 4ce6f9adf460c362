// SPDX-License-Identifier: MIT OR Apache-2.0
//! Lines of standard input, with their numbers, each of bounded length, read ahead a little.

use std::io::{self, BufRead};

use chancery::core::screen::BODY_BYTES_MAX;
use tokio::sync::mpsc;

use crate::exit::{Failure, Result};

/// Lines that are read before somebody wants them.
const AHEAD_MAX: usize = 64;

/// One line that is not blank.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    /// Without its end; cut at one more than the format's limit.
    pub(crate) bytes: Vec<u8>,
}

impl Line {
    /// Whether there was more of it than any body may have.
    pub(crate) fn is_too_long(&self) -> bool {
        self.bytes.len() > BODY_BYTES_MAX
    }
}

/// Lines as a thread of their own reads them.
pub(crate) struct Lines(mpsc::Receiver<io::Result<Line>>);

impl Lines {
    /// Begins to read standard input.
    pub(crate) fn of_stdin() -> Result<Lines> {
        let (sender, receiver) = mpsc::channel(AHEAD_MAX);
        let read = move || {
            let mut input = io::stdin().lock();
            let mut number = 0;
            // Ends with the input, with its failure, or when nobody wants more.
            while let Some(line) = next(&mut input, &mut number).transpose() {
                let failed = line.is_err();
                if sender.blocking_send(line).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("stdin".to_owned());
        thread.spawn(read).map_err(Failure::bug)?;
        Ok(Lines(receiver))
    }

    /// Waits for a line, then takes what else is there, at most `max` in all. `None` at the end.
    pub(crate) async fn batch(&mut self, max: usize) -> Result<Option<Vec<Line>>> {
        let mut batch = Vec::new();
        self.0.recv_many(&mut batch, max).await;
        let lines = batch.into_iter().collect::<io::Result<Vec<Line>>>();
        let lines = lines.map_err(|error| Failure::pipe("standard input", &error))?;
        Ok((!lines.is_empty()).then_some(lines))
    }
}

fn next(input: &mut impl BufRead, number: &mut u64) -> io::Result<Option<Line>> {
    loop {
        let Some(mut bytes) = line(input, BODY_BYTES_MAX + 1)? else { return Ok(None) };
        *number += 1;
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
        if !bytes.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Line { number: *number, bytes }));
        }
    }
}

/// Reads to the end of the line and keeps at most `max` bytes.
fn line(input: &mut impl BufRead, max: usize) -> io::Result<Option<Vec<u8>>> {
    let mut kept = Vec::new();
    let mut any = false;
    loop {
        let chunk = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            chunk => chunk?,
        };
        if chunk.is_empty() {
            return Ok(any.then_some(kept));
        }
        any = true;
        let end = chunk.iter().position(|b| *b == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        kept.extend(part.iter().take(max.saturating_sub(kept.len())));
        let used = part.len() + usize::from(end.is_some());
        input.consume(used);
        if end.is_some() {
            return Ok(Some(kept));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(mut input: &[u8]) -> Vec<(u64, Vec<u8>)> {
        let mut number = 0;
        let mut lines = Vec::new();
        while let Some(line) = next(&mut input, &mut number).unwrap() {
            lines.push((line.number, line.bytes));
        }
        lines
    }

    #[test]
    fn lines_keep_their_numbers_and_bytes() {
        let lines = all(b"{\"a\":1}\n\n  \n {\"b\": 2} \r\nlast");
        let expected: [(u64, &[u8]); 3] = [(1, b"{\"a\":1}"), (4, b" {\"b\": 2} "), (5, b"last")];
        assert_eq!(lines, expected.map(|(number, bytes)| (number, bytes.to_vec())));
        assert!(all(b"").is_empty());
    }

    // A line without an end must not fill the memory.
    #[test]
    fn a_line_is_cut_at_the_limit_and_the_next_is_whole() {
        let mut input: &[u8] = b"abcdefgh\nij\n";
        assert_eq!(line(&mut input, 3).unwrap(), Some(b"abc".to_vec()));
        assert_eq!(line(&mut input, 3).unwrap(), Some(b"ij".to_vec()));
        assert_eq!(line(&mut input, 3).unwrap(), None);
    }
}
