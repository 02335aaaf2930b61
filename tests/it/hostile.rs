//! HubSpot's pages at their worst: whatever moves while a lane is read, nothing is lost.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use harness::{
    extent::Extent,
    gate::{Effect, Verdict},
    rows::{MERGEABLE, ROWS, text_of},
    service::Service,
    world::{HUB, World},
};
use hubspot_sim::{IdOrder, Object};
use mongodb::bson::{Document, doc};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use store::collection;

/// How many records each of the lanes has whose pages are disturbed.
const EACH: usize = 500;

/// A real sync bootstrap, and something that happens to some records of HubSpot's before each page of their lane is asked
/// for.
async fn during_every_page(
    name: &str,
    objects: &[Object],
    mut happens: impl FnMut(&mut hubspot_sim::World, Object, &mut StdRng) + Send + 'static,
) -> Result<Service> {
    let world = World::of(name, objects).await?;
    world.fill(50, objects, EACH, 1);
    let mut service = Service::new(world, 1, 1).await?;
    let (hubspot, mut random) = (service.world.hubspot.shared(), StdRng::seed_from_u64(1));
    let pages: Arc<Vec<AtomicUsize>> = Arc::new(objects.iter().map(|_| AtomicUsize::new(0)).collect());
    let (counted, lanes) = (pages.clone(), objects.to_vec());
    service.sync[0].gate.set(move |effect: &Effect| {
        let searched = effect.name.strip_prefix("hubspot search ");
        if let Some(lane) = lanes.iter().position(|object| searched == Some(object.name())) {
            counted[lane].fetch_add(1, Ordering::Relaxed);
            happens(&mut hubspot_sim::lock(&hubspot), lanes[lane], &mut random);
        }
        Verdict::Pass
    });
    service.tick();
    let mut slices = 0;
    while !service.sync_messages.is_empty() {
        service.world.time_passes().await?;
        service.process_next().await?;
        slices += 1;
        ensure!(slices < 30, "it is not done after {slices} slices");
    }
    let pages: Vec<usize> = pages.iter().map(|pages| pages.load(Ordering::Relaxed)).collect();
    ensure!(pages.iter().all(|pages| *pages >= 2 * (EACH / 200)), "there were too few pages: {pages:?}");
    Ok(service)
}

