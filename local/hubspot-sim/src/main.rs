//! The simulator as a program of its own.

use std::path::PathBuf;

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
    /// Another port, by TLS, for clients whose address of HubSpot is fixed.
    #[arg(long, requires_all = ["tls_certificate", "tls_key"])]
    tls_port: Option<u16>,
    /// A PEM file.
    #[arg(long)]
    tls_certificate: Option<PathBuf>,
    /// A PEM file.
    #[arg(long)]
    tls_key: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings { latency_ms: arguments.latency_ms, ..Settings::default() };
    let mut simulator = Simulator::start(arguments.port, settings)
        .await
        .with_context(|| format!("port {} of 127.0.0.1 cannot be listened on", arguments.port))?;
    if let (Some(port), Some(certificate), Some(key)) =
        (arguments.tls_port, arguments.tls_certificate, arguments.tls_key)
    {
        simulator.listen_tls(port, &certificate, &key).await.with_context(|| format!("TLS at port {port}"))?;
    }
    println!("HubSpot is simulated at {}", simulator.url());
    Ok(simulator.wait().await?)
}
