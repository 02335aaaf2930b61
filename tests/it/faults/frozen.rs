//! A worker that is stopped in the middle of its slice until another one has its lease: what it had found out is old when
//! it goes on.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::{
    bootstrap::Invoked,
    gate::{Effect, Verdict, When},
    rows::{MERGEABLE, ROWS, label_of, text_of},
    service::{INVOCATION_LIMIT, Service},
    stopwatch::MAX_PROCESSOR_WAIT,
    world::{DOMAIN, HUB, World, message_event},
};
use hubspot_sim::Object;
use model::{message::MAX_ACTIONS, object::ObjectType};
use mongodb::bson::Document;
use serde_json::{Value, json};
use stack::process;

const LEASE: Duration = Duration::from_secs(60);

/// Stops the first worker before its first effect of this name; lets `meanwhile` happen, the lease run out, and the
/// second worker do a slice; takes the lease itself, so that what a second worker that was killed has sent last is not written
/// either; and lets the first one go on, which must not write a checkpoint any more. Returns how the second one's slice ended, and
/// the checkpoint.
async fn overtaken(
    service: &mut Service,
    name: &'static str,
    meanwhile: impl FnOnce(&World),
) -> Result<(Invoked, Document)> {
    let mut once = true;
    service.sync[0].gate.set(move |effect: &Effect| {
        let hit = effect.name == name && effect.when == When::Before && std::mem::take(&mut once);
        if hit { Verdict::Freeze } else { Verdict::Pass }
    });
    let tick = message_event(&[service.world.tick().to_string()]);
    let (first, second) = service.sync.split_at_mut(1);
    let (frozen, other) = (&mut first[0], &mut second[0]);
    let gate = frozen.gate.clone();
    let world = &service.world;
    let overtakes = async {
        process::wait_until("the worker to stop", Duration::from_secs(60), async || gate.is_frozen()).await?;
        meanwhile(world);
        world.time_passes().await?;
        world.expire_run().await?;
        let (invoked, _) = other.invoke(&tick).await?;
        world.expire_lease().await?;
        let third = world.store.lease(&world.account()?, LEASE).await?;
        ensure!(third.is_some(), "the second worker holds the lease");
        let checkpoint = world.checkpoint().await?;
        gate.thaw();
        anyhow::Ok((invoked, checkpoint))
    };
    let ((stopped, took), (invoked, checkpoint)) = tokio::try_join!(frozen.invoke(&tick), overtakes)?;
    // Its budget went on meanwhile: if nothing is left of it, it ends as one that is to be delivered again.
    ensure!(stopped.is_success() || took > INVOCATION_LIMIT - MAX_PROCESSOR_WAIT * 2, "{name}: {stopped:?}");
    ensure!(service.world.checkpoint().await? == checkpoint, "{name}: the stale holder has written");
    service.collect().await?;
    Ok((invoked, checkpoint))
}

#[tokio::test]
async fn stale_lease_holder_writes_no_checkpoint() -> Result<()> {
    for name in ["mongodb update checkpoints", "sqs SendMessage actions", "mongodb update seen"] {
        let world = World::of("stale", &ROWS).await?;
        world.fill(51, &ROWS, 51, 1);
        let mut service = Service::new(world, 2, 1).await?;
        let (invoked, checkpoint) = overtaken(&mut service, name, |_| {}).await?;
        ensure!(invoked.is_success() && checkpoint.get_i64("fence")? == 3, "{name}: {invoked:?}");
        ensure!(service.finish().await?.actions == 255, "{name}");
    }
    Ok(())
}

/// The one that was stopped has met the loser alive, the other one the merge.
#[tokio::test]
async fn frozen_slice_does_not_create_loser_whose_merge_another_slice_has_seen() -> Result<()> {
    for object in MERGEABLE {
        let world = World::of("stale_loser", &[object]).await?;
        world.fill(0, &[object], 2, 1);
        let mut service = Service::new(world, 2, 1).await?;
        let (invoked, _) = overtaken(&mut service, "mongodb update seen", |world| {
            let mut hubspot = world.hubspot.world();
            let (ids, at) = (hubspot.ids(HUB, object), hubspot.now());
            hubspot.merge(HUB, object, (ids[0], ids[1]), at, false);
        })
        .await?;
        ensure!(invoked.is_success(), "{object:?}: {invoked:?}");
        ensure!(service.finish().await?.actions == 1, "{object:?}");
    }
    Ok(())
}

