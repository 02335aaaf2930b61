//! Records that are deleted, restored and merged in HubSpot.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::{FaultKind, Object};
use model::{object::ObjectType, time::DateTime};
use mongodb::bson::{Document, doc};
use store::{Resync, collection};

const CONTACTS: Object = Object::CONTACTS;

async fn seeded(name: &str) -> Result<(World, Vec<u64>)> {
    let world = World::new(name).await?;
    world.hubspot.world().seed(HUB, 5, 30, 1);
    world.run().await?;
    let ids = world.hubspot.world().ids(HUB, CONTACTS);
    Ok((world, ids))
}

/// The names of a contact's actions, the oldest first, and whether it is said to be gone.
async fn told(world: &World, id: u64) -> Result<(Vec<String>, bool)> {
    let mut actions = world.all(collection::ACTIONS).await?;
    actions.retain(|action| action.get_str("recordId").is_ok_and(|record| record == id.to_string()));
    actions.sort_by_key(|action| action.get_datetime("recordUpdatedAt").copied().unwrap_or(DateTime::MIN));
    let names = actions.iter().filter_map(|action| Some(action.get_str("actionName").ok()?.to_owned())).collect();
    Ok((names, state(world, id).await?.is_some_and(|state| state.contains_key("deletedAt"))))
}

async fn state(world: &World, id: u64) -> Result<Option<Document>> {
    let states = world.store.database().collection::<Document>("contacts");
    Ok(states.find_one(doc! { "recordId": id.to_string() }).await?)
}

