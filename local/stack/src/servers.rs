//! Starts the servers of the local stack, and waits until they are ready. All listen only on 127.0.0.1.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result};
use mongodb::{Client, bson::doc, options::ClientOptions};
use ops::{
    layout::{self, log},
    local::aws_environment,
};

use crate::process::{start, wait_until};

const START_TIMEOUT: Duration = Duration::from_secs(180);

/// The variables of this process that MiniStack and its functions inherit.
const INHERITED_VARIABLES: [&str; 5] = ["HOME", "LANG", "PATH", "RUST_BACKTRACE", "TZ"];

/// Starts MongoDB as a replica set of one, which makes writes retryable, and waits until it accepts writes.
///
/// # Errors
/// The server cannot be started, or is not ready in time.
pub async fn start_mongod(state: &Path, port: u16) -> Result<()> {
    start_mongod_with(state, port, &[]).await
}

/// Does the same with more arguments.
///
/// # Errors
/// As [`start_mongod`].
pub async fn start_mongod_with(state: &Path, port: u16, arguments: &[&str]) -> Result<()> {
    let data = state.join("mongodb");
    fs::create_dir_all(&data)?;
    let mut mongod = Command::new(layout::tools().join("mongodb/mongod"));
    mongod.args(["--replSet", "rs0", "--bind_ip", "127.0.0.1", "--wiredTigerCacheSizeGB", "0.5", "--quiet"]);
    // Each test has a database of its own, and MongoDB keeps a file for each collection and each index. It usually closes them
    // ten minutes after their last use, when there may be more of them than a process may have open.
    mongod.args(["--setParameter", "wiredTigerFileHandleCloseIdleTime=20"]);
    mongod.arg("--port").arg(port.to_string()).arg("--dbpath").arg(&data).args(arguments);
    start(state, "mongod", &mut mongod)?;
    let ready = wait_until("MongoDB", START_TIMEOUT, async || become_primary(port).await.unwrap_or(false));
    ready.await.with_context(|| format!("see {}", log(state, "mongod").display()))
}

async fn become_primary(port: u16) -> Result<bool> {
    let mut options = ClientOptions::parse(format!("mongodb://127.0.0.1:{port}/?directConnection=true")).await?;
    options.server_selection_timeout = Some(Duration::from_secs(1));
    let admin = Client::with_options(options)?.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 }).await?;
    if hello.get_str("setName").is_err() {
        let members = vec![doc! { "_id": 0, "host": format!("127.0.0.1:{port}") }];
        admin.run_command(doc! { "replSetInitiate": { "_id": "rs0", "members": members } }).await?;
    }
    Ok(hello.get_bool("isWritablePrimary").unwrap_or(false))
}

/// Starts MiniStack, and waits until it answers.
///
/// # Errors
/// The server cannot be started, or is not ready in time.
pub async fn start_ministack(state: &Path, port: u16) -> Result<()> {
    let mut ministack = Command::new(layout::tools().join("ministack/bin/ministack"));
    // Its functions inherit its variables, so it must have none of `.env`.
    ministack.env_clear().envs(INHERITED_VARIABLES.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    ministack.env("GATEWAY_PORT", port.to_string()).env("BIND_HOST", "127.0.0.1").env("MINISTACK_HOST", "localhost");
    ministack.envs(aws_environment(port)).env("PYTHONUNBUFFERED", "1");
    // MiniStack unpacks the functions there.
    let unpacked = state.join("tmp");
    if unpacked.exists() {
        fs::remove_dir_all(&unpacked)?;
    }
    fs::create_dir_all(&unpacked)?;
    ministack.env("TMPDIR", unpacked);
    // Calls that roles do not allow are refused. The credentials of `aws_environment` are an administrator's.
    ministack.env("AUTH", "true");
    start(state, "ministack", &mut ministack)?;
    let url = format!("http://127.0.0.1:{port}/_ministack/health");
    let ready = wait_until("MiniStack", START_TIMEOUT, async || reqwest::get(&url).await.is_ok());
    ready.await.with_context(|| format!("see {}", log(state, "ministack").display()))
}

/// Starts the HubSpot simulator, and waits until it answers.
///
/// # Errors
/// The server cannot be started, or is not ready in time.
pub async fn start_simulator(state: &Path, port: u16) -> Result<()> {
    // Cargo puts the simulator's binary in the same folder as this one.
    let binary = std::env::current_exe()?.with_file_name("hubspot-sim");
    start(state, "hubspot-sim", Command::new(binary).arg("--port").arg(port.to_string()))?;
    let url = format!("http://127.0.0.1:{port}/_sim/health");
    let ready = wait_until("the HubSpot simulator", START_TIMEOUT, async || reqwest::get(&url).await.is_ok());
    ready.await.with_context(|| format!("see {}", log(state, "hubspot-sim").display()))
}