/// The one that was stopped has met the merge. The other one meets the loser, which the index still shows, and is killed
/// before it gets to the survivor.
#[tokio::test]
async fn loser_created_while_slice_with_its_merge_is_frozen_is_deleted() -> Result<()> {
    for object in MERGEABLE {
        let done = loser_meets_frozen_merge(object).await;
        done.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn loser_meets_frozen_merge(object: Object) -> Result<()> {
    let world = World::of("stale_merge", &[object]).await?;
    let lag = |world: &World, millis| {
        let settings = &mut world.hubspot.world().settings;
        (settings.index_lag_min_ms, settings.index_lag_max_ms) = (millis, millis);
    };
    let hour = 3_600_000;
    world.hubspot.world().settings.newer_rows = false;
    let at = world.hubspot.world().now();
    let create = |_| world.hubspot.world().create(HUB, object, at, BTreeMap::new());
    lag(&world, 60_000);
    let loser = create(0);
    // A batch of others stands between the two.
    lag(&world, 0);
    let survivor = (0..MAX_ACTIONS).map(create).max().context("there are records")?;
    let mut service = Service::new(world, 2, 1).await?;
    service.tick();
    service.deliver_next().await?;
    let world = &service.world;
    lag(world, hour);
    world.hubspot.world().merge(HUB, object, (survivor, loser), at + 1, false).context("both are there")?;
    lag(world, 0);
    ensure!(world.hubspot.world().update(HUB, object, survivor, at + 2, &[(text_of(object), "CTO")]));
    let killed = service.sync[1].gate.clone();
    killed.set(|effect: &Effect| match effect.name == "sqs SendMessage actions" && effect.when == When::After {
        true => Verdict::Kill,
        false => Verdict::Pass,
    });
    let (invoked, _) = overtaken(&mut service, "mongodb update seen", |world| {
        world.hubspot.world().settings.clock_offset_ms += 90_000;
    })
    .await?;
    ensure!(invoked == Invoked::Died, "{invoked:?}");
    service.sync.pop();
    service.world.hubspot.world().settings.clock_offset_ms += hour;
    // Once each, and the survivor and the loser once more.
    ensure!(service.finish().await?.actions == MAX_ACTIONS + 3);
    Ok(())
}

/// An older change finds the state as the merge leaves it, apart from what it was merged into.
#[tokio::test]
async fn merge_stored_by_another_drain_survives_older_update() -> Result<()> {
    let mut service = Service::new(World::new("merge_race").await?, 0, 2).await?;
    for object in MERGEABLE {
        merge_races_older_update(&mut service, object).await.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn merge_races_older_update(service: &mut Service, object: Object) -> Result<()> {
    let day = |day: u32| format!("2026-01-{day:02}T00:00:00Z");
    let label = label_of(object)?;
    let message = |action: Value| {
        let message = json!({"type": "actions.v1", "domainId": DOMAIN, "hubId": HUB.to_string(), "actions": [action]});
        message_event(&[message.to_string()])
    };
    let changed = |name: &str, at: u32| {
        message(
            json!({"object": object, "recordId": "151", "actionName": format!("{label} {name}"), "actionDate": day(at),
            "recordUpdatedAt": day(at), "includeInAnalytics": 0,
            "record": {"createdAt": day(1), "properties": {"title": at.to_string()}, "companyIds": []}}),
        )
    };
    let deleted = |merged_into: Option<&str>| {
        message(json!({"object": object, "recordId": "151", "actionName": format!("{label} Deleted"),
            "actionDate": day(4), "recordUpdatedAt": day(4), "includeInAnalytics": 0, "mergedInto": merged_into}))
    };
    for event in [changed("Created", 1), deleted(None)] {
        ensure!(service.actions[0].invoke(&event).await?.0.is_success());
    }
    let mut once = true;
    let update = format!("mongodb update {}", ObjectType::parse(object.name())?.collection());
    service.actions[0].gate.set(move |effect: &Effect| {
        let hit = effect.name == update && effect.when == When::Before && std::mem::take(&mut once);
        if hit { Verdict::Freeze } else { Verdict::Pass }
    });
    let (first, second) = service.actions.split_at_mut(1);
    let gate = first[0].gate.clone();
    let merged = async {
        process::wait_until("the worker to stop", Duration::from_secs(60), async || gate.is_frozen()).await?;
        let (merged, _) = second[0].invoke(&deleted(Some("9"))).await?;
        gate.thaw();
        anyhow::Ok(merged)
    };
    let older = changed("Updated", 3);
    let ((older, _), merged) = tokio::try_join!(first[0].invoke(&older), merged)?;
    ensure!(older.is_success() && merged.is_success(), "{older:?} {merged:?}");
    let states = service.world.states_of(object).await?;
    ensure!(states.len() == 1 && states[0].get_document("properties")?.get_str("title")? == "3", "{states:?}");
    ensure!(states[0].get_str("mergedInto").ok() == Some("9"), "the merge was lost: {states:?}");
    Ok(())
}
