//! The service as SAM deploys it: the template, the built bootstraps, event source mappings and all.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};
use hubspot_sim::Settings;
use mongodb::bson::{Document, doc};
use serde_json::json;
use stack::{
    accounts::{key, private_app, write_domain},
    aws::Aws,
    process::wait_until,
    proof, sam, servers,
};

use tests::world::{DOMAIN, HUB, World};

const PATIENCE: Duration = Duration::from_secs(90);

/// The deployed service, at work on a test's world.
struct Deployed {
    world: World,
    aws: Aws,
    outputs: BTreeMap<String, String>,
}

impl Deployed {
    async fn new() -> Result<Self> {
        let world = World::new("end_to_end").await?;
        let port = std::env::var("TEST_AWS_PORT").context("this test is run by `make test`")?.parse()?;
        let environment = servers::aws_environment(port);
        let parameters = BTreeMap::from([
            ("MongoDbUri", std::env::var("TEST_MONGODB_URI")?),
            ("MongoDbDatabase", world.config.mongo.database.clone()),
            ("SqsEndpointUrl", format!("http://127.0.0.1:{port}")),
            ("HubSpotApiBaseUrl", world.hubspot.url()),
            ("HubSpotClientId", hubspot_sim::CLIENT_ID.to_owned()),
            ("HubSpotClientSecret", hubspot_sim::CLIENT_SECRET.to_owned()),
        ]);
        let logs = std::env::temp_dir().join(format!("end-to-end-{}", std::process::id()));
        sam::deploy(&logs, "end-to-end", &parameters, &environment).await?;
        let outputs = sam::outputs("end-to-end", &environment).await?;
        std::fs::remove_dir_all(logs)?;
        Ok(Self { world, aws: Aws::local(port).await, outputs })
    }

    fn output(&self, name: &str) -> Result<&str> {
        self.outputs.get(name).map(String::as_str).with_context(|| format!("the template has no output {name}"))
    }

    /// One tick of the schedule, until all accounts are caught up and the actions are stored.
    async fn tick(&self, accounts: u64) -> Result<()> {
        let began = mongodb::bson::DateTime::now();
        let answer =
            self.aws.invoke(self.output("SchedulerFunction")?, &json!({"time": "2026-11-24T08:00:00Z"})).await?;
        ensure!(answer == json!({"sent": accounts, "skipped": 0, "complete": true}), "the scheduler answered {answer}");
        let checkpoints = self.world.store.database().collection::<Document>("checkpoints");
        let queue = self.output("ActionsQueueUrl")?;
        wait_until("the accounts to be caught up", PATIENCE, async || {
            let caught_up = doc! { "run": null, "lastSuccessAt": { "$gte": began } };
            checkpoints.count_documents(caught_up).await.is_ok_and(|count| count == accounts)
                && self.aws.depth(queue).await.is_ok_and(|depth| depth == 0)
        })
        .await
    }

    /// Compares both accounts with the ledger, and gives the number of actions.
    async fn proof(&self) -> Result<usize> {
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ticks_of_the_deployed_service_store_exactly_what_changed() -> Result<()> {
    let deployed = Deployed::new().await?;
    let token = {
        let mut hubspot = deployed.world.hubspot.world();
        hubspot.settings = Settings::default();
        hubspot.seed(HUB, 150, 1_100, 1);
        hubspot.seed(HUB + 1, 20, 230, 2);
        hubspot.portal(HUB + 1).private_token.clone()
    };
    write_domain(deployed.world.store.database(), "globex", "Globex", vec![private_app(HUB + 1, &token)]).await?;

    deployed.tick(2).await?;
    assert_eq!(deployed.proof().await?, 1_500);

    let changed = {
        let mut hubspot = deployed.world.hubspot.world();
        [hubspot.make_changes(HUB, 250, 3), hubspot.make_changes(HUB + 1, 50, 4)]
    };
    deployed.tick(2).await?;
    let added: usize = changed.iter().map(|changed| changed.created + changed.updated).sum();
    assert_eq!(deployed.proof().await?, 1_500 + added);

    for queue in ["SyncDeadLetterQueueUrl", "ActionsDeadLetterQueueUrl"] {
        assert_eq!(deployed.aws.depth(deployed.output(queue)?).await?, 0, "{queue}");
    }
    Ok(())
}
