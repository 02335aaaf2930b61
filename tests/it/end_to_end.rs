//! The service as SAM deploys it, end to end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hubspot_sim::{Object, Settings};
use mongodb::bson::{Document, doc};
use stack::{
    accounts::{private_app, write_domain},
    process::wait_until,
};
use store::collection;

use harness::{deployed::Deployed, world::HUB};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_ticks_of_the_deployed_service_store_exactly_what_changed() -> Result<()> {
    let deployed = Deployed::shared("service").await?;
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
    deployed.end()
}

/// The schedule is off: what HubSpot tells of by webhook is stored within seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn change_announced_by_webhook_is_stored_without_a_tick() -> Result<()> {
    let deployed = Deployed::shared("service").await?;
    let url = format!("{}/hubspot/webhooks", deployed.output("ConnectUrl")?);
    deployed.world.hubspot.world().seed(HUB, 20, 100, 1);
    deployed.tick(1).await?;
    deployed.world.hubspot.world().settings =
        Settings { webhook_url: Some(url), latency_ms: 150, ..Settings::default() };
    let actions = deployed.world.store.database().collection::<Document>(collection::ACTIONS);
    for change in ["first", "second", "third"] {
        let id = deployed.world.hubspot.world().ids(HUB, Object::CONTACTS)[0];
        let at = {
            let mut hubspot = deployed.world.hubspot.world();
            let now = hubspot.now();
            assert!(hubspot.update(HUB, Object::CONTACTS, id, now, &[("jobtitle", change)]));
            now
        };
        let began = Instant::now();
        let stored = doc! { "recordUpdatedAt": mongodb::bson::DateTime::from_millis(at) };
        wait_until("the change to be stored", Duration::from_secs(300), async || {
            actions.count_documents(stored.clone()).await.is_ok_and(|count| count == 1)
        })
        .await
        .with_context(|| format!("{:?}", deployed.world.hubspot.world().requests))?;
        println!("from HubSpot's change to the action in MongoDB: {:.2} s", began.elapsed().as_secs_f32());
    }
    let contact = deployed.world.hubspot.world().ids(HUB, Object::CONTACTS)[1];
    let company = deployed.world.hubspot.world().ids(HUB, Object::COMPANIES)[9];
    let began = Instant::now();
    deployed.world.hubspot.world().associate(HUB, contact, vec![company]);
    let stored = doc! { "recordId": contact.to_string(), "associationsDigest": { "$exists": true }, "userProperties.company_id": company.to_string() };
    wait_until("the change of associations to be stored", Duration::from_secs(300), async || {
        actions.count_documents(stored.clone()).await.is_ok_and(|count| count == 1)
    })
    .await
    .with_context(|| format!("{:?}", deployed.world.hubspot.world().requests))?;
    println!("from a change of associations to the action in MongoDB: {:.2} s", began.elapsed().as_secs_f32());
    let told: Vec<String> = deployed.world.hubspot.world().requests.keys().cloned().collect();
    assert!(told.contains(&"webhook 204".to_owned()), "{told:?}");
    deployed.end()
}
