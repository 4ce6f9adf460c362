// SPDX-License-Identifier: MIT OR Apache-2.0
//! Chancery's own tasks, one file per verb: `cargo xtask help`.

use std::process::ExitCode;

mod brokers;
mod fuzz;
mod mutants;
mod run;
mod test;

const HELP: &str = "\
cargo xtask <verb>

  test             every test that needs only Rust and a C compiler: format, lints, tests, demo
                   [--real]: all tests, on all servers of `brokers`, started for that time
                   [--soak]: 200 kills in place of 20, and long property tests
  fuzz             every parser under libFuzzer; needs nightly Rust
                   [--install] [--seconds N] [TARGET]
  mutants          every check switched off, one at a time, until a test notices [--markdown]
  brokers          real servers on loopback, hardened or as people leave them, for what needs them
                   up [--as-found] [NAME…]: installs what is missing and starts
                   kill [--as-found] [NAME…]: as a crash would; `up` starts again
                   down [--as-found] [NAME…]: stops both kinds, or those
                   status [--json]: endpoints, versions, where each credential lies
                   CHANCERY_PORTS=kafka.scram=9093,as-found/nats.client=4222 chooses ports
  help             this text
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["test", rest @ ..] => test::test(rest),
        ["fuzz", rest @ ..] => fuzz::fuzz(rest),
        ["mutants", rest @ ..] => mutants::mutants(rest),
        ["brokers", rest @ ..] => brokers::brokers(rest),
        ["help"] | [] => run::say(HELP),
        other => Err(format!("`{}` is not a verb; see cargo xtask help", other.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            run::warn(&format!("xtask: {why}"));
            ExitCode::FAILURE
        }
    }
}
