//! Trouble with one request of a lane is that request's: what else the lane has to read goes on.

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use harness::world::{HUB, World, assert_accepted, lambda, message_event};
use hubspot_sim::{Fault, FaultKind, Object};
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;
use store::collection;

const CONTACTS: Object = Object::CONTACTS;

/// A contact that is modified now.
fn change(world: &World) -> u64 {
    change_before(world, 0)
}

/// A contact that was modified `millis` ago.
fn change_before(world: &World, millis: i64) -> u64 {
    let mut hubspot = world.hubspot.world();
    let at = hubspot.now() - millis;
    hubspot.create(HUB, CONTACTS, at, BTreeMap::from([("firstname".to_owned(), "Ana".to_owned())]))
}

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

async fn is_stored(world: &World, id: u64) -> Result<bool> {
    Ok(world
        .all(collection::ACTIONS)
        .await?
        .iter()
        .any(|action| action.get_str("recordId").is_ok_and(|stored| stored == id.to_string())))
}

async fn set_aside(world: &World) -> Result<Vec<(String, i64)>> {
    let entries = world.all(collection::SET_ASIDE).await?;
    let entry = |entry: &Document| Ok((entry.get_str("recordId")?.to_owned(), entry.get_i64("attempts")?));
    entries.iter().map(entry).collect()
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
        checkpoints.update_many(doc! {}, doc! { "$set": { "kept.contacts.setAsideUntil": now } }).await?;
        world.run_on().await?;
    }
    bail!("{attempts}: {:?}", set_aside(world).await?)
}

