//! Starts and stops the local stack.

use std::path::PathBuf;

use anyhow::Result;
use ops::{
    deployed::{Stack, migrate_store, step},
    env_file,
    layout::{self, NAME},
    local, own, parameters,
    sam::{self, Build},
    settings::Settings,
};
use store::{MongoConfig, Store};

use crate::{process, servers, simulator::Control};

/// Stops the processes of an earlier stack, starts the servers, builds the functions unless `is_built`, deploys, and
/// makes the indexes. Returns the stack. A new simulator has new records, so records of an earlier one in a local
/// MongoDB are deleted.
///
/// # Errors
/// A server cannot be started, or the deployment fails.
pub async fn up(settings: &Settings, is_built: bool) -> Result<Stack> {
    own::check(settings).await?;
    let state = layout::state();
    process::stop_all(&state).await?;
    if settings.hubspot.is_none() && state.join("mongodb").exists() {
        std::fs::remove_dir_all(state.join("mongodb"))?;
    }
    let start = async {
        if settings.mongodb_uri.is_none() {
            servers::start_mongod(&state, settings.ports.mongodb).await?;
        }
        servers::start_ministack(&state, settings.ports.aws).await?;
        if settings.hubspot.is_none() {
            servers::start_simulator(&state, settings.ports.hubspot).await?;
        }
        Ok(())
    };
    let mut starting = vec!["MiniStack (AWS in one process)"];
    starting.extend(settings.mongodb_uri.is_none().then_some("MongoDB"));
    starting.extend(settings.hubspot.is_none().then_some("the HubSpot simulator"));
    let starting = format!("starting {}", starting.join(", "));
    if is_built {
        step(&starting, start).await?;
    } else {
        let started = async { tokio::try_join!(start, sam::build(&state, Build::Local)) };
        step(&format!("sam build, and {starting}"), started).await?;
    }
    let uri = settings.local_mongodb_uri();
    let mongo = MongoConfig { uri: uri.clone(), database: settings.database.clone() };
    own::forget_keys(&Store::connect(&mongo).await?).await?;
    let environment = local::aws_environment(settings.ports.aws);
    let parameters =
        parameters::for_local(settings, &uri, (hubspot_sim::CLIENT_ID, hubspot_sim::CLIENT_SECRET), env_file::variable);
    step("sam deploy (about 15 s)", sam::deploy(&state, Build::Local, NAME, &parameters, &environment)).await?;
    let stack = Stack::open(settings, false).await?;
    migrate_store(&stack.store, settings.retention).await?;
    if settings.hubspot.is_none() {
        let url = format!("{}/hubspot/webhooks", stack.output("ConnectUrl")?);
        Control::new(settings.ports.hubspot).send_webhooks_to(&url).await?;
    }
    Ok(stack)
}

/// Stops every process of the stack. Data and logs stay.
///
/// # Errors
/// Some processes do not end.
pub async fn down() -> Result<()> {
    let state = layout::state();
    let stopped = process::stop_all(&state).await?;
    println!("{stopped} processes stopped; data and logs stay in {}", relative(state).display());
    Ok(())
}

fn relative(path: PathBuf) -> PathBuf {
    path.strip_prefix(layout::root()).map(|path| path.to_owned()).unwrap_or(path)
}
