//! Records that are deleted, restored and merged in HubSpot.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::{
    rows::{MERGEABLE, ROWS, SEARCH, label_of, text_of},
    world::{HUB, World},
};
use hubspot_sim::{FaultKind, Object};
use model::{object::ObjectType, time::DateTime};
use mongodb::bson::{Document, doc};
use store::{Resync, collection};

/// A world with 30 records of each of these object types, which are read, and their ids.
async fn seeded(name: &str, objects: &[Object]) -> Result<(World, Vec<(Object, Vec<u64>)>)> {
    let world = World::of(name, objects).await?;
    world.fill(5, objects, 30, 1);
    world.run().await?;
    let ids = objects.iter().map(|object| (*object, world.ids(*object))).collect();
    Ok((world, ids))
}

/// The names of a record's actions without its object type, the oldest first, and whether it is said to be gone.
async fn told(world: &World, object: Object, id: u64) -> Result<(Vec<String>, bool)> {
    let mut actions = world.all(collection::ACTIONS).await?;
    actions.retain(|action| action.get_str("recordId").is_ok_and(|record| record == id.to_string()));
    actions.sort_by_key(|action| action.get_datetime("recordUpdatedAt").copied().unwrap_or(DateTime::MIN));
    let label = label_of(object)?;
    let name = |action: &Document| {
        let name = action.get_str("actionName")?.strip_prefix(&label).context("it has another name")?;
        anyhow::Ok(name.trim_start().to_owned())
    };
    let names = actions.iter().map(name).collect::<Result<_>>()?;
    Ok((names, world.state_of(object, id).await?.is_some_and(|state| state.contains_key("deletedAt"))))
}

