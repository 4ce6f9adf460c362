// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to standard output, one write each.

use std::fs::File;
use std::io::{self, Write};

use chancery::Outcome;

use super::{Attempt, Effect, Halt, Line};
use crate::exit::Result;
use crate::out;

/// Whoever reads our standard output.
pub(crate) struct Pipe {
    out: File,
    halt: Halt,
}

impl Pipe {
    /// Standard output.
    pub(crate) fn new(halt: Halt) -> Result<Pipe> {
        Ok(Pipe { out: out::stdout_for_data()?, halt })
    }
}

impl Effect for Pipe {
    async fn run(&self, line: &Line, _: &Attempt) -> Outcome {
        // A reader that is slow holds us up here; that is what a pipe is for.
        match tokio::task::block_in_place(|| write_whole(&self.out, &line.bytes)) {
            Ok(()) => Outcome::Done,
            Err(error) => self.halt.with(out::stdout(&error)).await,
        }
    }
}

/// One write where the system lets it be one. Half a line in a file is taken back, or whoever
/// appends to that file next makes one broken line of two messages.
fn write_whole(mut out: &File, line: &[u8]) -> io::Result<()> {
    let mut rest = line;
    while !rest.is_empty() {
        let wrote = match out.write(rest) {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            wrote => wrote,
        };
        match wrote {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => {
                let begun = line.len() - rest.len();
                take_back(out, begun as u64);
                return Err(error);
            }
        }
    }
    Ok(())
}

fn take_back(out: &File, bytes: u64) {
    let Ok(metadata) = out.metadata() else { return };
    if metadata.is_file() && bytes > 0 {
        // If this fails too, the half line stays; that the message comes again is sure anyhow.
        let _ = out.set_len(metadata.len().saturating_sub(bytes));
    }
}
