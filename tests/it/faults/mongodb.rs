//! MongoDB's faults.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    gate::{Effect, Verdict, When},
    rows::ROWS,
    service::{INVOCATION_LIMIT, Service},
    world::{World, message_event},
};
use mongodb::{
    bson::doc,
    options::{Acknowledgment, ReadPreference, SelectionCriteria},
};
use ops::local;
use secrecy::ExposeSecret;
use stack::{process, servers};
use store::{MongoConfig, Store};

#[tokio::test]
async fn mongodb_unreachable_at_start_fails_message_in_time_and_process_recovers() -> Result<()> {
    let mut world = World::of("mongo_start", &ROWS).await?;
    world.fill(5, &ROWS, 5, 1);
    let tick = message_event(&[world.tick().to_string()]);
    let there = world.config.mongo.uri.clone();
    world.config.mongo.uri = "mongodb://127.0.0.1:1/".into();
    let mut sync = Bootstrap::start_ungated(Function::Sync, &world).await?;
    let (invoked, took) = sync.invoke(&tick).await?;
    let took = took.saturating_sub(sync.waited);
    ensure!(matches!(invoked, Invoked::Failed(_)) && took < INVOCATION_LIMIT, "{invoked:?} after {took:?}");
    world.config.mongo.uri = there;
    let mut service = Service::new(world, 1, 1).await?;
    // The same process goes on when MongoDB is back.
    service.sync[0].gate.set(|effect| if effect.name.starts_with("mongodb") { Verdict::Lose } else { Verdict::Pass });
    let (invoked, took) = service.sync[0].invoke(&tick).await?;
    let took = took.saturating_sub(service.sync[0].waited);
    ensure!(matches!(invoked, Invoked::Failed(_)) && took < INVOCATION_LIMIT, "{invoked:?} after {took:?}");
    ensure!(service.finish().await?.actions == 25);
    Ok(())
}

/// From each point of the slice on, MongoDB is gone, or does not answer any more.
#[tokio::test]
async fn mongodb_lost_in_middle_of_slice_loses_nothing() -> Result<()> {
    for verdict in [Verdict::Lose, Verdict::Hang] {
        for from in [1, 3, 6, 10, 14] {
            let mut service = Service::of_rows("mongo_gone", 51).await?;
            let gone = verdict.clone();
            service.sync[0].gate.set(move |effect: &Effect| {
                let gone = gone.clone();
                if effect.number >= from && effect.name.starts_with("mongodb") { gone } else { Verdict::Pass }
            });
            service.tick();
            let slice = service.deliver_next().await?;
            ensure!(matches!(slice, Invoked::Failed(_)), "{verdict:?} from {from} on: {slice:?}");
            service.sync[0].gate.cut_connections();
            let proof = service.finish().await.with_context(|| format!("{verdict:?} from {from} on"))?;
            ensure!(proof.actions == 255);
        }
    }
    Ok(())
}

#[tokio::test]
async fn mongodb_write_whose_answer_is_lost_is_repeated() -> Result<()> {
    for name in ["mongodb update seen", "mongodb update checkpoints", "mongodb findAndModify checkpoints"] {
        let mut service = Service::of_rows("mongo_answer", 51).await?;
        let mut once = true;
        service.sync[0].gate.set(move |effect: &Effect| {
            let hit = effect.name == name && effect.when == When::After && std::mem::take(&mut once);
            if hit { Verdict::Lose } else { Verdict::Pass }
        });
        service.tick();
        service.deliver_next().await?;
        ensure!(service.finish().await?.actions == 255, "{name}");
    }
    Ok(())
}

#[tokio::test]
async fn slow_mongodb_takes_more_slices_and_none_is_too_long() -> Result<()> {
    let mut service = Service::of_rows("mongo_slow", 181).await?;
    let slow = |effect: &Effect| match effect.name.starts_with("mongodb") && effect.when == When::Before {
        true => Verdict::Late(Duration::from_millis(250)),
        false => Verdict::Pass,
    };
    service.sync[0].gate.set(slow);
    service.tick();
    let mut slices = 0;
    while !service.sync_messages.is_empty() {
        // A slice that could not even be ended in time is delivered again.
        service.world.time_passes().await?;
        service.deliver_next().await?;
        slices += 1;
        ensure!(slices < 20, "it makes no progress");
    }
    ensure!(slices > 1, "it was not slow at all");
    ensure!(service.finish().await?.actions == 905);
    Ok(())
}

/// A MongoDB of the test's own, whose primary steps down in the middle of a slice.
#[tokio::test]
async fn mongodb_primary_step_down_fails_slice_and_loses_nothing() -> Result<()> {
    let state = process::folder().join("step-down");
    let port = process::free_port()?;
    servers::start_mongod(&state, port).await?;
    let result = step_down(port).await;
    process::stop_all(&state).await?;
    std::fs::remove_dir_all(&state)?;
    result
}

async fn step_down(port: u16) -> Result<()> {
    let world = World::with_mongodb("step_down", &local::mongodb_uri(port)).await?;
    world.choose_with_companies(&ROWS).await?;
    world.fill(51, &ROWS, 51, 1);
    let admin = world.store.database().client().database("admin");
    let mut service = Service::new(world, 1, 1).await?;
    let mut once = true;
    service.sync[0].gate.set(move |effect: &Effect| {
        if effect.name == "mongodb update seen" && effect.when == When::Before && std::mem::take(&mut once) {
            let admin = admin.clone();
            // It closes this very connection, too.
            tokio::spawn(async move { admin.run_command(doc! { "replSetStepDown": 5, "force": true }).await });
            return Verdict::Late(Duration::from_millis(500));
        }
        Verdict::Pass
    });
    service.tick();
    let slice = service.deliver_next().await?;
    ensure!(!slice.is_success(), "it did not notice: {slice:?}");
    let database = service.world.store.database().clone();
    process::wait_until("a primary", Duration::from_secs(60), async || {
        database
            .run_command(doc! { "hello": 1 })
            .await
            .is_ok_and(|hello| hello.get_bool("isWritablePrimary").is_ok_and(|is| is))
    })
    .await?;
    ensure!(service.finish().await?.actions == 255);
    Ok(())
}

/// Leases, positions and `seen` rest on writes that a failover does not take back, and on reads that are not stale.
#[tokio::test]
async fn unsafe_concerns_in_connection_string_are_overruled() -> Result<()> {
    let world = World::new("concerns").await?;
    let uri = format!("{}&w=1&journal=false&readPreference=secondaryPreferred", world.config.mongo.uri.expose_secret());
    let config = MongoConfig { uri: uri.into(), database: world.config.mongo.database.clone() };
    let store = Store::connect(&config).await?;
    let concern = store.database().write_concern().context("a write concern")?;
    ensure!(concern.w == Some(Acknowledgment::Majority) && concern.journal != Some(false), "{concern:?}");
    let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
    ensure!(store.database().selection_criteria() == Some(&primary), "{:?}", store.database().selection_criteria());
    let lease = store.lease(&world.account()?, Duration::from_secs(1)).await?.context("a lease")?;
    store.ensure_held(&lease).await?;
    Ok(())
}
