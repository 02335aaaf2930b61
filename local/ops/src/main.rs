//! The operators' commands, as the Makefile calls them.

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use ops::{
    architecture,
    connect::{self, Page},
    cost,
    deploy::{self, Deploy},
    deployed::{self, Stack},
    halt::{self, Turn},
    hubspot_app, own, reference,
    repair::{self, Repair},
    rollback,
    sam::Build,
    settings::{Settings, Which},
    smoke,
};
use token_vault::Moved;

/// What operators run against a deployed stack.
#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    which: Which,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make the missing indexes.
    Migrate {
        /// Use the MongoDB of MONGODB_URI, not the local stack's.
        #[arg(long)]
        aws: bool,
    },
    /// Deploy what was built to the AWS that the environment names, with the parameters of .env.
    Deploy {
        /// Do not ask for confirmation.
        #[arg(long)]
        yes: bool,
        /// The folder with what SAM built.
        #[arg(long)]
        built: Option<PathBuf>,
        /// Only check if the variables are for AWS.
        #[arg(long)]
        check: bool,
    },
    /// Print the processor for which the functions are to be built, with the parameters of .env.
    Architecture,
    /// Look into the dead-letter queues, send messages back, read an account again, pause it.
    Repair {
        /// Use the stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
        #[command(subcommand)]
        repair: Repair,
    },
    /// Make a link by which a customer connects a HubSpot account, or revoke the customer's links.
    Link {
        /// The customer's Domain.
        #[arg(long)]
        domain: String,
        /// The HubSpot account that the link is for. Any if it is left out.
        #[arg(long)]
        hub: Option<String>,
        /// Revoke all links of the Domain.
        #[arg(long)]
        revoke: bool,
        /// Use the stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Show the token of the status page.
    Token {
        /// Use the stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Make the HubSpot app of a deployed stack, ready for `hs project upload`.
    HubspotApp {
        /// Use the stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
        /// The folder for the files.
        #[arg(long, default_value = ".hubspot-app")]
        folder: PathBuf,
    },
    /// Make a new data key, and seal all tokens under it.
    RotateKeys {
        /// Use the stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
        /// Allow a KMS key of another AWS account or region than before.
        #[arg(long)]
        new_master_key: bool,
    },
    /// Replace the live versions by the versions before them.
    Rollback {
        /// Use the stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
        /// Only print what would be done.
        #[arg(long)]
        dry: bool,
    },
    /// Switch the service off. It sends nothing to HubSpot, and stores nothing.
    Stop {
        /// Use the stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Switch the service on again.
    Start {
        /// Use the stack on the AWS that the environment names, not the local one.
        #[arg(long)]
        aws: bool,
    },
    /// Write the tables of the reference page.
    Docs,
    /// Print the monthly cost of the service.
    Cost(cost::Load),
    /// Show that a change goes through a deployed stack.
    Smoke {
        /// Use the AWS that the environment names. For the local stack this is a command of the program `stack`.
        #[arg(long, required = true)]
        aws: bool,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Arguments { which, command } = Arguments::parse();
    match run(&which, command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(which: &Which, command: Command) -> Result<()> {
    match command {
        Command::Migrate { aws } => migrate(&Settings::read(which)?, aws).await?,
        Command::Deploy { check: true, .. } => drop(deploy::check(&Settings::read(which)?)?),
        Command::Architecture => println!("{}", architecture::chosen(&deploy::check(&Settings::read(which)?)?.1)?),
        Command::Deploy { yes, built, .. } => {
            let built = built.unwrap_or_else(|| Build::Release.folder());
            deploy::run(&Settings::read(which)?, &Deploy { built, is_confirmed: yes }).await?;
        }
        Command::Repair { aws, repair } => repair::run(&Settings::read(which)?, aws, repair).await?,
        Command::Stop { aws } => halt::run(&Settings::read(which)?, aws, Turn::Off).await?,
        Command::Start { aws } => halt::run(&Settings::read(which)?, aws, Turn::On).await?,
        Command::Smoke { aws } => smoke::run(&Stack::open(&Settings::read(which)?, aws).await?).await?,
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
        Command::Docs => reference::write()?,
        Command::Cost(load) => cost::print(&load)?,
    }
    Ok(())
}

async fn migrate(settings: &Settings, aws: bool) -> Result<()> {
    if aws {
        let uri = settings.aws.mongodb_uri()?;
        return deployed::migrate(uri, &settings.aws.database, settings.retention).await;
    }
    own::check(settings).await?;
    deployed::migrate(&settings.local_mongodb_uri(), &settings.database, settings.retention).await
}