#[tokio::test]
async fn deleted_and_restored_record_is_published_once_each_time() -> Result<()> {
    let (world, ids) = seeded("deleted", &ROWS).await?;
    // Contacts are identified by their e-mail addresses.
    let changed = |object| if object == Object::CONTACTS { "email" } else { text_of(object) };
    let now = || world.hubspot.world().now();
    let at = now();
    for (object, ids) in &ids {
        world.hubspot.world().update(HUB, *object, ids[3], at, &[(changed(*object), "ana@firm.example")]);
    }
    world.run().await?;
    let at = now();
    for (object, ids) in &ids {
        ensure!(world.hubspot.world().archive(HUB, *object, ids[3], at));
    }
    world.run().await?;
    world.run().await?;
    let actions = world.all(collection::ACTIONS).await?;
    for (object, ids) in &ids {
        let deleted = format!("{} Deleted", label_of(*object)?);
        let gone: Vec<&Document> =
            actions.iter().filter(|action| action.get_str("actionName").is_ok_and(|name| name == deleted)).collect();
        ensure!(gone.len() == 1 && gone[0].get_datetime("actionDate")?.timestamp_millis() == at, "{gone:?}");
        if *object == Object::CONTACTS {
            ensure!(gone[0].get_str("identity")? == "ana@firm.example", "{gone:?}");
        }
        let kept = world.stored_text(*object, ids[3], changed(*object)).await?;
        ensure!(kept == "ana@firm.example", "the state of {object:?} is kept: {kept}");
    }
    world.proof().await?;

    let at = now();
    for (object, ids) in &ids {
        ensure!(world.hubspot.world().restore(HUB, *object, ids[3], at));
    }
    world.run().await?;
    for (object, ids) in &ids {
        let (names, is_gone) = told(&world, *object, ids[3]).await?;
        ensure!(names.ends_with(&["Deleted".to_owned(), "Updated".to_owned()]) && !is_gone, "{object:?}: {names:?}");
    }
    world.proof().await?;

    let at = now();
    for (object, ids) in &ids {
        ensure!(world.hubspot.world().archive(HUB, *object, ids[3], at));
    }
    world.run().await?;
    for (object, ids) in &ids {
        let (names, is_gone) = told(&world, *object, ids[3]).await?;
        let deletions = names.iter().filter(|name| *name == "Deleted").count();
        ensure!(deletions == 2 && is_gone, "{object:?}: {names:?}");
    }
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn merged_record_is_deleted_into_survivor_which_is_not_created_again() -> Result<()> {
    for lists_merged in [false, true] {
        let (world, seeded) = seeded("merged", &MERGEABLE).await?;
        world.hubspot.world().settings.lists_merged = lists_merged;
        let mut at = world.hubspot.world().now();
        let mut survivors = Vec::new();
        for (object, ids) in &seeded {
            let mut merge = |pair, mint| {
                at += 1;
                world.hubspot.world().merge(HUB, *object, pair, at, mint).context("both are there")
            };
            // One keeps its id, one gets a new one, and one chain of both is met at its end alone.
            ensure!(merge((ids[0], ids[1]), false)? == ids[0]);
            let minted = merge((ids[2], ids[3]), true)?;
            let half = merge((ids[4], ids[5]), true)?;
            survivors.push((minted, merge((half, ids[6]), true)?));
        }
        world.run().await?;
        world.run().await?;
        for ((object, ids), (minted, chained)) in seeded.iter().zip(survivors) {
            for (lost, survivor) in [(1, ids[0]), (2, minted), (3, minted), (4, chained), (5, chained), (6, chained)] {
                let (names, is_gone) = told(&world, *object, ids[lost]).await?;
                let deletions = names.iter().filter(|name| *name == "Deleted").count();
                ensure!(deletions == 1 && is_gone, "{object:?}: {names:?}");
                let state = world.state_of(*object, ids[lost]).await?.context("the state is kept")?;
                ensure!(state.get_str("mergedInto")? == survivor.to_string(), "{state}");
            }
            for survivor in [minted, chained] {
                ensure!(told(&world, *object, survivor).await? == (vec!["Updated".to_owned()], false), "{object:?}");
            }
        }
        world.proof().await?;
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn merge_before_first_sync_creates_survivor_and_never_the_losers() -> Result<()> {
    let world = World::of("merged_before", &MERGEABLE).await?;
    world.fill(0, &MERGEABLE, 3, 1);
    let mut merged = Vec::new();
    for object in MERGEABLE {
        let mut hubspot = world.hubspot.world();
        let (ids, at) = (hubspot.ids(HUB, object), hubspot.now());
        let survivor = hubspot.merge(HUB, object, (ids[0], ids[1]), at, true).context("both are there")?;
        merged.push((object, ids, survivor));
    }
    world.run().await?;
    world.run().await?;
    for (object, ids, survivor) in merged {
        ensure!(told(&world, object, survivor).await? == (vec!["Created".to_owned()], false), "{object:?}");
        for lost in &ids[..2] {
            ensure!(told(&world, object, *lost).await? == (vec![], false), "{object:?}");
        }
    }
    world.proof().await?;
    world.end().await
}

/// Many deleted records, read page by page in slices that have no time for all of them; other changes pass by.
#[tokio::test]
async fn large_recycle_bin_is_swept_in_several_slices_on_its_own_schedule() -> Result<()> {
    // Lanes are swept side by side: as many pages of each as one lane alone would have.
    const EACH: usize = 2_000;
    let mut world = World::of("large_bin", &ROWS).await?;
    world.config.sweep_every = Some(Duration::from_secs(3600));
    // The lists that are counted are those of the recycle bin.
    world.config.search_only = true;
    world.fill(0, &ROWS, EACH, 1);
    world.run().await?;
    for object in ROWS {
        let mut hubspot = world.hubspot.world();
        let (ids, at) = (hubspot.ids(HUB, object), hubspot.now());
        let archived = ids.iter().filter(|id| hubspot.archive(HUB, object, **id, at)).count();
        ensure!(archived == EACH);
        hubspot.settings.latency_ms = 600;
    }
    world.run().await?;
    ensure!(world.requests("list 200") == 0, "the recycle bin was read before its time");
    let ended = |object: &Object| (format!("lanes.{}.sweep.endedAt", object.name()), DateTime::from_millis(0).into());
    let ended: Document = ROWS.iter().map(ended).collect();
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    checkpoints.update_many(doc! {}, doc! { "$set": ended }).await?;
    let slices = world.run().await?;
    ensure!(slices > 2, "it was read in {slices} slices");
    // Each once, but for one of each lane that may be under way when a slice's time is over.
    // A slice that is delivered again reads one again, too.
    let (pages, all) = (world.requests("list 200"), (ROWS.len() * EACH / 100) as u64);
    let again = (2 * ROWS.len() * slices) as u64;
    ensure!((all..all + again).contains(&pages), "{pages} pages were read in {slices} slices");
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
        let (world, ids) = seeded("no_bin", &ROWS).await?;
        let at = world.hubspot.world().now();
        for (object, ids) in &ids {
            world.hubspot.world().archive(HUB, *object, ids[0], at);
            world.hubspot.world().update(HUB, *object, ids[1], at, &[(text_of(*object), "CTO")]);
        }
        world.fault("archived=true", u32::MAX, kind);
        world.run().await?;
        ensure!(world.checkpoint().await?.get_document("run").is_err(), "the run is not over");
        for (object, ids) in &ids {
            let (names, _) = told(&world, *object, ids[1]).await?;
            ensure!(names.last().is_some_and(|name| name == "Updated"), "{object:?}: {names:?}");
            let lane = world.lane(*object).await?;
            ensure!(lane.get_document("sweep")?.get_str("lastError").is_ok(), "{object:?}: {lane}");
            ensure!(!told(&world, *object, ids[0]).await?.1);
        }
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
    let (world, ids) = seeded("resync_gone", &ROWS).await?;
    for (object, ids) in &ids {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        hubspot.archive(HUB, *object, ids[0], at);
        // Nothing happens to those that cannot be merged.
        hubspot.merge(HUB, *object, (ids[1], ids[2]), at, false);
        hubspot.merge(HUB, *object, (ids[3], ids[4]), at, true);
    }
    world.run().await?;
    // The survivor is modified, so that its merge is met again at another time.
    let at = world.hubspot.world().now();
    for (object, ids) in &ids {
        world.hubspot.world().update(HUB, *object, ids[1], at, &[(text_of(*object), "CTO")]);
    }
    world.run().await?;
    let before = world.all(collection::ACTIONS).await?;
    for object in ROWS {
        let object = ObjectType::parse(object.name())?;
        for _ in 0..2 {
            let again = world.store.resync(&world.account()?, object, DateTime::from_millis(1000)).await?;
            ensure!(again == Resync::Due);
        }
    }
    world.run().await?;
    world.run().await?;
    ensure!(world.all(collection::ACTIONS).await? == before);
    world.proof().await?;
    world.end().await
}

/// What the product had before is not in `seen`, but was announced. It had companies and contacts alone.
#[tokio::test]
async fn record_announced_by_legacy_worker_is_deleted() -> Result<()> {
    let world = World::new("taken_over").await?;
    let announced = [Object::COMPANIES, Object::CONTACTS].map(|object| {
        let mut hubspot = world.hubspot.world();
        let now = hubspot.now();
        let mut create = |at| hubspot.create(HUB, object, at, BTreeMap::new());
        let (old, young) = ([create(now - 90_000_000), create(now - 90_000_000)], create(now - 1_000));
        hubspot.archive(HUB, object, old[1], now - 80_000_000);
        (object, old, young)
    });
    let taken_over = DateTime::from_millis(world.hubspot.world().now() - 3_600_000);
    world.set_pulled_until(taken_over).await?;
    world.run().await?;
    let at = world.hubspot.world().now();
    for (object, old, _) in announced {
        world.hubspot.world().archive(HUB, object, old[0], at);
    }
    world.run().await?;
    for (object, old, young) in announced {
        ensure!(told(&world, object, young).await? == (vec!["Created".to_owned()], false), "{object:?}");
        ensure!(told(&world, object, old[0]).await? == (vec!["Deleted".to_owned()], true), "{object:?}");
        ensure!(told(&world, object, old[1]).await? == (vec![], false), "{object:?} was gone before");
    }
    world.end().await
}

/// HubSpot's servers have clocks of their own, and a deletion may be an edit, too.
#[tokio::test]
async fn deletion_stamped_before_last_edit_is_published_once() -> Result<()> {
    let (world, ids) = seeded("stamped_early", &ROWS).await?;
    world.hubspot.world().settings.archived_early_ms = 2_000;
    let at = world.hubspot.world().now();
    for (object, ids) in &ids {
        world.hubspot.world().update(HUB, *object, ids[0], at, &[(text_of(*object), "CTO")]);
    }
    world.run().await?;
    for (object, ids) in &ids {
        world.hubspot.world().archive(HUB, *object, ids[0], at + 5);
    }
    world.run().await?;
    let mut all = Vec::new();
    for (object, ids) in &ids {
        let (names, is_gone) = told(&world, *object, ids[0]).await?;
        ensure!(names.last().is_some_and(|name| name == "Deleted") && is_gone, "{object:?}: {names:?}");
        all.push(names);
    }
    world.run().await?;
    for ((object, ids), names) in ids.iter().zip(all) {
        ensure!(told(&world, *object, ids[0]).await?.0 == names, "{object:?} was published twice");
    }
    Ok(())
}

/// Deletions that HubSpot tells of while a run is live are looked for by that run, or the next one.
#[tokio::test]
async fn deletion_webhook_during_run_is_published_without_waiting_for_sweep() -> Result<()> {
    let (mut world, ids) = seeded("told_meanwhile", &ROWS).await?;
    world.config.sweep_every = Some(Duration::from_secs(6 * 3600));
    let moving = FaultKind::Answer { status: 477, body: None, retry_after: Some(20) };
    world.fault_each(SEARCH, &ROWS, 1, &moving);
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    ensure!(world.checkpoint().await?.get_document("run").is_ok(), "no run is live");
    let at = world.hubspot.world().now();
    for (object, ids) in &ids {
        world.hubspot.world().archive(HUB, *object, ids[0], at);
    }
    let mut told_of = world.tick();
    told_of["notified"] = "deletions".into();
    world.deliver(&sync, &told_of).await?;
    world.run_on().await?;
    for (object, ids) in &ids {
        ensure!(told(&world, *object, ids[0]).await?.1, "the deletion of {object:?} was forgotten");
    }
    world.proof().await?;
    Ok(())
}
