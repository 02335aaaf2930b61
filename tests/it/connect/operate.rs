//! The buttons of an account's page.

use anyhow::{Context, Result};
use hubspot_sim::Object;
use model::{account::Unusable, catalogue::CATALOGUE, object::ObjectType};
use mongodb::bson::{DateTime, Document};
use reqwest::StatusCode;
use serde_json::{Value, json};
use store::{LanesResync, collection};
use tokio::time::Instant;

use harness::{
    front::{Front, location},
    world::{DOMAIN, HUB, World},
};

#[tokio::test]
async fn every_button_takes_effect_and_appears_in_timeline() -> Result<()> {
    let mut world = World::new("operate").await?;
    let front = Front::start(&mut world).await?;
    world.hubspot.world().seed(HUB, 2, 3, 1);
    world.run().await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    let mut visitor = front.sign_in().await?;
    let mut press = async |operation: &str, shown: &str| -> Result<String> {
        let answer = visitor.submit_operation(shown, &format!("{account}/{operation}")).await?;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER, "{operation}");
        visitor.page(&location(&answer)?.as_str()[front.url.as_str().len() - 1..]).await
    };
    let queued = async || -> Result<Value> {
        let messages = world.receive(&world.sync_queue).await?;
        Ok(serde_json::from_str(messages.first().context("a message")?)?)
    };

    assert!(press("sync", &account).await?.contains("A sync was asked for."));
    assert_eq!(queued().await?["notified"], json!("changes"));

    let page = press("pause", &account).await?;
    assert!(page.contains("The account is paused.") && page.contains(">Resume<"), "{page}");
    assert!(matches!(world.store.account(&world.account()?).await?, Some(Err(Unusable::Paused))));
    let page = press("resume", &account).await?;
    assert!(page.contains("The account goes on.") && page.contains(">Pause<"), "{page}");
    queued().await?;

    // What was lost in MongoDB is there again after everything was read again.
    world.store.database().collection::<mongodb::bson::Document>(collection::ACTIONS).drop().await?;
    world.store.migrate(None).await?;
    let page = press("resync", &format!("{account}/resync")).await?;
    assert!(page.contains("Everything is read again."), "{page}");
    let sync = world.sync().await?;
    let mut message = Some(queued().await?);
    while let Some(next) = message {
        world.deliver(&sync, &next).await?;
        message = world.receive(&world.sync_queue).await?.first().map(|text| serde_json::from_str(text)).transpose()?;
    }
    world.drain().await?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 5);

    let page = press("disconnect", &format!("{account}/disconnect")).await?;
    assert!(page.contains("The account is disconnected.") && !page.contains(">Sync now<"), "{page}");
    assert!(matches!(world.store.account(&world.account()?).await?, Some(Err(Unusable::Disconnected))));

    let told = ["Disconnected", "Everything is read again", "Resumed", "Paused", "Sync asked for", "history was read"];
    let timeline = page.split("<h2>Timeline</h2>").nth(1).context("a timeline")?;
    let places: Vec<_> = told.iter().map(|what| timeline.rfind(what)).collect();
    assert!(places.iter().all(Option::is_some), "{timeline}");
    world.end().await
}

#[tokio::test]
async fn resync_and_disconnect_ask_for_confirmation_first() -> Result<()> {
    let mut world = World::new("operate_confirm").await?;
    let front = Front::start(&mut world).await?;
    let mut visitor = front.sign_in().await?;
    let account = format!("/accounts/{DOMAIN}/{HUB}");
    let page = visitor.page(&account).await?;
    for operation in ["resync", "disconnect"] {
        assert!(!page.contains(&format!("action=\"{account}/{operation}\"")), "{operation} has a form at once");
        let asked = visitor.page(&format!("{account}/{operation}")).await?;
        assert!(asked.contains(">Cancel<") && asked.contains(&format!("action=\"{account}/{operation}\"")), "{asked}");
    }
    assert!(world.store.account(&world.account()?).await?.context("the account")?.is_ok(), "asking does nothing");
    world.end().await
}

/// An account may have all object types of the catalogue. They are changed side by side under one lease, and in bounded time.
#[tokio::test]
async fn all_lanes_are_read_again_together_and_within_bound() -> Result<()> {
    let mut world = World::new("operate_lanes").await?;
    let front = Front::start(&mut world).await?;
    let objects = CATALOGUE.iter().map(|row| row.name.parse()).collect::<Result<Vec<Object>, _>>()?;
    world.choose(&objects).await?;
    for object in &objects {
        world.hubspot.world().seed_objects(HUB, *object, 3, 1);
    }
    world.run().await?;
    let fence = world.checkpoint().await?.get_i64("fence")?;

    // What there is no time for is left, and the account is free again.
    let types = objects.iter().map(|object| ObjectType::parse(object.name())).collect::<Result<Vec<_>, _>>()?;
    let (account, beginning) = (world.account()?, DateTime::from_millis(0));
    let done = world.store.resync_lanes(&account, &types, beginning, Instant::now()).await?;
    assert_eq!(done, LanesResync::Done { left: types });

    world.store.database().collection::<Document>(collection::ACTIONS).drop().await?;
    world.store.migrate(None).await?;
    let page = format!("/accounts/{DOMAIN}/{HUB}/resync");
    let mut visitor = front.sign_in().await?;
    let answer = visitor.submit_operation(&page, &page).await?;
    assert!(location(&answer)?.as_str().ends_with("?done=resync"), "{}", location(&answer)?);
    assert_eq!(world.checkpoint().await?.get_i64("fence")?, fence + 2, "each took the lease once");
    world.take(&world.sync_queue).await?;
    world.run().await?;
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 3 * objects.len(), "what was lost is there again");
    world.end().await
}
