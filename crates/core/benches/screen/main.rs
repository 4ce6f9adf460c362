// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a decision costs, against the sum of its unavoidable parts (docs/performance.md).
//!
//! `cargo bench -p chancery-core` prints the table; `-- --repeat SIZE SIGNING WHAT TIMES` does one
//! thing so many times, for a profiler that counts instructions.

use std::error::Error;
use std::hint::black_box;
use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use chancery_core::delivery::Delivery;
use chancery_core::screen::{authenticate, authorize, decode, freshness, screen, validate};

mod parts;
mod world;

use parts::Parts;
use world::{MESSAGES, NOW, SIZES, Signing, World};

/// Rounds of a measurement; every figure is a median of as many.
const ROUNDS: usize = 301;
const STEPS: [&str; 5] = ["decode", "authenticate", "freshness", "authorize", "validate"];

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let world = World::new()?;
    match args.as_slice() {
        ["--repeat", size, signing, what, times, ..] => {
            repeat(&world, size, signing, what, times.parse()?)
        }
        // Without cargo's own flag this is a test run: see that it works, measure nothing.
        _ if !args.contains(&"--bench") => table(&world, 1),
        _ => table(&world, ROUNDS),
    }
}

/// One size and signature: its messages, whole and in parts.
struct Case<'w> {
    world: &'w World,
    passes: Vec<Vec<Delivery>>,
    parts: Vec<Vec<Parts<'w>>>,
    turn: AtomicUsize,
}

/// Medians, in nanoseconds per message.
struct Figures {
    steps: [f64; STEPS.len()],
    screen: f64,
    sum: f64,
    /// Median of each round's own ratio.
    ratio: f64,
    /// Messages of two threads in the time of one's.
    two_threads: f64,
}

fn table(world: &World, rounds: usize) -> Outcome<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "| payload | signature | {} | screen | parts | screen/parts | two threads/one |",
        STEPS.join(" | ")
    )?;
    writeln!(out, "|---|---|{}", "---:|".repeat(STEPS.len() + 4))?;
    let mut compared = Vec::new();
    for (bytes, size) in SIZES {
        let mut screens = Vec::new();
        for signing in Signing::ALL {
            let figures = Case::new(world, signing, bytes)?.measure(rounds)?;
            let steps: Vec<String> = figures.steps.iter().map(|ns| micros(*ns)).collect();
            writeln!(
                out,
                "| {size} | {} | {} | {} | {} | {:.2} | {:.2} |",
                signing.name(),
                steps.join(" | "),
                micros(figures.screen),
                micros(figures.sum),
                figures.ratio,
                figures.two_threads
            )?;
            screens.push(figures.screen);
        }
        if let [single, batch, hmac] = screens.as_slice() {
            compared.push((size, batch / hmac, single / batch));
        }
    }
    writeln!(out, "\n| payload | m1/HMAC | single/m1 |\n|---|---:|---:|")?;
    for (size, to_hmac, to_single) in compared {
        writeln!(out, "| {size} | {to_hmac:.2} | {to_single:.1} |")?;
    }
    Ok(())
}

