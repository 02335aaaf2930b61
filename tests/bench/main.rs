//! `make bench`: how fast the real bootstraps are against a real MongoDB, real queues and the simulator over HTTP,
//! printed as tables. Nothing is asserted: machines differ, ratios within one run tell.
//!
//! Arguments choose parts (`backfill`, `fleet`, `drain`, `start`, `tick`, `page`, `fan-out`, `seen`); without any, all are run. `peers` is a part of its own.

mod backfill;
mod drain;
mod fan_out;
mod fleet;
mod page;
mod peers;
mod pool;
mod seen;
mod start;
mod tick;

use anyhow::Result;

#[tokio::main]
async fn main() -> Result<()> {
    // `cargo bench` adds an option of its own.
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|other| other == part);
    if wanted("backfill") {
        backfill::run().await?;
    }
    if wanted("fleet") {
        fleet::run().await?;
    }
    if wanted("drain") {
        drain::run().await?;
    }
    if wanted("start") {
        start::run().await?;
    }
    if wanted("tick") {
        tick::run().await?;
    }
    if wanted("page") {
        page::run().await?;
    }
    if wanted("seen") {
        seen::run().await?;
    }
    if wanted("fan-out") {
        fan_out::run().await?;
    }
    if parts.iter().any(|part| part == "peers") {
        peers::run().await?;
    }
    Ok(())
}
