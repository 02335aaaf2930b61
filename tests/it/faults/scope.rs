//! Trouble with one request of a lane is that request's: what else the lane has to read goes on.

use anyhow::{Result, bail, ensure};
use harness::{
    rows::{BY_ID, CARS, LINKED, ROWS, SEARCH},
    world::{HUB, World, assert_accepted, lambda, message_event},
};
use hubspot_sim::{Fault, FaultKind, Object};
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;
use store::collection;

/// Works until so many actions are stored: what is held is read each time in smaller parts. How many slices that takes depends
/// on the machine: a slice that is slow reads less, and sets a record aside for which there was no time.
async fn stores(world: &World, actions: usize) -> Result<()> {
    let mut stored = 0;
    for _ in 0..60 {
        world.run_on().await?;
        world.store.retry_set_aside().await?;
        stored = world.all(collection::ACTIONS).await?.len();
        if stored == actions {
            return Ok(());
        }
    }
    bail!("{stored} of {actions} are stored; {}", world.checkpoint().await?)
}

/// Returns true if there is an action of each of these records.
async fn are_stored(world: &World, ids: &[u64]) -> Result<bool> {
    let actions = world.all(collection::ACTIONS).await?;
    let is_stored =
        |id: &u64| actions.iter().any(|action| action.get_str("recordId").is_ok_and(|stored| stored == id.to_string()));
    Ok(ids.iter().all(is_stored))
}

/// The records that are set aside, in the order of their ids, with the number of attempts.
async fn set_aside(world: &World) -> Result<Vec<(u64, i64)>> {
    let entries = world.all(collection::SET_ASIDE).await?;
    let entry = |entry: &Document| Ok((entry.get_str("recordId")?.parse()?, entry.get_i64("attempts")?));
    let mut entries: Vec<(u64, i64)> = entries.iter().map(entry).collect::<Result<_>>()?;
    entries.sort_unstable();
    Ok(entries)
}

/// Each of these records after so many attempts.
fn each(ids: &[u64], attempts: i64) -> Vec<(u64, i64)> {
    let mut entries: Vec<(u64, i64)> = ids.iter().map(|id| (*id, attempts)).collect();
    entries.sort_unstable();
    entries
}

/// Runs until each record that is set aside was tried `attempts` times, and none more often. If a slow slice has no time
/// for the first one, that record waits for its next retry.
async fn until_all_are_tried(world: &World, attempts: i64) -> Result<()> {
    for _ in 0..20 {
        let entries = set_aside(world).await?;
        ensure!(entries.iter().all(|(_, tried)| *tried <= attempts), "{attempts}: {entries:?}");
        if entries.iter().all(|(_, tried)| *tried == attempts) {
            return Ok(());
        }
        let (less, now) = (doc! { "attempts": { "$lt": attempts } }, DateTime::now());
        let set_aside = world.store.database().collection::<Document>(collection::SET_ASIDE);
        set_aside.update_many(less, doc! { "$set": { "retryAt": now } }).await?;
        let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
        let due: Document =
            LINKED.iter().map(|object| (format!("kept.{}.setAsideUntil", object.name()), now.into())).collect();
        checkpoints.update_many(doc! {}, doc! { "$set": due }).await?;
        world.run_on().await?;
    }
    bail!("{attempts}: {:?}", set_aside(world).await?)
}

/// A world in which each lane has `count` records, and HubSpot does not return the companies of one of them in each lane
/// with associations.
async fn with_one_set_aside(name: &str, count: usize) -> Result<(World, Vec<u64>)> {
    let world = World::of(name, &LINKED).await?;
    world.fill(0, &LINKED, count, 1);
    let ids: Vec<u64> = LINKED.into_iter().map(|object| world.ids(object)[7]).collect();
    world.hubspot.world().settings.without_companies = ids.clone();
    world.run_on().await?;
    ensure!(set_aside(&world).await? == each(&ids, 1), "{:?}", set_aside(&world).await?);
    Ok((world, ids))
}

