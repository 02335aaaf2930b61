//! Cold starts: from starting the process to its first poll of the Runtime API.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function},
    world::World,
};

/// How often each function is started.
const TIMES: usize = 20;

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) async fn run() -> Result<()> {
    println!("\nCold start, {TIMES} times each, and what the process holds then\n");
    println!("| function | p50, ms | longest, ms | RSS, MB | bootstrap, MB |");
    println!("|---|---|---|---|---|");
    let world = World::new("bench_start").await?;
    for function in [Function::Scheduler, Function::Sync, Function::Actions, Function::Connect] {
        let (mut times, mut memory) = (Vec::new(), 0);
        for _ in 0..TIMES {
            let bootstrap = Bootstrap::start_ungated(function, &world).await?;
            let began = Instant::now();
            let time = loop {
                if let Some(time) = bootstrap.cold_start() {
                    break time;
                }
                ensure!(began.elapsed() < PATIENCE, "{function:?} does not start");
                tokio::time::sleep(Duration::from_millis(1)).await;
            };
            times.push(time);
            memory = memory.max(bootstrap.usage()?.1);
        }
        times.sort_unstable();
        let millis = |time: Duration| time.as_secs_f64() * 1000.0;
        println!(
            "| {function:?} | {:.0} | {:.0} | {:.0} | {:.1} |",
            millis(times[TIMES / 2]),
            millis(times[TIMES - 1]),
            memory as f64 / 1e6,
            std::fs::metadata(function.bootstrap())?.len() as f64 / 1e6
        );
    }
    world.end().await
}
