// SPDX-License-Identifier: MIT OR Apache-2.0
//! Messages to standard output, one write each.

use std::fs::File;
use std::io::Write;

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
        Ok(Pipe { out: out::stdout_file().map_err(|error| out::stdout(&error))?, halt })
    }
}

impl Effect for Pipe {
    async fn run(&self, line: &Line, _: &Attempt) -> Outcome {
        // A reader that is slow holds us up here; that is what a pipe is for.
        match tokio::task::block_in_place(|| (&self.out).write_all(&line.bytes)) {
            Ok(()) => Outcome::Done,
            Err(error) => self.halt.with(out::stdout(&error)).await,
        }
    }
}
