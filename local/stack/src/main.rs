//! The local stack's commands, as the Makefile calls them.

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use ops::{
    deployed::step,
    layout, local,
    sam::{self, Build},
    settings::{Settings, Which},
};
use stack::{demo, lifecycle, logs as function_logs, process, samples, servers, smoke};

/// The service on one machine.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start the stack and leave it running.
    Up {
        /// Use the functions of an earlier build.
        #[arg(long)]
        built: bool,
    },
    /// Stop the stack.
    Down,
    /// Start the stack afresh and run two ticks of the schedule.
    Demo {
        /// Use the functions of an earlier build.
        #[arg(long)]
        built: bool,
    },
    /// Build the functions by SAM, as the tests run them.
    Build,
    /// Show that a change goes through the local stack.
    Smoke,
    /// Show the logs of the local functions.
    Logs,
    /// Run a function with an event in a container, beside the running stack.
    Invoke {
        /// The function's name in the template.
        function: String,
        /// The event's file.
        event: String,
    },
    /// Run each function with its sample events in a container.
    InvokeSamples,
    /// Run a command with a MongoDB and an AWS of its own (TEST_MONGODB_URI, AWS_ENDPOINT_URL).
    Exec {
        /// Check after a success that the functions' logs contain no secrets or personal data.
        #[arg(long)]
        check_logs: bool,
        /// Use the functions in their release build, not in the one for the local stack.
        #[arg(long)]
        release: bool,
        /// The command.
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { which, command } = Arguments::parse();
    match run(&which, command).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(which: &Which, command: Command) -> Result<ExitCode> {
    match command {
        Command::Up { built } => {
            println!("The stack:");
            let settings = Settings::read(which)?;
            let stack = lifecycle::up(&settings, built).await?;
            demo::connect(&stack, &settings).await?;
            println!("It is up; `make demo` shows it at work, `make down` stops it.");
        }
        Command::Down => lifecycle::down().await?,
        Command::Demo { built } => demo::run(&Settings::read(which)?, built).await?,
        Command::Smoke => smoke::run(&Settings::read(which)?).await?,
        Command::Build => step("sam build", sam::build(&layout::state(), Build::Local)).await?,
        Command::Logs => logs()?,
        Command::Invoke { function, event } => samples::invoke(&Settings::read(which)?, &function, &event).await?,
        Command::InvokeSamples => {
            return beside(async |state| samples::invoke_all(&Settings::read(which)?, state).await).await;
        }
        Command::Exec { check_logs, release, command } => {
            let build = if release { Build::Release } else { Build::Local };
            return beside(async |state| with_servers(state, build, &command, check_logs).await).await;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the functions' lines of MiniStack's log, where MiniStack writes them.
fn logs() -> Result<()> {
    let log = layout::log(&layout::state(), "ministack");
    let text = std::fs::read_to_string(&log).with_context(|| "there is no stack; start one with `make up`")?;
    text.lines().filter(|line| function_logs::of_functions(line)).for_each(|line| println!("{line}"));
    Ok(())
}

/// Runs work in a stack of its own. The stack ends with the work, even if the work is interrupted.
async fn beside(work: impl AsyncFnOnce(&Path) -> Result<ExitCode>) -> Result<ExitCode> {
    process::stop_abandoned().await?;
    let state = process::folder();
    let result = tokio::select! {
        result = work(&state) => result,
        signal = interrupted() => signal,
    };
    process::stop_all(&state).await?;
    std::fs::remove_dir_all(&state).ok();
    result
}

/// Waits until this program is asked to end. Returns the exit code that a shell would return.
async fn interrupted() -> Result<ExitCode> {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let mut signals = kinds.into_iter().map(|kind| Ok((kind, signal(kind)?))).collect::<std::io::Result<Vec<_>>>()?;
    let waiting = signals.iter_mut().map(|(kind, signal)| {
        Box::pin(async move {
            signal.recv().await;
            kind.as_raw_value()
        })
    });
    let (number, ..) = futures::future::select_all(waiting).await;
    Ok(ExitCode::from(128 + u8::try_from(number)?))
}

async fn with_servers(state: &Path, build: Build, command: &[String], check_logs: bool) -> Result<ExitCode> {
    let (mongodb, aws) = (process::free_port()?, process::free_port()?);
    servers::start_mongod(state, mongodb).await?;
    servers::start_ministack(state, aws).await?;
    // Some tests have no bootstraps of their own. They use those that MiniStack runs.
    let written = state.join("functions.log");
    std::fs::write(&written, "")?;
    let status = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .envs(local::aws_environment(aws))
        .env("TEST_MONGODB_URI", local::mongodb_uri(mongodb))
        .env("TEST_AWS_PORT", aws.to_string())
        .env("TEST_FUNCTIONS", std::env::var_os("TEST_FUNCTIONS").unwrap_or_else(|| build.folder().into()))
        .env("TEST_STACK", std::env::current_exe()?)
        .env("TEST_STATE", state)
        // The command and its child processes belong to the stack.
        .env(process::MARK, state)
        .envs(check_logs.then_some(("TEST_LOG", &written)))
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("{} cannot be run", command[0]))?;
    if check_logs && status.success() {
        function_logs::check(&[&written, &layout::log(state, "ministack")])?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
