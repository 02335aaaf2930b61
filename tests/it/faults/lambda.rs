//! Lambda's faults, and the bound: no invocation lasts longer than five seconds, whatever HubSpot, SQS and MongoDB do,
//! and progress is made whenever one batch fits. (What happens when a function is killed is in `crash.rs`.)

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use harness::{
    bootstrap::Invoked,
    extent::Extent,
    gate::{Effect, Verdict, When},
    rows::{ASSOCIATIONS, LINKED, ROWS, SEARCH},
    service::Service,
    stopwatch::Stopwatch,
    world::{HUB, World, assert_accepted, event, lambda},
};
use hubspot_sim::{FaultKind, Object};
use store::collection;

/// Delivers until nothing is left to do, while the waits pass at once; gives the number of slices. That none of them
/// is too long is seen to by the service.
async fn slices(service: &mut Service) -> Result<usize> {
    const MOST: usize = 40;
    service.tick();
    let mut slices = 0;
    while !service.sync_messages.is_empty() {
        service.world.time_passes().await?;
        service.process_next().await?;
        slices += 1;
        ensure!(slices <= MOST, "it is not done after {slices} slices: {}", service.world.checkpoint().await?);
    }
    Ok(slices)
}

/// Four minutes pass between two invocations: the process is stopped, and every connection is closed meanwhile.
#[tokio::test]
async fn sync_frozen_between_invocations_continues_with_new_connections() -> Result<()> {
    let mut service = Service::of_rows("frozen", 5).await?;
    slices(&mut service).await?;
    for object in ROWS {
        service.world.hubspot.world().change_objects(HUB, object, 5, 2);
    }
    let gate = service.sync[0].gate.clone();
    gate.freeze();
    gate.cut_connections();
    service.world.hubspot.world().expire_tokens(HUB);
    tokio::time::sleep(Duration::from_millis(200)).await;
    gate.thaw();
    slices(&mut service).await?;
    ensure!(service.killed == 0);
    service.finish().await?;
    Ok(())
}

#[tokio::test]
async fn deadline_nearer_than_budget_ends_slice() -> Result<()> {
    let world = World::of("deadline", &ROWS).await?;
    world.fill(5, &ROWS, 50, 1);
    world.fault_each(SEARCH, &ROWS, 1_000, &FaultKind::Delay { millis: 30_000 });
    let sync = world.sync().await?;
    let mut invocation = lambda(event(&[world.tick().to_string()]));
    invocation.context.deadline -= 8_500;
    let stopwatch = Stopwatch::start();
    let slice = assert_accepted(sync::handler(&sync, invocation).await);
    ensure!(stopwatch.took() < Duration::from_millis(1_500), "it took {:?}", stopwatch.took());
    if slice.is_err() {
        // MongoDB, SQS or the machine kept it waiting at its end: it is delivered again.
        world.expire_lease().await?;
        world.deliver(&sync, &world.tick()).await?;
    }
    ensure!(world.checkpoint().await?.get_document("run").is_ok(), "the run goes on");
    Ok(())
}

/// An answer that takes nearly the whole budget is too late to be published, however small the page. The log says so,
/// and tried again later; the other lane is not slowed down, and nothing is lost when HubSpot is itself again.
#[tokio::test]
async fn hubspot_answering_in_4_9_seconds_ends_slices_in_time_and_loses_nothing() -> Result<()> {
    for (path, lanes) in [(SEARCH, &ROWS[..]), (ASSOCIATIONS, &LINKED)] {
        let mut service = Service::of_rows("slow_answer", 11).await?;
        service.world.fault_each(path, lanes, 3, &FaultKind::Delay { millis: 4_900 });
        slices(&mut service).await?;
        ensure!(service.finish().await?.actions == 55, "{path}");
    }
    Ok(())
}

#[tokio::test]
async fn hanging_hubspot_ends_slice_within_budget() -> Result<()> {
    for (path, lanes) in [(SEARCH, &ROWS[..]), (ASSOCIATIONS, &LINKED), ("/oauth/", &ROWS[..1])] {
        let mut service = Service::of_rows("hangs", 11).await?;
        service.world.fault_each(path, lanes, 2, &FaultKind::Delay { millis: 60_000 });
        slices(&mut service).await?;
        ensure!(service.finish().await?.actions == 55, "{path}");
    }
    Ok(())
}

/// Answers drip in so slowly that only a smaller page arrives within a slice; then pages grow again.
#[tokio::test]
async fn dripping_hubspot_shrinks_pages_until_they_fit_into_slice() -> Result<()> {
    for object in Extent::sample().some_of(ROWS.to_vec(), 1) {
        pages_shrink(object).await.with_context(|| format!("{object:?}"))?;
    }
    Ok(())
}

async fn pages_shrink(object: Object) -> Result<()> {
    let world = World::of("drips", &[object]).await?;
    world.fill(5, &[object], 150, 1);
    let mut service = Service::new(world, 1, 1).await?;
    service.world.fault_each(SEARCH, &[object], 1_000, &FaultKind::Drip { millis: 10 });
    let (mut smallest, began) = (200, Instant::now());
    while began.elapsed() < Duration::from_secs(900) {
        if service.sync_messages.is_empty() {
            // The run has not begun, or its continuation is still delayed in its queue.
            service.world.expire_run().await?;
            service.tick();
        }
        service.world.time_passes().await?;
        service.process_next().await?;
        smallest = smallest.min(service.world.lane(object).await?.get_i32("pageSize").unwrap_or(200));
        if smallest < 200 && service.world.all(collection::SEEN).await?.len() > 30 {
            break;
        }
    }
    ensure!(smallest < 200, "pages did not get smaller");
    ensure!(service.world.all(collection::SEEN).await?.len() > 30, "no progress was made");
    service.world.hubspot.world().faults.clear();
    ensure!(service.finish().await?.actions == 155);
    Ok(())
}

/// How many effects a sample has after which nothing answers.
const SAMPLE: usize = 12;

/// Whatever does not answer, the invocation ends in time, and the message is delivered again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hang_at_any_effect_ends_invocation_in_time() -> Result<()> {
    let effects = {
        let mut service = Service::of_rows("bound", 51).await?;
        slices(&mut service).await?;
        service.sync[0].gate.effects()
    };
    let numbers = Extent::of_this_run().some_of((0..effects.len()).collect(), SAMPLE);
    let tried = numbers.into_iter().map(|number| async move {
        let mut service = Service::of_rows("bound", 51).await?;
        service.sync[0].gate.set(move |effect: &Effect| match effect.number >= number && effect.when == When::After {
            true => Verdict::Hang,
            false => Verdict::Pass,
        });
        service.tick();
        let slice = service.deliver_next().await?;
        ensure!(!matches!(slice, Invoked::Died), "it died");
        service.sync[0].gate.cut_connections();
        service.finish().await?;
        service.world.end().await
    });
    // Few at a time: a process that waits for a processor keeps no time.
    futures::stream::iter(tried).buffer_unordered(2).try_collect().await
}
