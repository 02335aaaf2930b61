//! A deployed stack: the local one, or one on AWS.

use std::{collections::BTreeMap, time::Instant};

use anyhow::{Context, Result};
use secrecy::SecretString;
use store::{MongoConfig, Store};

use crate::{
    aws::Aws,
    layout::NAME,
    local, own, sam,
    settings::{Retention, Settings},
};

/// A deployed stack.
#[derive(Debug)]
pub struct Stack {
    /// Its database.
    pub store: Store,
    /// Its AWS.
    pub aws: Aws,
    /// The outputs of its template: names and addresses.
    pub outputs: BTreeMap<String, String>,
    /// How to reach MongoDB from this machine.
    pub mongodb_uri: SecretString,
}

impl Stack {
    /// Returns the deployed stack: the local one, or if `on_aws` the one on the AWS of the environment, with the
    /// MongoDB of `MONGODB_URI`.
    ///
    /// # Errors
    /// There is no such stack, no MongoDB is named for AWS, or the local stack's MongoDB is not its own.
    pub async fn open(settings: &Settings, on_aws: bool) -> Result<Self> {
        match on_aws {
            true => {
                let aws = &settings.aws;
                let mongodb_uri = aws.mongodb_uri()?.clone();
                Self::with(Aws::from_env().await, &aws.name, &[], mongodb_uri, aws.database.clone()).await
            }
            false => {
                own::check(settings).await?;
                let environment = local::aws_environment(settings.ports.aws);
                let aws = Aws::local(settings.ports.aws).await;
                Self::with(aws, NAME, &environment, settings.local_mongodb_uri(), settings.database.clone()).await
            }
        }
    }

    async fn with(
        aws: Aws,
        name: &str,
        environment: &[(&'static str, String)],
        mongodb_uri: SecretString,
        database: String,
    ) -> Result<Self> {
        let mongo = MongoConfig { uri: mongodb_uri.clone(), database };
        let store = Store::connect(&mongo).await?;
        let outputs = sam::outputs(name, environment).await?;
        Ok(Self { store, aws, outputs, mongodb_uri })
    }

    /// Returns an output of the template.
    ///
    /// # Errors
    /// The template has no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the stack has no output {name}"))
    }
}

/// Makes the missing indexes, and sets how long actions are kept if `retention` says so.
///
/// # Errors
/// MongoDB cannot be reached, or stored documents violate an index.
pub async fn migrate(uri: &SecretString, database: &str, retention: Retention) -> Result<()> {
    let mongo = MongoConfig { uri: uri.clone(), database: database.to_owned() };
    step("making the indexes", async { migrate_store(&Store::connect(&mongo).await?, retention).await }).await
}

/// Does the same for an open database.
///
/// # Errors
/// As [`migrate`].
pub async fn migrate_store(store: &Store, retention: Retention) -> Result<()> {
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

/// Runs the work, and prints what it is and how long it took. Returns its result.
///
/// # Errors
/// The work fails.
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