/// More records are set aside than can be read one by one within a slice.
#[tokio::test]
async fn many_set_aside_records_delay_no_change() -> Result<()> {
    let world = World::of("scope_aside", &LINKED).await?;
    world.fill(0, &LINKED, 36, 1);
    let ids = |object| world.ids(object).into_iter().step_by(3).collect::<Vec<u64>>();
    let ids: Vec<u64> = LINKED.into_iter().flat_map(ids).collect();
    {
        let settings = &mut world.hubspot.world().settings;
        (settings.without_companies, settings.latency_ms) = (ids.clone(), 200);
    }
    world.run_on().await?;
    ensure!(set_aside(&world).await?.len() == ids.len());
    for attempts in 2..=3 {
        world.store.retry_set_aside().await?;
        let changed = world.create_each(&LINKED, 0);
        world.run_on().await?;
        ensure!(are_stored(&world, &changed).await?, "a change waits for what is set aside");
        until_all_are_tried(&world, attempts).await?;
    }
    world.hubspot.world().settings.without_companies.clear();
    world.store.retry_set_aside().await?;
    world.run_until_proved().await?;
    ensure!(set_aside(&world).await?.is_empty());
    Ok(())
}

/// HubSpot has no answer for a record that is set aside: the slice ends while it waits.
#[tokio::test]
async fn set_aside_record_without_answer_delays_no_change() -> Result<()> {
    let (world, ids) = with_one_set_aside("scope_hangs", 20).await?;
    world.fault_each(BY_ID, &LINKED, u32::MAX, &FaultKind::Delay { millis: 6_000 });
    for attempts in 2..=3 {
        world.store.retry_set_aside().await?;
        let changed = world.create_each(&LINKED, 0);
        world.run_on().await?;
        ensure!(are_stored(&world, &changed).await?);
        ensure!(set_aside(&world).await? == each(&ids, attempts), "{:?}", set_aside(&world).await?);
    }
    Ok(())
}

/// HubSpot refuses to read a record that is set aside for reasons that the record has nothing to do with.
#[tokio::test]
async fn rate_limit_counts_as_no_attempt_at_set_aside_record() -> Result<()> {
    for object in LINKED {
        let world = World::of("scope_limit", &[object]).await?;
        world.fill(0, &[object], 20, 1);
        let id = world.ids(object)[7];
        world.hubspot.world().settings.without_companies = vec![id];
        world.run_on().await?;
        for attempts in 2..=3 {
            let refusal = FaultKind::Answer { status: 429, body: None, retry_after: Some(1) };
            world.fault_each(BY_ID, &[object], 1, &refusal);
            for expected in [attempts - 1, attempts] {
                world.store.retry_set_aside().await?;
                world.run_on().await?;
                let entries = set_aside(&world).await?;
                ensure!(entries == [(id, expected)], "{object:?}, {expected}: {entries:?}");
            }
        }
        world.end().await?;
    }
    Ok(())
}

/// HubSpot answers 500 whenever it is asked for one record's companies.
#[tokio::test]
async fn contact_whose_companies_fail_with_500_is_set_aside_and_delays_no_change() -> Result<()> {
    let world = World::of("scope_companies", &LINKED).await?;
    world.fill(5, &LINKED, 60, 1);
    let ids: Vec<u64> = LINKED.into_iter().map(|object| world.ids(object)[31]).collect();
    world.hubspot.world().settings.companies_fail = ids.clone();
    world.run_on().await?;
    let entries = set_aside(&world).await?;
    ensure!(entries.iter().map(|(id, _)| id).eq(&ids), "{entries:?} are set aside, not {ids:?}");
    let changed = world.create_each(&LINKED, 0);
    world.run_on().await?;
    ensure!(are_stored(&world, &changed).await?);
    world.hubspot.world().settings.companies_fail.clear();
    world.store.retry_set_aside().await?;
    world.run_until_proved().await?;
    Ok(())
}

/// HubSpot answers 500 to every search that would show one record, whatever is asked of it.
#[tokio::test]
async fn record_failing_every_search_delays_no_other_record() -> Result<()> {
    let world = World::of("scope_search", &ROWS).await?;
    world.fill(0, &ROWS, 100, 1);
    let old = ROWS.into_iter().map(|object| world.ids(object)[50]).collect();
    world.hubspot.world().settings.unshowable = old;
    stores(&world, 99 * ROWS.len()).await?;
    let new = world.create_each(&ROWS, 100);
    world.hubspot.world().settings.unshowable.extend(new);
    let changed = world.create_each(&ROWS, 0);
    for _ in 0..20 {
        world.hubspot.world().settings.clock_offset_ms += 20_000;
        world.run_on().await?;
        if are_stored(&world, &changed).await? {
            break;
        }
    }
    ensure!(are_stored(&world, &changed).await?, "a change waits behind a record that cannot be shown");
    world.hubspot.world().settings.unshowable.clear();
    world.run_until_proved().await?;
    Ok(())
}