/// More records are set aside than can be read one by one within a slice.
#[tokio::test]
async fn many_set_aside_records_delay_no_change() -> Result<()> {
    let world = World::new("scope_aside").await?;
    world.hubspot.world().seed(HUB, 0, 36, 1);
    let ids: Vec<u64> = world.hubspot.world().ids(HUB, CONTACTS).into_iter().step_by(3).collect();
    {
        let settings = &mut world.hubspot.world().settings;
        (settings.without_companies, settings.latency_ms) = (ids.clone(), 200);
    }
    world.run_on().await?;
    ensure!(set_aside(&world).await?.len() == ids.len());
    for attempts in 2..=3 {
        world.store.retry_set_aside().await?;
        let id = change(&world);
        world.run_on().await?;
        ensure!(is_stored(&world, id).await?, "a change waits for what is set aside");
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
    let world = World::new("scope_hangs").await?;
    world.hubspot.world().seed(HUB, 0, 20, 1);
    let id = world.hubspot.world().ids(HUB, CONTACTS)[7];
    world.hubspot.world().settings.without_companies = vec![id];
    world.run_on().await?;
    ensure!(set_aside(&world).await? == [(id.to_string(), 1)]);
    world.fault("/contacts/batch/read", u32::MAX, FaultKind::Delay { millis: 6_000 });
    for attempts in 2..=3 {
        world.store.retry_set_aside().await?;
        let changed = change(&world);
        world.run_on().await?;
        ensure!(is_stored(&world, changed).await?);
        ensure!(set_aside(&world).await? == [(id.to_string(), attempts)]);
    }
    Ok(())
}

/// HubSpot refuses to read a record that is set aside for reasons that the record has nothing to do with.
#[tokio::test]
async fn rate_limit_counts_as_no_attempt_at_set_aside_record() -> Result<()> {
    let world = World::new("scope_limit").await?;
    world.hubspot.world().seed(HUB, 0, 20, 1);
    let id = world.hubspot.world().ids(HUB, CONTACTS)[7];
    world.hubspot.world().settings.without_companies = vec![id];
    world.run_on().await?;
    for attempts in 2..=3 {
        let refusal = FaultKind::Answer { status: 429, body: None, retry_after: Some(1) };
        world.fault("/contacts/batch/read", 1, refusal);
        for expected in [attempts - 1, attempts] {
            world.store.retry_set_aside().await?;
            world.run_on().await?;
            let entries = set_aside(&world).await?;
            ensure!(entries == [(id.to_string(), expected)], "{expected}: {entries:?}");
        }
    }
    Ok(())
}

/// HubSpot answers 500 whenever it is asked for one contact's companies.
#[tokio::test]
async fn contact_whose_companies_fail_with_500_is_set_aside_and_delays_no_change() -> Result<()> {
    let world = World::new("scope_companies").await?;
    world.hubspot.world().seed(HUB, 5, 60, 1);
    let id = world.hubspot.world().ids(HUB, CONTACTS)[31];
    world.hubspot.world().settings.companies_fail = vec![id];
    world.run_on().await?;
    let entries = set_aside(&world).await?;
    ensure!(entries.iter().map(|(id, _)| id).eq([&id.to_string()]), "{entries:?} are set aside");
    let changed = change(&world);
    world.run_on().await?;
    ensure!(is_stored(&world, changed).await?);
    world.hubspot.world().settings.companies_fail.clear();
    world.store.retry_set_aside().await?;
    world.run_until_proved().await?;
    Ok(())
}

/// HubSpot answers 500 to every search that would show one record, whatever is asked of it.
#[tokio::test]
async fn record_failing_every_search_delays_no_other_record() -> Result<()> {
    let world = World::new("scope_search").await?;
    world.hubspot.world().seed(HUB, 0, 300, 1);
    let old = world.hubspot.world().ids(HUB, CONTACTS)[150];
    world.hubspot.world().settings.unshowable = vec![old];
    stores(&world, 299).await?;
    let new = change_before(&world, 100);
    world.hubspot.world().settings.unshowable.push(new);
    let changed = change(&world);
    for _ in 0..20 {
        world.hubspot.world().settings.clock_offset_ms += 20_000;
        world.run_on().await?;
        if is_stored(&world, changed).await? {
            break;
        }
    }
    ensure!(is_stored(&world, changed).await?, "a change waits behind a record that cannot be shown");
    world.hubspot.world().settings.unshowable.clear();
    world.run_until_proved().await?;
    Ok(())
}

/// The account's first records are such ones: what HubSpot shows of others is found behind them.
#[tokio::test]
async fn first_records_failing_every_search_delay_no_other_record() -> Result<()> {
    let world = World::new("scope_first").await?;
    world.hubspot.world().seed(HUB, 0, 300, 1);
    let first = world.hubspot.world().ids(HUB, CONTACTS)[..2].to_vec();
    world.hubspot.world().settings.unshowable = first;
    stores(&world, 298).await?;
    let changed = change(&world);
    world.hubspot.world().settings.clock_offset_ms += 20_000;
    world.run_on().await?;
    ensure!(is_stored(&world, changed).await?, "a change waits behind records that cannot be shown");
    world.hubspot.world().settings.unshowable.clear();
    world.run_until_proved().await?;
    Ok(())
}

/// Half of a slice goes by until HubSpot answers: there is no time to count behind a page.
#[tokio::test]
async fn backfill_with_slow_answers_finishes() -> Result<()> {
    let world = World::new("scope_slow").await?;
    world.hubspot.world().seed(HUB, 300, 0, 1);
    world.hubspot.world().settings.latency_ms = 2_300;
    ensure!(world.run_until_proved().await?.actions == 300);
    Ok(())
}

/// HubSpot's recycle bin does not answer within a slice.
#[tokio::test]
async fn hanging_recycle_bin_delays_no_change() -> Result<()> {
    let world = World::new("scope_bin").await?;
    world.hubspot.world().seed(HUB, 10, 10, 1);
    let fault = Fault { path: "archived=true".to_owned(), skip: 0, times: 3, kind: FaultKind::Delay { millis: 6_000 } };
    world.run_on().await?;
    let gone = world.hubspot.world().ids(HUB, CONTACTS)[3];
    let at = world.hubspot.world().now();
    world.hubspot.world().archive(HUB, CONTACTS, gone, at);
    world.hubspot.world().faults.push(fault);
    let changed = change(&world);
    world.run_on().await?;
    ensure!(is_stored(&world, changed).await?);
    world.run_until_proved().await?;
    Ok(())
}

/// HubSpot's answers are empty for longer than a slice takes, and say that more follows.
#[tokio::test]
async fn more_empty_pages_than_fit_into_a_slice_lose_no_record() -> Result<()> {
    let world = World::new("scope_empty").await?;
    world.hubspot.world().seed(HUB, 0, 300, 1);
    let empty = |next: u32| {
        let body = json!({"total": 300, "results": [], "paging": {"next": {"after": next.to_string()}}}).to_string();
        let kind = FaultKind::Answer { status: 200, body: Some(body), retry_after: None };
        Fault { path: "/contacts/search".to_owned(), skip: 0, times: 1, kind }
    };
    world.hubspot.world().faults.extend((0..60).map(empty));
    world.run_on().await?;
    ensure!(world.run_until_proved().await?.actions == 300);
    Ok(())
}

/// The slice before may have run out of memory: less is asked for.
#[tokio::test]
async fn redelivered_message_requests_smaller_pages() -> Result<()> {
    let mut asked = Vec::new();
    for receives in ["1", "4"] {
        let world = World::new("scope_again").await?;
        world.hubspot.world().seed(HUB, 100, 0, 1);
        let mut event = message_event(&[world.tick().to_string()]);
        event["Records"][0]["attributes"] = json!({"ApproximateReceiveCount": receives});
        let sync = world.sync().await?;
        assert_accepted(sync::handler(&sync, lambda(serde_json::from_value(event)?)).await)?;
        world.run_on().await?;
        ensure!(world.proof().await?.actions == 100);
        asked.push(world.requests("search 200"));
    }
    // 25, 50 and 25 rows in place of 100.
    ensure!(asked[1] >= asked[0] + 2, "{asked:?} searches");
    Ok(())
}
