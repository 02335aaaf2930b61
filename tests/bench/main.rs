//! `make bench`: how fast the real bootstraps are against a real MongoDB, real queues and the simulator over HTTP,
//! printed as tables. Nothing is asserted: machines differ, ratios within one run tell.
//!
//! Arguments choose parts (`backfill`, `changes`, `fleet`, `drain`, `start`, `tick`, `page`, `associations`, `fan-out`, `queue`, `seen`); without any, all are run. `peers` is a part of its own.

mod associations;
mod backfill;
mod changes;
mod drain;
mod fan_out;
mod fleet;
mod page;
mod peers;
mod pool;
mod queue;
mod seen;
mod start;
mod tick;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The parts, and roughly how many seconds each takes on two processors.
const PARTS: [(&str, u64); 11] = [
    ("backfill", 150),
    ("changes", 110),
    ("fleet", 110),
    ("drain", 60),
    ("start", 10),
    ("tick", 40),
    ("page", 20),
    ("associations", 180),
    ("seen", 60),
    ("fan-out", 60),
    ("queue", 1),
];

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let named: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let all = || PARTS.iter().map(|(part, _)| (*part).to_owned()).collect();
    let parts: Vec<String> = if named.is_empty() { all() } else { named };
    let typical = |part: &String| PARTS.iter().find(|(name, _)| name == part).map_or(600, |(_, seconds)| *seconds);
    let began = Instant::now();
    for (number, part) in parts.iter().enumerate() {
        let left = Duration::from_secs(parts[number..].iter().map(typical).sum());
        // Tables alone go to the standard output.
        eprintln!(
            "[{} of {}] {part}, {:.0} s so far, about {} s left",
            number + 1,
            parts.len(),
            began.elapsed().as_secs_f32(),
            left.as_secs()
        );
        run(part).await?;
    }
    Ok(())
}

async fn run(part: &str) -> Result<()> {
    match part {
        "backfill" => backfill::run().await,
        "changes" => changes::run().await,
        "queue" => queue::run(),
        "fleet" => fleet::run().await,
        "drain" => drain::run().await,
        "start" => start::run().await,
        "tick" => tick::run().await,
        "page" => page::run().await,
        "associations" => associations::run().await,
        "seen" => seen::run().await,
        "fan-out" => fan_out::run().await,
        "peers" => peers::run().await,
        other => bail!("there is no part {other}"),
    }
}