/// The account's first records are such ones: what HubSpot shows of others is found behind them.
#[tokio::test]
async fn first_records_failing_every_search_delay_no_other_record() -> Result<()> {
    let world = World::of("scope_first", &ROWS).await?;
    world.fill(0, &ROWS, 100, 1);
    let first = ROWS.into_iter().flat_map(|object| world.ids(object)[..2].to_vec()).collect();
    world.hubspot.world().settings.unshowable = first;
    stores(&world, 98 * ROWS.len()).await?;
    let changed = world.create_each(&ROWS, 0);
    world.hubspot.world().settings.clock_offset_ms += 20_000;
    world.run_on().await?;
    ensure!(are_stored(&world, &changed).await?, "a change waits behind records that cannot be shown");
    world.hubspot.world().settings.unshowable.clear();
    world.run_until_proved().await?;
    Ok(())
}

/// Half of a slice goes by until HubSpot answers: there is no time to count behind a page. For records with associations it is
/// less: those with all other types are read at once, after the records.
#[tokio::test]
async fn backfill_with_slow_answers_finishes() -> Result<()> {
    for (objects, latency_ms) in [(&[Object::PRODUCTS][..], 2_300), (&[Object::DEALS, CARS], 1_900)] {
        let world = World::of("scope_slow", objects).await?;
        world.fill(300, objects, 300, 1);
        world.hubspot.world().settings.latency_ms = latency_ms;
        ensure!(world.run_until_proved().await?.actions == 300 * (objects.len() + 1));
        world.end().await?;
    }
    Ok(())
}

/// HubSpot's recycle bin does not answer within a slice.
#[tokio::test]
async fn hanging_recycle_bin_delays_no_change() -> Result<()> {
    let world = World::of("scope_bin", &ROWS).await?;
    world.fill(10, &ROWS, 10, 1);
    world.run_on().await?;
    for object in ROWS {
        let (gone, at) = (world.ids(object)[3], world.hubspot.world().now());
        world.hubspot.world().archive(HUB, object, gone, at);
    }
    for object in ROWS {
        let path = format!("/{}?archived=true", object.name());
        let kind = FaultKind::Delay { millis: 6_000 };
        world.hubspot.world().faults.push(Fault { path, skip: 0, times: 3, kind });
    }
    let changed = world.create_each(&ROWS, 0);
    world.run_on().await?;
    ensure!(are_stored(&world, &changed).await?);
    world.run_until_proved().await?;
    Ok(())
}

/// HubSpot's answers are empty for longer than a slice takes, and say that more follows.
#[tokio::test]
async fn more_empty_pages_than_fit_into_a_slice_lose_no_record() -> Result<()> {
    let world = World::of("scope_empty", &ROWS).await?;
    world.fill(0, &ROWS, 300, 1);
    for next in 0..60 {
        let body = json!({"total": 300, "results": [], "paging": {"next": {"after": next.to_string()}}}).to_string();
        let kind = FaultKind::Answer { status: 200, body: Some(body), retry_after: None };
        world.fault_each(SEARCH, &ROWS, 1, &kind);
    }
    world.run_on().await?;
    ensure!(world.run_until_proved().await?.actions == 300 * ROWS.len());
    Ok(())
}

/// The slice before may have run out of memory: less is asked for.
#[tokio::test]
async fn redelivered_message_requests_smaller_pages() -> Result<()> {
    for object in [Object::COMPANIES, Object::DEALS, Object::PRODUCTS, CARS] {
        let mut asked = Vec::new();
        for receives in ["1", "4"] {
            let world = World::new("scope_again").await?;
            world.choose(&[object]).await?;
            world.hubspot.world().seed_objects(HUB, object, 100, 1);
            let mut event = message_event(&[world.tick().to_string()]);
            event["Records"][0]["attributes"] = json!({"ApproximateReceiveCount": receives});
            let sync = world.sync().await?;
            assert_accepted(sync::handler(&sync, lambda(serde_json::from_value(event)?)).await)?;
            world.run_on().await?;
            ensure!(world.proof().await?.actions == 100);
            asked.push(world.requests("search 200"));
        }
        // 25, 50 and 25 rows in place of 100.
        ensure!(asked[1] >= asked[0] + 2, "{object:?}: {asked:?} searches");
    }
    Ok(())
}
