//! A model of the sync queue under one tick: how long the last account waits for its look, by the number of accounts and the
//! concurrency of sync (`docs/concepts/scale.md`). Nothing real runs.

use std::{cmp::Reverse, collections::BinaryHeap};

use anyhow::{Context as _, Result};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// How many messages the scheduler sends in a second, as `make bench PART=fan-out` measures it.
const SENT_A_SECOND: f64 = 13_550.0;
/// The most messages of an invocation, and the fewest that SQS is assumed to return while more are waiting.
const MESSAGES: (usize, usize) = (6, 10);
/// How long a look takes, in seconds: `make bench PART=tick`, up to twice as long.
const LOOK: (f64, f64) = (0.34, 0.68);
/// One account in a hundred has a whole slice to do, in seconds.
const SLICE: f64 = 4.4;
const BUSY: f64 = 0.01;
/// Between two invocations of one environment: the answer, the deletion, and the next request.
const BETWEEN: f64 = 0.03;
/// Lambda begins with five pollers, and adds up to 300 invocations a minute: AWS, "Configuring scaling behavior for SQS event
/// source mappings".
const FIRST: usize = 5;
const ADDED_A_SECOND: f64 = 5.0;

pub(crate) fn run() -> Result<()> {
    println!("\nThe sync queue under one tick, a model: seconds until half, 99 % and all accounts were looked at\n");
    println!("| accounts due | invocations at a time | half, s | 99 %, s | all, s | invocations |");
    println!("|---|---|---|---|---|---|");
    for accounts in [1_000, 10_000, 33_000, 100_000] {
        for concurrency in [20, 50, 100, 200] {
            let mut ends = one(accounts, concurrency)?;
            ends.1.sort_by(f64::total_cmp);
            let at = |share: f64| ends.1[((accounts as f64 * share) as usize).min(accounts - 1)];
            let [half, most, all] = [0.5, 0.99, 1.0].map(at);
            println!("| {accounts} | {concurrency} | {half:.0} | {most:.0} | {all:.0} | {} |", ends.0);
        }
    }
    Ok(())
}

/// Returns the number of invocations, and when each account's look ended.
fn one(accounts: usize, concurrency: usize) -> Result<(usize, Vec<f64>)> {
    let mut random = StdRng::seed_from_u64(1);
    // When each environment is free, in microseconds. Lambda adds them with time.
    let started = |number: usize| (number.saturating_sub(FIRST) as f64 / ADDED_A_SECOND * 1e6) as u64;
    let mut free: BinaryHeap<Reverse<u64>> = (0..concurrency).map(|number| Reverse(started(number))).collect();
    let (mut taken, mut invocations, mut ends) = (0, 0, Vec::with_capacity(accounts));
    while taken < accounts {
        let Reverse(at) = free.pop().context("there is an environment")?;
        // A message is there once it was sent.
        let at = (at as f64 / 1e6).max(taken as f64 / SENT_A_SECOND);
        let count = random.random_range(MESSAGES.0..=MESSAGES.1).min(accounts - taken);
        let looks = (0..count).map(|_| match random.random_bool(BUSY) {
            true => SLICE,
            false => random.random_range(LOOK.0..LOOK.1),
        });
        let looks: Vec<f64> = looks.collect();
        ends.extend(looks.iter().map(|look| at + look));
        // An invocation lasts as long as the slowest of its accounts.
        let longest = looks.into_iter().fold(0.0, f64::max);
        free.push(Reverse(((at + longest + BETWEEN) * 1e6) as u64));
        taken += count;
        invocations += 1;
    }
    Ok((invocations, ends))
}
