//! The service deployed by SAM: with the template, the built bootstraps, and event source mappings. The permissions of
//! its functions are enforced.

use std::{
    collections::BTreeMap,
    fs::File,
    net::TcpListener,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use model::account::AccountKey;
use mongodb::bson::{Document, doc};
use ops::{
    aws::Aws,
    connect::Page,
    local,
    sam::{self, Build},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use stack::{
    process::{free_port, wait_until},
    proof,
};
use store::{MongoConfig, Store, collection};

use crate::{
    unique,
    world::{DOMAIN, HUB, World, secret},
};

/// The local AWS processes the messages of all stacks one after another, and delivers a failed one again after a
/// minute.
const LOCAL_AWS_TIMEOUT: Duration = Duration::from_secs(600);

/// The deployed service, working on a test's world.
#[derive(Debug)]
pub struct Deployed {
    /// The world it works on.
    pub world: World,
    /// The AWS it is deployed to.
    pub aws: Aws,
    /// The stack's name.
    pub name: String,
    outputs: BTreeMap<String, String>,
    /// The lock, held as long as the test uses the stack.
    _alone: File,
}

/// A stack that a test has left in order.
#[derive(Debug, Deserialize, Serialize)]
struct Left {
    name: String,
    database: String,
    hubspot: u16,
    outputs: BTreeMap<String, String>,
}

impl Deployed {
    /// Returns the stack that the tests with this name share, with a world of the test's own. The first test deploys
    /// it, and [`Self::end`] passes it on to the next one. A test that fails does not pass it on, and the next one
    /// deploys it again.
    ///
    /// # Errors
    /// The stack cannot be deployed.
    pub async fn shared(stack: &str) -> Result<Self> {
        let state = state()?;
        let alone = lock(state.join(format!("{stack}.lock"))).await?;
        let left = state.join(format!("{stack}.json"));
        match std::fs::read(&left) {
            Ok(read) => {
                std::fs::remove_file(left)?;
                Self::again(serde_json::from_slice(&read)?, alone).await
            }
            Err(_) => Self::deploy(stack, &state, alone).await,
        }
    }

    /// Deploys the service, with its secrets in Secrets Manager.
    async fn deploy(stack: &str, state: &Path, alone: File) -> Result<Self> {
        // A failed test may have left a stack of that name.
        let name = format!("{stack}-{}", unique().replace('_', "-"));
        let uri = std::env::var("TEST_MONGODB_URI")?;
        let world = World::with(stack, &uri, format!("test_{}", name.replace('-', "_")), free_port()?).await?;
        let port = aws_port()?;
        let environment = local::aws_environment(port);
        let client = aws_sdk_secretsmanager::Client::new(&aws_config::load_from_env().await);
        let app = json!({"clientId": hubspot_sim::CLIENT_ID, "clientSecret": hubspot_sim::CLIENT_SECRET});
        let parameters = BTreeMap::from([
            ("MongoDbSecretArn", secret(&client, &format!("{name}-mongodb"), &uri).await?),
            ("MongoDbDatabase", world.config.mongo.database.clone()),
            ("SqsEndpointUrl", format!("http://127.0.0.1:{port}")),
            ("HubSpotApiBaseUrl", world.hubspot.url()),
            ("HubSpotAuthorizeUrl", format!("{}/oauth/authorize", world.hubspot.url())),
            ("HubSpotSecretArn", secret(&client, &format!("{name}-hubspot"), &app.to_string()).await?),
            ("ScheduleState", "DISABLED".to_owned()),
            ("AlarmTopicArn", format!("arn:aws:sns:us-east-1:000000000000:{}", topic(&name))),
        ]);
        let _deploying = deploying().await?;
        let logs = state.join(&name);
        sam::deploy(&logs, Build::Local, &name, &parameters, &environment).await?;
        let outputs = sam::outputs(&name, &environment).await?;
        Ok(Self { world, aws: Aws::local(port).await, name, outputs, _alone: alone })
    }

    /// Returns a stack that was left, after emptying its database (except for the key that its functions know) and its
    /// queues.
    async fn again(left: Left, alone: File) -> Result<Self> {
        let uri = std::env::var("TEST_MONGODB_URI")?;
        let mongo = MongoConfig { uri: uri.as_str().into(), database: left.database.clone() };
        let aws = Aws::local(aws_port()?).await;
        for queue in [
            "SyncQueueUrl",
            "ContinuationQueueUrl",
            "ActionsQueueUrl",
            "SyncDeadLetterQueueUrl",
            "ActionsDeadLetterQueueUrl",
        ] {
            let url = left.outputs.get(queue).with_context(|| format!("the template has no output {queue}"))?;
            aws.sqs().purge_queue().queue_url(url).send().await?;
            // A message that is still being processed causes writes.
            wait_until(queue, LOCAL_AWS_TIMEOUT, async || aws.depth(url).await.is_ok_and(|depth| depth == 0)).await?;
        }
        let store = Store::connect(&mongo).await?;
        for name in store.database().list_collection_names().await? {
            if name != collection::KEYS {
                store.database().collection::<Document>(&name).delete_many(doc! {}).await?;
            }
        }
        let is_free = async || TcpListener::bind(("127.0.0.1", left.hubspot)).is_ok();
        wait_until("the port of the test before", LOCAL_AWS_TIMEOUT, is_free).await?;
        let world = World::with(&left.name, &uri, left.database, left.hubspot).await?;
        Ok(Self { world, aws, name: left.name, outputs: left.outputs, _alone: alone })
    }

    /// Passes the stack on to the next test that shares it.
    ///
    /// # Errors
    /// The stack cannot be recorded as left.
    pub fn end(self) -> Result<()> {
        let state = state()?;
        let stack = self.name.split_once('-').map_or(self.name.as_str(), |(stack, _)| stack);
        let left = Left {
            hubspot: local::port_of(&self.world.hubspot.url())?,
            database: self.world.config.mongo.database.clone(),
            name: self.name.clone(),
            outputs: self.outputs.clone(),
        };
        Ok(std::fs::write(state.join(format!("{stack}.json")), serde_json::to_vec(&left)?)?)
    }

    /// Returns an output of the template.
    ///
    /// # Errors
    /// There is no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the template has no output {name}"))
    }

    /// Returns all outputs of the template.
    pub fn outputs(&self) -> &BTreeMap<String, String> {
        &self.outputs
    }

    /// Returns the status page.
    ///
    /// # Errors
    /// Its secret cannot be read.
    pub async fn page(&self) -> Result<Page> {
        Page::at(self.output("ConnectUrl")?, &self.aws, self.output("ConnectSecretArn")?).await
    }

    /// Runs one tick of the schedule, until all accounts are caught up and the actions are stored.
    ///
    /// # Errors
    /// The accounts are not caught up in time.
    pub async fn tick(&self, accounts: u64) -> Result<()> {
        let began = mongodb::bson::DateTime::now();
        let tick = json!({"time": began.try_to_rfc3339_string()?});
        let answer = self.aws.invoke(self.output("SchedulerFunction")?, &tick).await?;
        let all = json!({"sent": accounts, "skipped": 0, "resting": 0, "complete": true});
        ensure!(answer == all, "the scheduler answered {answer}");
        let checkpoints = self.world.store.database().collection::<Document>(collection::CHECKPOINTS);
        let queue = self.output("ActionsQueueUrl")?;
        wait_until("the accounts to be caught up", LOCAL_AWS_TIMEOUT, async || {
            let caught_up = doc! { "run": null, "lastSuccessAt": { "$gte": began } };
            checkpoints.count_documents(caught_up).await.is_ok_and(|count| count == accounts)
                && self.aws.depth(queue).await.is_ok_and(|depth| depth == 0)
        })
        .await
    }

    /// Compares both accounts with the ledger, and returns the number of actions.
    ///
    /// # Errors
    /// They differ.
    pub async fn proof(&self) -> Result<usize> {
        let mut actions = 0;
        for (domain, hub) in [(DOMAIN, HUB), ("globex", HUB + 1)] {
            let ledger: Vec<_> =
                self.world.hubspot.world().ledger.iter().filter(|change| change.hub_id == hub).cloned().collect();
            let proof = proof::check(self.world.store.database(), &AccountKey::new(domain, hub)?, &ledger).await?;
            proof.ensure()?;
            actions += proof.actions;
        }
        Ok(actions)
    }
}

/// Returns the name of the SNS topic for a stack's alarms.
pub fn topic(stack: &str) -> String {
    format!("{stack}-alarms")
}

/// Returns the folder of the servers that these tests share.
fn state() -> Result<PathBuf> {
    Ok(PathBuf::from(std::env::var_os("TEST_STATE").context("this test is run by `make test`")?))
}

fn aws_port() -> Result<u16> {
    Ok(std::env::var("TEST_AWS_PORT").context("this test is run by `make test`")?.parse()?)
}

/// Waits until no other test deploys. Two deployments at a time would both create the bucket that `sam deploy --resolve-s3`
/// looks for. The result is held while a test deploys.
///
/// # Errors
/// The lock's file cannot be made.
pub async fn deploying() -> Result<File> {
    lock(state()?.join("deploying.lock")).await
}

/// Waits until no other test holds the lock. The lock is held until the file is dropped.
async fn lock(path: PathBuf) -> Result<File> {
    let file = File::create(&path)?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await?.with_context(|| path.display().to_string())
}
