//! The local stack's commands, as the Makefile calls them.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use stack::{
    connect,
    connect::Page,
    cost, demo, deploy,
    deploy::Deploy,
    halt::{self, Turn},
    hubspot_app, layout, own, process, repair,
    repair::Repair,
    rollback,
    sam::{self, Build},
    samples, servers,
    settings::{Settings, Which},
    smoke, stack as whole,
    stack::{Stack, step},
};
use token_vault::Moved;

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
        /// With the functions as they were built before.
        #[arg(long)]
        built: bool,
    },
    /// Stop the stack.
    Down,
    /// Start the stack afresh and run two ticks of the schedule.
    Demo {
        /// With the functions as they were built before.
        #[arg(long)]
        built: bool,
    },
    /// Make the indexes that are missing.
    Migrate {
        /// In MONGODB_URI, not in the local stack's MongoDB.
        #[arg(long)]
        aws: bool,
    },
    /// Let SAM build the functions as the tests run them.
    Build,
    /// Deploy what was built to the AWS that the environment names, with the parameters of .env.
    Deploy {
        /// Nobody is asked.
        #[arg(long)]
        yes: bool,
        /// The folder with what SAM built.
        #[arg(long)]
        built: Option<PathBuf>,
        /// Only see whether the variables are for AWS.
        #[arg(long)]
        check: bool,
    },
    /// Look into the dead-letter queues, send messages back, read an account again, pause it.
    Repair {
        /// Of the stack on the AWS that the environment names, not of the local one.
        #[arg(long)]
        aws: bool,
        #[command(subcommand)]
        repair: Repair,
    },
    /// Make a link by which a customer connects a HubSpot account, or revoke those that were made.
    Link {
        /// The customer's Domain.
        #[arg(long)]
        domain: String,
        /// The HubSpot account that it is for; any if there is none.
        #[arg(long)]
        hub: Option<String>,
        /// Revoke all that were made for the Domain.
        #[arg(long)]
        revoke: bool,
        /// Of the stack on the AWS that the environment names, not of the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Show the token of the status page.
    Token {
        /// Of the stack on the AWS that the environment names, not of the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Make the HubSpot app of a deployed stack, ready for `hs project upload`.
    HubspotApp {
        /// Of the stack on the AWS that the environment names, not of the local one.
        #[arg(long)]
        aws: bool,
        /// Where to.
        #[arg(long, default_value = ".hubspot-app")]
        folder: PathBuf,
    },
    /// Make a new data key, and seal all tokens under it.
    RotateKeys {
        /// Of the stack on the AWS that the environment names, not of the local one.
        #[arg(long)]
        aws: bool,
        /// The KMS key is meant to be of another AWS account or region than before.
        #[arg(long)]
        new_master_key: bool,
    },
    /// Let the versions before the ones that are live take over again.
    Rollback {
        /// Of the stack on the AWS that the environment names, not of the local one.
        #[arg(long)]
        aws: bool,
        /// Only say what would be done.
        #[arg(long)]
        dry: bool,
    },
    /// Switch the service off: nothing is asked of HubSpot, and nothing is stored.
    Stop {
        /// The stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Switch it on again.
    Start {
        /// The stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Say what the service costs a month.
    Cost(cost::Load),
    /// Show that a change goes through a deployed stack.
    Smoke {
        /// On the AWS that the environment names, not on the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Show the logs of the local functions.
    Logs,
    /// Give an event to a function in a container, beside the stack that is up.
    Invoke {
        /// The function's name in the template.
        function: String,
        /// The event's file.
        event: String,
    },
    /// Give each sample event to its function in a container.
    InvokeSamples,
    /// Run a command with a MongoDB and an AWS of its own (TEST_MONGODB_URI, AWS_ENDPOINT_URL).
    Exec {
        /// Check, when it has succeeded, that nothing is in the functions' logs that must not be.
        #[arg(long)]
        check_logs: bool,
        /// With the functions as they are released, not as they are built for the local stack.
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
            let stack = whole::up(&settings, built).await?;
            demo::connect(&stack, &settings).await?;
            println!("It is up; `make demo` shows it at work, `make down` stops it.");
        }
        Command::Down => whole::down().await?,
        Command::Demo { built } => demo::run(&Settings::read(which)?, built).await?,
        Command::Migrate { aws } => migrate(&Settings::read(which)?, aws).await?,
        Command::Build => step("sam build", sam::build(&layout::state(), Build::Local)).await?,
        Command::Deploy { check: true, .. } => drop(deploy::check(&Settings::read(which)?)?),
        Command::Deploy { yes, built, .. } => {
            let built = built.unwrap_or_else(|| Build::Release.folder());
            deploy::run(&Settings::read(which)?, &Deploy { built, is_confirmed: yes }).await?;
        }
        Command::Repair { aws, repair } => repair::run(&Settings::read(which)?, aws, repair).await?,
        Command::Stop { aws } => halt::run(&Settings::read(which)?, aws, Turn::Off).await?,
        Command::Start { aws } => halt::run(&Settings::read(which)?, aws, Turn::On).await?,
        Command::Smoke { aws } => smoke::run(&Settings::read(which)?, aws).await?,
        Command::Link { domain, hub, revoke, aws } => {
            let page = Page::of(&Stack::open(&Settings::read(which)?, aws).await?).await?;
            match revoke {
                true => page.revoke_links(&domain).await?,
                false => println!("{}", page.link(&domain, hub.as_deref()).await?),
            }
        }
        Command::Token { aws } => {
            let stack = Stack::open(&Settings::read(which)?, aws).await?;
            println!("{}", Page::of(&stack).await?.token());
        }
        Command::HubspotApp { aws, folder } => hubspot_app::run(&Settings::read(which)?, aws, &folder).await?,
        Command::RotateKeys { aws, new_master_key } => {
            let moved = if new_master_key { Moved::Yes } else { Moved::No };
            connect::rotate_keys(&Stack::open(&Settings::read(which)?, aws).await?, moved).await?;
        }
        Command::Rollback { aws, dry } => rollback::run(&Settings::read(which)?, aws, dry).await?,
        Command::Cost(load) => cost::print(&load)?,
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

async fn migrate(settings: &Settings, aws: bool) -> Result<()> {
    if aws {
        let uri = settings.aws.mongodb_uri()?;
        return whole::migrate(uri, &settings.aws.database, settings.retention).await;
    }
    own::check(settings).await?;
    whole::migrate(&settings.local_mongodb_uri(), &settings.database, settings.retention).await
}

/// MiniStack keeps what the functions write in its own log.
fn logs() -> Result<()> {
    let log = process::log(&layout::state(), "ministack");
    let text = std::fs::read_to_string(&log).with_context(|| "there is no stack; start one with `make up`")?;
    text.lines().filter(|line| stack::logs::of_functions(line)).for_each(|line| println!("{line}"));
    Ok(())
}

/// Works in a stack of its own, which ends with the work, also when that is interrupted.
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

/// Waits until somebody wants this program to end, and gives the exit code that a shell would.
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
    // Some tests have no bootstraps of their own, but those that MiniStack runs.
    let written = state.join("functions.log");
    std::fs::write(&written, "")?;
    let status = tokio::process::Command::new(&command[0])
        .args(&command[1..])
        .envs(servers::aws_environment(aws))
        .env("TEST_MONGODB_URI", servers::mongodb_uri(mongodb))
        .env("TEST_AWS_PORT", aws.to_string())
        .env("TEST_FUNCTIONS", std::env::var_os("TEST_FUNCTIONS").unwrap_or_else(|| build.folder().into()))
        .env("TEST_STACK", std::env::current_exe()?)
        .env("TEST_STATE", state)
        // The command, and what it starts, belong to the stack.
        .env(process::MARK, state)
        .envs(check_logs.then_some(("TEST_LOG", &written)))
        .kill_on_drop(true)
        .status()
        .await
        .with_context(|| format!("{} cannot be run", command[0]))?;
    if check_logs && status.success() {
        stack::logs::check(&[&written, &process::log(state, "ministack")])?;
    }
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from))
}
