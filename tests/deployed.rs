//! The service as SAM deploys it: the template, the built bootstraps, event source mappings and all. What its functions
//! may do is enforced.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use common::store::collection;
use mongodb::bson::{Document, doc};
use secrecy::ExposeSecret;
use serde_json::json;
use stack::{accounts::key, aws::Aws, connect::Page, process::wait_until, proof, sam, servers};

use crate::world::{DOMAIN, HUB, World, secret};

const PATIENCE: Duration = Duration::from_secs(90);

/// Two deployments at a time would both make the bucket that `sam deploy --resolve-s3` looks for.
static DEPLOYING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The deployed service, at work on a test's world.
#[derive(Debug)]
pub struct Deployed {
    /// What it works on.
    pub world: World,
    /// Where it is deployed.
    pub aws: Aws,
    /// The stack's name.
    pub name: String,
    outputs: BTreeMap<String, String>,
}

impl Deployed {
    /// Deploys the service as the stack `name`, with its secrets in Secrets Manager, and these parameters.
    ///
    /// # Errors
    /// It cannot be deployed.
    pub async fn new(name: &str, parameters: &[(&'static str, String)]) -> Result<Self> {
        let world = World::new(&name.replace('-', "_")).await?;
        let port = std::env::var("TEST_AWS_PORT").context("this test is run by `make test`")?.parse()?;
        let environment = servers::aws_environment(port);
        let client = aws_sdk_secretsmanager::Client::new(&aws_config::load_from_env().await);
        let uri = world.config.mongo.uri.expose_secret();
        let app = json!({"clientId": hubspot_sim::CLIENT_ID, "clientSecret": hubspot_sim::CLIENT_SECRET});
        let mut all = BTreeMap::from([
            ("MongoDbSecretArn", secret(&client, &format!("{name}-mongodb"), uri).await?),
            ("MongoDbDatabase", world.config.mongo.database.clone()),
            ("SqsEndpointUrl", format!("http://127.0.0.1:{port}")),
            ("HubSpotApiBaseUrl", world.hubspot.url()),
            ("HubSpotAuthorizeUrl", format!("{}/oauth/authorize", world.hubspot.url())),
            ("HubSpotSecretArn", secret(&client, &format!("{name}-hubspot"), &app.to_string()).await?),
            ("ScheduleState", "DISABLED".to_owned()),
        ]);
        all.extend(parameters.iter().cloned());
        let _alone = DEPLOYING.lock().await;
        let logs = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        sam::deploy(&logs, name, &all, &environment).await?;
        let outputs = sam::outputs(name, &environment).await?;
        std::fs::remove_dir_all(logs)?;
        Ok(Self { world, aws: Aws::local(port).await, name: name.to_owned(), outputs })
    }

    /// An output of the template.
    ///
    /// # Errors
    /// There is no such output.
    pub fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the template has no output {name}"))
    }

    /// The status page.
    ///
    /// # Errors
    /// Its secret cannot be read.
    pub async fn page(&self) -> Result<Page> {
        Page::at(self.output("ConnectUrl")?, &self.aws, self.output("ConnectSecretArn")?).await
    }

    /// One tick of the schedule, until all accounts are caught up and the actions are stored.
    ///
    /// # Errors
    /// It does not come to that.
    pub async fn tick(&self, accounts: u64) -> Result<()> {
        let began = mongodb::bson::DateTime::now();
        let answer =
            self.aws.invoke(self.output("SchedulerFunction")?, &json!({"time": "2026-11-24T08:00:00Z"})).await?;
        ensure!(answer == json!({"sent": accounts, "skipped": 0, "complete": true}), "the scheduler answered {answer}");
        let checkpoints = self.world.store.database().collection::<Document>(collection::CHECKPOINTS);
        let queue = self.output("ActionsQueueUrl")?;
        wait_until("the accounts to be caught up", PATIENCE, async || {
            let caught_up = doc! { "run": null, "lastSuccessAt": { "$gte": began } };
            checkpoints.count_documents(caught_up).await.is_ok_and(|count| count == accounts)
                && self.aws.depth(queue).await.is_ok_and(|depth| depth == 0)
        })
        .await
    }

    /// Compares both accounts with the ledger, and gives the number of actions.
    ///
    /// # Errors
    /// They differ.
    pub async fn proof(&self) -> Result<usize> {
        let mut actions = 0;
        for (domain, hub) in [(DOMAIN, HUB), ("globex", HUB + 1)] {
            let ledger: Vec<_> =
                self.world.hubspot.world().ledger.iter().filter(|change| change.hub_id == hub).cloned().collect();
            let proof = proof::check(self.world.store.database(), &key(domain, hub)?, &ledger).await?;
            proof.ensure()?;
            actions += proof.actions;
        }
        Ok(actions)
    }
}