fn some(hubspot: &mut hubspot_sim::World, object: Object, random: &mut StdRng) -> Vec<u64> {
    let ids = hubspot.ids(HUB, object);
    ids.sample(random, 20).copied().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modifications_and_creations_during_every_page_are_all_stored() -> Result<()> {
    let mut service = during_every_page("page_modified", &ROWS, |hubspot, object, random| {
        let at = hubspot.now();
        for id in some(hubspot, object, random) {
            hubspot.update(HUB, object, id, at, &[(text_of(object), "CTO")]);
        }
        hubspot.create(HUB, object, at, BTreeMap::new());
    })
    .await?;
    service.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deletions_and_restorations_during_every_page_are_all_stored() -> Result<()> {
    let mut service = during_every_page("page_deleted", &ROWS, |hubspot, object, random| {
        let at = hubspot.now();
        for id in hubspot.archived(HUB, object).into_iter().step_by(2) {
            hubspot.restore(HUB, object, id, at);
        }
        for id in some(hubspot, object, random) {
            hubspot.archive(HUB, object, id, at);
        }
    })
    .await?;
    service.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merges_during_every_page_are_all_stored() -> Result<()> {
    let mut service = during_every_page("page_merged", &MERGEABLE, |hubspot, object, random| {
        let at = hubspot.now();
        for pair in some(hubspot, object, random).chunks(2) {
            let mint = random.random_bool(0.5);
            hubspot.merge(HUB, object, (pair[0], pair[pair.len() - 1]), at, mint);
        }
    })
    .await?;
    service.finish().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_observed_paging_anomaly_loses_nothing() -> Result<()> {
    let ways = [(IdOrder::Numeric, 0, -120_000), (IdOrder::Lexical, 5_500, 120_000), (IdOrder::Lexical, 3_000, 0)];
    for (id_order, lag, clock) in ways {
        let world = World::of("ways", &ROWS).await?;
        {
            let mut hubspot = world.hubspot.world();
            // Ids that a number of JavaScript cannot hold.
            hubspot.continue_ids_at((1 << 53) - 300);
            let settings = &mut hubspot.settings;
            (settings.id_order, settings.short_pages, settings.clock_offset_ms) = (id_order, true, clock);
            (settings.index_lag_min_ms, settings.index_lag_max_ms) = (0, lag);
            settings.disorder_ms = 3_600_000;
        }
        world.fill(60, &ROWS, 225, 3);
        let mut service = Service::new(world, 1, 1).await?;
        for seed in 0..3 {
            service.tick();
            while !service.sync_messages.is_empty() {
                service.world.time_passes().await?;
                service.process_next().await?;
            }
            for object in ROWS {
                service.world.hubspot.world().change_objects(HUB, object, 30, seed);
            }
        }
        service.finish().await?;
        service.world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn lane_with_12000_records_of_one_millisecond_is_read_completely() -> Result<()> {
    let objects = Extent::sample().some_of(ROWS.to_vec(), 1);
    let world = World::of("ties", &objects).await?;
    for object in &objects {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now() - 7_200_000;
        for _ in 0..12_000 {
            hubspot.create(HUB, *object, at, BTreeMap::new());
        }
    }
    world.run().await?;
    ensure!(world.proof().await?.actions == 12_000 * objects.len());
    Ok(())
}

/// All of it, with few more searches than it has pages: one look a lane, the last page of each window that was divided
/// off (six times in two at most), and a few for each slice: its looks at both lanes, what its four readers had asked for
/// ahead when its time was over, and the smaller pages after a slice that a slow machine delays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lane_of_100000_records_is_read_completely_with_few_extra_searches() -> Result<()> {
    // Some more than a search of HubSpot's shows of a window, in any case.
    let records = Extent::of_this_run().choose(15_000, 100_000);
    for object in Extent::sample().some_of(ROWS.to_vec(), 1) {
        large_lane(object, records).await.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn large_lane(object: Object, records: usize) -> Result<()> {
    let mut world = World::of("large", &[object]).await?;
    world.config.settle = Duration::from_secs(3_600);
    {
        let mut hubspot = world.hubspot.world();
        let start = hubspot.now() - 86_400_000;
        for number in 0..i64::try_from(records)? {
            hubspot.create(HUB, object, start + number * 500, BTreeMap::new());
        }
    }
    let slices = world.run_on().await?;
    ensure!(world.all(collection::SEEN).await?.len() == records);
    let proof = world.proof().await?;
    ensure!(proof.actions == records);
    let (searches, pages) = (world.requests("search 200"), records as u64 / 200);
    ensure!(searches <= pages + 2 + 64 + 8 * slices, "{searches} searches in {slices} slices");
    world.end().await
}

/// Up to when a lane was looked at for changes.
async fn looked_until(world: &World, object: Object) -> Result<Option<mongodb::bson::DateTime>> {
    let Ok(lane) = world.lane(object).await else { return Ok(None) };
    Ok(lane.get_document("fresh")?.get_datetime("mark").ok().copied())
}

/// A backfill of many slices, with HubSpot's limit compressed; changes made meanwhile are there after one slice or two,
/// long before the backfill ends.
#[tokio::test]
async fn fresh_changes_do_not_wait_for_a_long_backfill() -> Result<()> {
    for object in Extent::sample().some_of(ROWS.to_vec(), 1) {
        changes_during_backfill(object).await.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn changes_during_backfill(object: Object) -> Result<()> {
    let mut world = World::of("live", &[object]).await?;
    world.config.fresh_every = Duration::from_millis(500);
    world.config.budget = Duration::from_millis(1_500);
    world.config.limits.search_rps = std::num::NonZeroU32::MIN.saturating_add(7);
    world.hubspot.world().settings.search_rps = 8;
    world.hubspot.world().settings.latency_ms = 150;
    world.fill(100, &[object], 12_000, 1);
    let sync = world.sync().await?;
    let (done, slices) = (AtomicBool::new(false), AtomicUsize::new(0));
    let backfill = async {
        let mut message = world.tick();
        loop {
            let before = looked_until(&world, object).await?;
            world.deliver(&sync, &message).await?;
            world.drain().await?;
            // A slice that a slow machine ended before it could look for changes is none that they wait for.
            if looked_until(&world, object).await? > before {
                slices.fetch_add(1, Ordering::Relaxed);
            }
            match world.due_message().await {
                Ok(next) => message = next,
                Err(_) => break,
            }
        }
        done.store(true, Ordering::Relaxed);
        anyhow::Ok(())
    };
    let changes = async {
        let actions = world.store.database().collection::<Document>(collection::ACTIONS);
        let mut waits = Vec::new();
        while !done.load(Ordering::Relaxed) {
            let (id, at) = {
                let mut hubspot = world.hubspot.world();
                let at = hubspot.now();
                (hubspot.create(HUB, object, at, BTreeMap::new()), at)
            };
            let before = slices.load(Ordering::Relaxed);
            let stored =
                doc! { "recordId": id.to_string(), "recordUpdatedAt": mongodb::bson::DateTime::from_millis(at) };
            while actions.find_one(stored.clone()).await?.is_none() && !done.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(30)).await;
            }
            if !done.load(Ordering::Relaxed) {
                waits.push(slices.load(Ordering::Relaxed) - before);
            }
        }
        Ok(waits)
    };
    let ((), waits) = tokio::try_join!(backfill, changes)?;
    ensure!(waits.len() >= 3, "the backfill was too short to tell: {waits:?}");
    let longest = waits.iter().max().copied().unwrap_or_default();
    // The slice during which it is made may have looked before, and the one after it is stored when it has ended.
    ensure!(longest <= 3, "a change waited for {longest} slices that looked for changes");
    world.run().await?;
    world.proof().await?;
    Ok(())
}
