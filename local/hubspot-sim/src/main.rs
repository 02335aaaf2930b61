//! The simulator as a program of its own.

use anyhow::Context;
use clap::Parser;
use hubspot_sim::{Settings, Simulator};

/// HubSpot's CRM API, simulated on 127.0.0.1.
#[derive(Parser)]
struct Arguments {
    /// The port to listen on.
    #[arg(long, default_value_t = 8085)]
    port: u16,
    /// How long every answer takes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    latency_ms: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings { latency_ms: arguments.latency_ms, ..Settings::default() };
    let simulator = Simulator::start(arguments.port, settings)
        .await
        .with_context(|| format!("port {} of 127.0.0.1 cannot be listened on", arguments.port))?;
    println!("HubSpot is simulated at {}", simulator.url());
    Ok(simulator.wait().await?)
}