impl<'w> Case<'w> {
    fn new(world: &'w World, signing: Signing, bytes: usize) -> Outcome<Case<'w>> {
        let passes = world.passes(signing, bytes)?;
        let apart = |pass: &Vec<Delivery>| {
            pass.iter().map(|delivery| Parts::of(world, signing, delivery)).collect()
        };
        let parts: Option<Vec<_>> = passes.iter().map(apart).collect();
        let parts = parts.ok_or("a message cannot be taken apart")?;
        Ok(Case { world, passes, parts, turn: AtomicUsize::new(0) })
    }

    /// The messages or parts whose turn it is.
    fn next<'s, T>(&self, all: &'s [Vec<T>]) -> &'s [T] {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        all.get(turn % all.len().max(1)).map_or(&[], Vec::as_slice)
    }

    /// Whole, parts and steps take turns within each round, so that all meet the same noise.
    fn measure(&self, rounds: usize) -> Outcome<Figures> {
        let (mut screens, mut sums, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        let mut steps: [Vec<f64>; STEPS.len()] = Default::default();
        for _ in 0..rounds {
            let (whole, sum) = (per_message(|| self.screen())?, per_message(|| self.sum())?);
            ratios.push(whole / sum);
            screens.push(whole);
            sums.push(sum);
            for (all, took) in steps.iter_mut().zip(self.steps()?) {
                all.push(took.as_nanos() as f64 / MESSAGES as f64);
            }
        }
        Ok(Figures {
            steps: steps.map(median),
            screen: median(screens),
            sum: median(sums),
            ratio: median(ratios),
            two_threads: self.two_threads(rounds.div_ceil(10))?,
        })
    }

    fn screen(&self) -> Outcome<()> {
        for delivery in self.next(&self.passes) {
            black_box(screen(delivery, &self.world.snapshot, &self.world.reader, NOW)?);
        }
        Ok(())
    }

    fn sum(&self) -> Outcome<()> {
        let all = self.next(&self.parts).iter().all(|parts| black_box(parts.work()));
        if all { Ok(()) } else { Err("a part failed".into()) }
    }

    /// Each step over all messages, given the proofs of the step before.
    fn steps(&self) -> Outcome<[Duration; STEPS.len()]> {
        let (snapshot, reader) = (&self.world.snapshot, &self.world.reader);
        let mut took = [Duration::ZERO; STEPS.len()];
        let [decoding, authenticating, aging, authorizing, validating] = &mut took;
        let decoded = each(decoding, self.next(&self.passes), decode)?;
        let known = each(authenticating, decoded, |message| authenticate(message, snapshot))?;
        let timely = each(aging, known, |message| freshness(message, snapshot, NOW))?;
        let allowed = each(authorizing, timely, |message| authorize(message, snapshot, reader))?;
        let valid = each(validating, allowed, |message| validate(message, snapshot))?;
        black_box(valid);
        Ok(took)
    }

    fn two_threads(&self, rounds: usize) -> Outcome<f64> {
        let many = || (0..16).all(|_| self.screen().is_ok());
        let mut ratios = Vec::new();
        for _ in 0..rounds {
            let start = Instant::now();
            let alone = many();
            let one = start.elapsed();
            let both = std::thread::scope(|scope| {
                let other = scope.spawn(many);
                many() && other.join().unwrap_or(false)
            });
            let two = start.elapsed() - one;
            if !(alone && both) {
                return Err("a message was refused".into());
            }
            ratios.push(2.0 * one.as_secs_f64() / two.as_secs_f64());
        }
        Ok(median(ratios))
    }
}

/// One step over all its messages; dropping what it returns is not timed.
fn each<A, B, E: Error + 'static>(
    took: &mut Duration,
    messages: impl IntoIterator<Item = A>,
    step: impl Fn(A) -> Result<B, E>,
) -> Outcome<Vec<B>> {
    let mut done = Vec::with_capacity(MESSAGES);
    let start = Instant::now();
    for message in messages {
        done.push(step(message)?);
    }
    *took = start.elapsed();
    Ok(done)
}

fn per_message(work: impl FnOnce() -> Outcome<()>) -> Outcome<f64> {
    let start = Instant::now();
    work()?;
    Ok(start.elapsed().as_nanos() as f64 / MESSAGES as f64)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

fn micros(ns: f64) -> String {
    format!("{:.2}", ns / 1000.0)
}

/// `TIMES` passes over one case's messages: run it with two counts under a profiler, and the
/// difference is the work of the passes alone.
fn repeat(world: &World, size: &str, signing: &str, what: &str, times: usize) -> Outcome<()> {
    let (bytes, _) = SIZES.iter().find(|(_, name)| *name == size).ok_or("SIZE: 100 B, 1 KiB…")?;
    let signing = Signing::ALL.into_iter().find(|known| known.name() == signing);
    let case =
        Case::new(world, signing.ok_or("SIGNING: Ed25519, Ed25519 m1, HMAC-SHA256")?, *bytes)?;
    for _ in 0..times {
        match what {
            "screen" => case.screen()?,
            "parts" => case.sum()?,
            _ => return Err("WHAT: screen, parts".into()),
        }
    }
    Ok(())
}
