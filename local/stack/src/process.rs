//! Processes that outlive their starter. They are found again by a mark in their environment. No file lists them, so
//! none is forgotten if the starter is interrupted.

use std::{
    ffi::OsStr,
    fs::{self, File},
    net::TcpListener,
    os::unix::{ffi::OsStrExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use ops::layout::{self, log};
use tokio::time::{Instant, sleep};

/// The environment variable that marks the processes of a stack. Its value is the stack's folder, or one below it.
pub const MARK: &str = "HUBSPOT_SYNC_STACK";

/// Starts a program that continues when this one ends. Its output is written to a log file in the stack's folder.
///
/// # Errors
/// The program cannot be started.
pub fn start(state: &Path, name: &str, command: &mut Command) -> Result<()> {
    layout::make_private(state)?;
    let log = File::create(log(state, name))?;
    command
        .env(MARK, state)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C in the terminal must end only the starter.
        .process_group(0)
        .spawn()
        .with_context(|| format!("{name} cannot be started ({})", command.get_program().display()))?;
    Ok(())
}

/// Ends all processes of the stack, with those of the functions, and of the stacks in folders below its own. Waits
/// until they have ended.
///
/// # Errors
/// Some processes do not end even when they are killed.
pub async fn stop_all(state: &Path) -> Result<usize> {
    let found = marked(state).len();
    for (signal, patience) in [(Signal::SIGTERM, Duration::from_secs(30)), (Signal::SIGKILL, Duration::from_secs(60))] {
        // MiniStack starts processes of its own. Those that appear meanwhile are ended too.
        let ended = wait_until("the stack's processes to end", patience, async || {
            let running = marked(state);
            running.iter().for_each(|pid| {
                kill(*pid, signal).ok();
            });
            running.is_empty()
        });
        if ended.await.is_ok() {
            return Ok(found);
        }
    }
    bail!("processes {:?} do not end", marked(state));
}

/// Returns a folder for a stack that ends with this process. If this process runs in a stack, the folder is below that
/// stack's.
pub fn folder() -> PathBuf {
    let above = std::env::var_os(MARK).map_or_else(std::env::temp_dir, PathBuf::from);
    above.join(format!("{FOLDER}{}", std::process::id()))
}

/// The prefix of such a folder's name. The process id follows.
const FOLDER: &str = "hubspot-sync-";

/// Ends the stacks whose starter was killed before it could end them.
///
/// # Errors
/// Some of their processes do not end.
pub async fn stop_abandoned() -> Result<()> {
    for folder in fs::read_dir(std::env::temp_dir())?.flatten().map(|entry| entry.path()) {
        let name = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_prefix(FOLDER));
        let Some(starter) = name.and_then(|id| id.parse::<u32>().ok()) else { continue };
        if !Path::new(&format!("/proc/{starter}")).exists() {
            stop_all(&folder).await?;
            fs::remove_dir_all(&folder).ok();
        }
    }
    Ok(())
}

/// Returns the processes with the mark of the stack, or of a stack below it.
fn marked(state: &Path) -> Vec<Pid> {
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid: &i32| mark(*pid).is_some_and(|mark| mark.starts_with(state)) && !is_zombie(*pid))
        .map(Pid::from_raw)
        .collect()
}

/// Returns the folder of the stack to which a process belongs. Returns `None` if it has no mark.
fn mark(pid: i32) -> Option<PathBuf> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let variables = environment.split(|byte| *byte == 0);
    let mut marks = variables.filter_map(|variable| variable.strip_prefix(MARK.as_bytes())?.strip_prefix(b"="));
    // If the variable is set twice, programs see the last value.
    marks.next_back().map(|mark| PathBuf::from(OsStr::from_bytes(mark)))
}

fn is_zombie(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'))
}

/// Waits until a condition holds. A check that takes long counts as a short one: while the whole machine is suspended,
/// the awaited work does not progress either.
///
/// # Errors
/// The condition does not hold within the limit.
pub async fn wait_until(what: &str, limit: Duration, mut condition: impl AsyncFnMut() -> bool) -> Result<()> {
    const LOOK: Duration = Duration::from_secs(1);
    let mut waited = Duration::ZERO;
    loop {
        let began = Instant::now();
        if condition().await {
            return Ok(());
        }
        if waited > limit {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        sleep(Duration::from_millis(50)).await;
        waited += began.elapsed().min(LOOK);
    }
}

/// Returns a port of 127.0.0.1 that is free, and that no client's connection and no other process gets meanwhile. It is
/// not one that Linux assigns by itself (32768 and above), and each process starts from ten ports of its own.
///
/// # Errors
/// No port is free.
pub fn free_port() -> Result<u16> {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    let own = 20_000 + u16::try_from(std::process::id() % 1_200)? * 10;
    let given = GIVEN.fetch_add(1, Ordering::Relaxed);
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (own.saturating_add(given)..32_700).find(is_free).context("no port is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_started_is_found_and_ended() {
        let state = std::env::temp_dir().join(format!("stack-test-{}", std::process::id()));
        start(&state, "sleeper", Command::new("sleep").arg("60")).unwrap();
        wait_until("the process to appear", Duration::from_secs(5), async || marked(&state).len() == 1).await.unwrap();
        assert_eq!(stop_all(&state).await.unwrap(), 1);
        assert!(marked(&state).is_empty());
        fs::remove_dir_all(state).unwrap();
    }
}
