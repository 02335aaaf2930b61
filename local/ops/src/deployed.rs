//! A stack that is deployed: the local one, or one on AWS.

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
    pub mongodb_uri: SecretString,
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

    /// One of the outputs of the template.
    ///
    /// # Errors
    /// The template has no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the stack has no output {name}"))
    }
}

/// Makes the indexes that are missing, and sets how long actions are kept, if that is said.
///
/// # Errors
/// MongoDB cannot be reached, or what is stored violates an index.
pub async fn migrate(uri: &SecretString, database: &str, retention: Retention) -> Result<()> {
    let mongo = MongoConfig { uri: uri.clone(), database: database.to_owned() };
    step("making the indexes", async { migrate_store(&Store::connect(&mongo).await?, retention).await }).await
}

/// Makes the indexes of an open database.
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