#[tokio::test]
async fn deleted_and_restored_record_is_published_once_each_time() -> Result<()> {
    let (world, ids) = seeded("deleted").await?;
    let id = ids[3];
    let now = || world.hubspot.world().now();
    let at = now();
    world.hubspot.world().update(HUB, CONTACTS, id, at, &[("email", "ana@firm.example")]);
    world.run().await?;
    let at = now();
    ensure!(world.hubspot.world().archive(HUB, CONTACTS, id, at));
    world.run().await?;
    world.run().await?;
    let gone = world.all(collection::ACTIONS).await?;
    let gone: Vec<&Document> =
        gone.iter().filter(|action| action.get_str("actionName").is_ok_and(|name| name == "Contact Deleted")).collect();
    ensure!(gone.len() == 1 && gone[0].get_str("identity")? == "ana@firm.example", "{gone:?}");
    ensure!(gone[0].get_datetime("actionDate")?.timestamp_millis() == at);
    let tombstone = state(&world, id).await?.context("the state is kept")?;
    ensure!(tombstone.get_document("properties")?.get_str("email")? == "ana@firm.example", "{tombstone}");
    world.proof().await?;

    let at = now();
    ensure!(world.hubspot.world().restore(HUB, CONTACTS, id, at));
    world.run().await?;
    let (names, is_gone) = told(&world, id).await?;
    ensure!(names.ends_with(&["Contact Deleted".to_owned(), "Contact Updated".to_owned()]) && !is_gone, "{names:?}");
    world.proof().await?;

    let at = now();
    ensure!(world.hubspot.world().archive(HUB, CONTACTS, id, at));
    world.run().await?;
    let (names, is_gone) = told(&world, id).await?;
    ensure!(names.iter().filter(|name| *name == "Contact Deleted").count() == 2 && is_gone, "{names:?}");
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn merged_record_is_deleted_into_survivor_which_is_not_created_again() -> Result<()> {
    for lists_merged in [false, true] {
        let (world, ids) = seeded("merged").await?;
        world.hubspot.world().settings.lists_merged = lists_merged;
        let mut at = world.hubspot.world().now();
        let mut merge = |pair, mint| {
            at += 1;
            world.hubspot.world().merge(HUB, CONTACTS, pair, at, mint).context("both are there")
        };
        // One keeps its id, one gets a new one, and one chain of both is met at its end alone.
        ensure!(merge((ids[0], ids[1]), false)? == ids[0]);
        let minted = merge((ids[2], ids[3]), true)?;
        let half = merge((ids[4], ids[5]), true)?;
        let chained = merge((half, ids[6]), true)?;
        world.run().await?;
        world.run().await?;
        for (lost, survivor) in [(1, ids[0]), (2, minted), (3, minted), (4, chained), (5, chained), (6, chained)] {
            let (names, is_gone) = told(&world, ids[lost]).await?;
            ensure!(names.iter().filter(|name| *name == "Contact Deleted").count() == 1 && is_gone, "{names:?}");
            let state = state(&world, ids[lost]).await?.context("the state is kept")?;
            ensure!(state.get_str("mergedInto")? == survivor.to_string(), "{state}");
        }
        for survivor in [minted, chained] {
            ensure!(told(&world, survivor).await? == (vec!["Contact Updated".to_owned()], false));
        }
        world.proof().await?;
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn merge_before_first_sync_creates_survivor_and_never_the_losers() -> Result<()> {
    let world = World::new("merged_before").await?;
    let (ids, survivor) = {
        let mut hubspot = world.hubspot.world();
        hubspot.seed(HUB, 0, 3, 1);
        let (ids, at) = (hubspot.ids(HUB, CONTACTS), hubspot.now());
        let survivor = hubspot.merge(HUB, CONTACTS, (ids[0], ids[1]), at, true).context("both are there")?;
        (ids, survivor)
    };
    world.run().await?;
    world.run().await?;
    ensure!(told(&world, survivor).await? == (vec!["Contact Created".to_owned()], false));
    for lost in &ids[..2] {
        ensure!(told(&world, *lost).await? == (vec![], false));
    }
    world.proof().await?;
    world.end().await
}

/// Many deleted records, read page by page in slices that have no time for all of them; other changes pass by.
#[tokio::test]
async fn large_recycle_bin_is_swept_in_several_slices_on_its_own_schedule() -> Result<()> {
    let mut world = World::new("large_bin").await?;
    world.config.sweep_every = Some(Duration::from_secs(3600));
    world.hubspot.world().seed(HUB, 0, 2_500, 1);
    world.run().await?;
    {
        let mut hubspot = world.hubspot.world();
        let (ids, at) = (hubspot.ids(HUB, CONTACTS), hubspot.now());
        let archived = ids.iter().filter(|id| hubspot.archive(HUB, CONTACTS, **id, at)).count();
        ensure!(archived == 2_500);
        hubspot.settings.latency_ms = 600;
    }
    world.run().await?;
    ensure!(world.requests("list 200") == 0, "the recycle bin was read before its time");
    let ended = doc! { "$set": { "lanes.contacts.sweep.endedAt": DateTime::from_millis(0) } };
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_many(doc! {}, ended).await?;
    let slices = world.run().await?;
    ensure!(slices > 2, "it was read in {slices} slices");
    // Each once, but for one that may be under way when a slice's time is over.
    // A slice that is delivered again reads one again, too.
    let pages = world.requests("list 200");
    ensure!((25..25 + 2 * slices as u64).contains(&pages), "{pages} pages were read in {slices} slices");
    world.proof().await?;
    world.run().await?;
    ensure!(world.requests("list 200") == pages, "the recycle bin was read again before its time");
    world.end().await
}

#[tokio::test]
async fn unreadable_recycle_bin_delays_no_other_change() -> Result<()> {
    let html = Some("<html>hello</html>".to_owned());
    let answer = |status, body| FaultKind::Answer { status, body, retry_after: None };
    let endless = r#"{"results": [], "paging": {"next": {}}}"#.to_owned();
    for kind in [answer(403, None), answer(400, None), answer(200, html), answer(200, Some(endless))] {
        let (world, ids) = seeded("no_bin").await?;
        let at = world.hubspot.world().now();
        world.hubspot.world().archive(HUB, CONTACTS, ids[0], at);
        world.hubspot.world().update(HUB, CONTACTS, ids[1], at, &[("jobtitle", "CTO")]);
        world.fault("archived=true", u32::MAX, kind);
        world.run().await?;
        let (names, _) = told(&world, ids[1]).await?;
        ensure!(names.last().is_some_and(|name| name == "Contact Updated"), "{names:?}");
        ensure!(world.checkpoint().await?.get_document("run").is_err(), "the run is not over");
        let checkpoint = world.checkpoint().await?;
        let sweep = checkpoint.get_document("lanes")?.get_document("contacts")?.get_document("sweep")?;
        ensure!(sweep.get_str("lastError").is_ok(), "{sweep}");
        ensure!(!told(&world, ids[0]).await?.1);
        world.hubspot.world().faults.clear();
        world.time_passes().await?;
        world.run().await?;
        world.proof().await?;
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn resync_publishes_no_deletion_or_merge_twice() -> Result<()> {
    let (world, ids) = seeded("resync_gone").await?;
    {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        hubspot.archive(HUB, CONTACTS, ids[0], at);
        hubspot.merge(HUB, CONTACTS, (ids[1], ids[2]), at, false);
        hubspot.merge(HUB, CONTACTS, (ids[3], ids[4]), at, true);
    }
    world.run().await?;
    // The survivor is modified, so that its merge is met again at another time.
    let at = world.hubspot.world().now();
    world.hubspot.world().update(HUB, CONTACTS, ids[1], at, &[("jobtitle", "CTO")]);
    world.run().await?;
    let before = world.all(collection::ACTIONS).await?;
    for _ in 0..2 {
        let again = world.store.resync(&world.account()?, ObjectType::CONTACTS, DateTime::from_millis(1000)).await?;
        ensure!(again == Resync::Due);
    }
    world.run().await?;
    world.run().await?;
    ensure!(world.all(collection::ACTIONS).await? == before);
    world.proof().await?;
    world.end().await
}

/// What the product had before is not in `seen`, but was announced.
#[tokio::test]
async fn record_announced_by_legacy_worker_is_deleted() -> Result<()> {
    let world = World::new("taken_over").await?;
    let (old, young) = {
        let mut hubspot = world.hubspot.world();
        let now = hubspot.now();
        let create = |hubspot: &mut hubspot_sim::World, at| hubspot.create(HUB, CONTACTS, at, BTreeMap::new());
        let old = [create(&mut hubspot, now - 90_000_000), create(&mut hubspot, now - 90_000_000)];
        hubspot.archive(HUB, CONTACTS, old[1], now - 80_000_000);
        (old, create(&mut hubspot, now - 1_000))
    };
    let taken_over = DateTime::from_millis(world.hubspot.world().now() - 3_600_000);
    world.set_pulled_until(taken_over).await?;
    world.run().await?;
    let at = world.hubspot.world().now();
    world.hubspot.world().archive(HUB, CONTACTS, old[0], at);
    world.run().await?;
    ensure!(told(&world, young).await? == (vec!["Contact Created".to_owned()], false));
    ensure!(told(&world, old[0]).await? == (vec!["Contact Deleted".to_owned()], true));
    ensure!(told(&world, old[1]).await? == (vec![], false), "it was gone before");
    world.end().await
}

/// HubSpot's servers have clocks of their own, and a deletion may be an edit, too.
#[tokio::test]
async fn deletion_stamped_before_last_edit_is_published_once() -> Result<()> {
    let (world, ids) = seeded("stamped_early").await?;
    world.hubspot.world().settings.archived_early_ms = 2_000;
    let at = world.hubspot.world().now();
    world.hubspot.world().update(HUB, CONTACTS, ids[0], at, &[("jobtitle", "CTO")]);
    world.run().await?;
    world.hubspot.world().archive(HUB, CONTACTS, ids[0], at + 5);
    world.run().await?;
    let (names, is_gone) = told(&world, ids[0]).await?;
    ensure!(names.last().is_some_and(|name| name == "Contact Deleted") && is_gone, "{names:?}");
    world.run().await?;
    ensure!(told(&world, ids[0]).await?.0 == names, "it was told twice");
    Ok(())
}

/// Deletions that HubSpot tells of while a run is live are looked for by that run, or the next one.
#[tokio::test]
async fn deletion_webhook_during_run_is_published_without_waiting_for_sweep() -> Result<()> {
    let (mut world, ids) = seeded("told_meanwhile").await?;
    world.config.sweep_every = Some(Duration::from_secs(6 * 3600));
    world.fault("/contacts/search", 1, FaultKind::Answer { status: 477, body: None, retry_after: Some(20) });
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    ensure!(world.checkpoint().await?.get_document("run").is_ok(), "no run is live");
    let at = world.hubspot.world().now();
    world.hubspot.world().archive(HUB, CONTACTS, ids[0], at);
    let mut told_of = world.tick();
    told_of["notified"] = "deletions".into();
    world.deliver(&sync, &told_of).await?;
    world.run_on().await?;
    ensure!(told(&world, ids[0]).await?.1, "the deletion was forgotten");
    world.proof().await?;
    Ok(())
}
