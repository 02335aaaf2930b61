//! The stack as a whole: started, opened, and stopped.

use std::{collections::BTreeMap, path::PathBuf, time::Instant};

use anyhow::{Context, Result};
use store::{MongoConfig, Store};

use crate::{
    aws::Aws,
    layout,
    layout::NAME,
    own, parameters, process,
    sam::{self, Build},
    servers,
    settings::{Retention, Settings},
    simulator::Control,
};

/// A stack that is up.
#[derive(Debug)]
pub struct Stack {
    /// Its database.
    pub store: Store,
    /// Its AWS.
    pub aws: Aws,
    /// What SAM deployed: names and addresses.
    pub outputs: BTreeMap<String, String>,
    /// How to reach MongoDB from this machine.
    pub mongodb_uri: String,
}

impl Stack {
    /// The stack as it is deployed: the local one, or with `on_aws` the one on the AWS of the environment, with the
    /// MongoDB of `MONGODB_URI`.
    ///
    /// # Errors
    /// It is not there, or no MongoDB is named for AWS, or the local one's is not its own.
    pub async fn open(settings: &Settings, on_aws: bool) -> Result<Self> {
        match on_aws {
            true => {
                let aws = &settings.aws;
                let mongodb_uri = aws.mongodb_uri()?.to_owned();
                Self::with(Aws::from_env().await, &aws.name, &[], mongodb_uri, aws.database.clone()).await
            }
            false => {
                own::check(settings).await?;
                let environment = servers::aws_environment(settings.ports.aws);
                let aws = Aws::local(settings.ports.aws).await;
                Self::with(aws, NAME, &environment, settings.local_mongodb_uri(), settings.database.clone()).await
            }
        }
    }

    async fn with(
        aws: Aws,
        name: &str,
        environment: &[(&'static str, String)],
        mongodb_uri: String,
        database: String,
    ) -> Result<Self> {
        let mongo = MongoConfig { uri: mongodb_uri.clone().into(), database };
        let store = Store::connect(&mongo).await?;
        let outputs = sam::outputs(name, environment).await?;
        Ok(Self { store, aws, outputs, mongodb_uri })
    }

    /// One of the outputs of the template.
    ///
    /// # Errors
    /// The template has no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the stack has no output {name}"))
    }
}

/// Stops what is left of an earlier stack, starts the servers, builds unless that was done before, deploys, and makes the
/// indexes. A new simulator has new records, so that what an earlier one left in a local MongoDB is thrown away.
///
/// # Errors
/// Anything cannot be started or deployed.
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
    let mongo = MongoConfig { uri: uri.as_str().into(), database: settings.database.clone() };
    own::forget_keys(&Store::connect(&mongo).await?).await?;
    let environment = servers::aws_environment(settings.ports.aws);
    let parameters = parameters::for_local(settings, &uri, environment::config::optional);
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
/// Some do not end.
pub async fn down() -> Result<()> {
    let state = layout::state();
    let stopped = process::stop_all(&state).await?;
    println!("{stopped} processes stopped; data and logs stay in {}", relative(state).display());
    Ok(())
}

/// Makes the indexes that are missing, and sets how long actions are kept, if that is said.
///
/// # Errors
/// MongoDB cannot be reached, or what is stored violates an index.
pub async fn migrate(uri: &str, database: &str, retention: Retention) -> Result<()> {
    let mongo = MongoConfig { uri: uri.into(), database: database.to_owned() };
    step("making the indexes", async { migrate_store(&Store::connect(&mongo).await?, retention).await }).await
}

async fn migrate_store(store: &Store, retention: Retention) -> Result<()> {
    let kept = match retention {
        Retention::For(kept) => Some(kept),
        Retention::Unchanged | Retention::Forever => None,
    };
    store.probe().await?;
    store.migrate(kept).await.context("the indexes cannot be made")?;
    if retention == Retention::Forever {
        store.keep_actions().await.context("the index that deletes actions cannot be dropped")?;
    }
    Ok(())
}

/// Says what is being done, and how long it took.
///
/// # Errors
/// What the work says.
pub async fn step<T>(what: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    let began = Instant::now();
    print!("  {what} ... ");
    std::io::Write::flush(&mut std::io::stdout())?;
    let result = work.await;
    match &result {
        Ok(_) => println!("{:.1} s", began.elapsed().as_secs_f32()),
        Err(_) => println!("failed"),
    }
    result
}

fn relative(path: PathBuf) -> PathBuf {
    path.strip_prefix(layout::root()).map(|path| path.to_owned()).unwrap_or(path)
}
