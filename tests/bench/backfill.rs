//! The backfill of one account, with HubSpot's limits on, at several latencies, and of a large one.

use std::{
    num::NonZeroU32,
    sync::atomic::AtomicBool,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World};
use hubspot::HubSpot;
use hubspot_sim::{
    Object, Settings,
    odd::{BYTE, CONTROL, HALF},
};
use mongodb::bson::{DateTime, Document, doc};
use store::collection;
use token_vault::Vault;

use crate::pool::{COLUMNS, Worked, end_when, send, work};

const COMPANIES: usize = 3_000;
const CONTACTS: usize = 15_000;

/// Every which record is odd, in the row with odd ones: 5 %.
const ODD_EVERY: usize = 20;

/// What a text of an odd one holds: what JSON, UTF-8 or SQS do not allow.
const ODD: [char; 5] = [BYTE, CONTROL, HALF, '\u{fffe}', '\u{ffff}'];

/// HubSpot's search limit in records: requests a second by rows a page.
pub(crate) const LIMIT: f64 = 5.0 * 200.0;

/// A world whose limits are HubSpot's own, on both sides. `HOLD_UP` says by how many milliseconds requests are held up at
/// most before HubSpot counts them. `OTHERS` says how many searches a second other apps take.
pub(crate) async fn limited(name: &str, latency_ms: u64) -> Result<World> {
    let mut world = World::new(name).await?;
    let hold_up_ms = std::env::var("HOLD_UP").map_or(Ok(0), |millis| millis.parse())?;
    let others: usize = std::env::var("OTHERS").map_or(Ok(0), |searches| searches.parse())?;
    let answering_ms = std::env::var("ANSWERING").map_or(Ok(0), |millis| millis.parse())?;
    let search_rps = Settings::default().search_rps.saturating_sub(others);
    world.hubspot.world().settings =
        Settings { latency_ms, hold_up_ms, answering_ms, search_rps, ..Settings::default() };
    world.config.search_only = std::env::var_os("SEARCH_ONLY").is_some();
    world.config.settle = Duration::from_secs(3600);
    let limit = |limit| NonZeroU32::new(limit).context("a limit is not zero");
    world.config.limits =
        hubspot::Limits { search_rps: limit(5)?, per_10s: limit(110)?, associations_per_10s: limit(100)? };
    Ok(world)
}

pub(crate) async fn run() -> Result<()> {
    println!(
        "\nBackfill of one account, a sixth of it companies, the rest contacts; 5 searches/s, 110 requests/10 s\n"
    );
    println!(
        "| ms a request | held up, ms | records | odd ones | time, s | records/s | share of the limit | searches | lists | associations | tokens | 429 | {COLUMNS} |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    if let Ok(objects) = std::env::var("OBJECTS") {
        let objects: Vec<Object> = objects.split(',').map(str::parse).collect::<Result<_, _>>()?;
        // As many records a lane as the two default lanes have on average.
        one(150, COMPANIES, CONTACTS, None).await?;
        return of_objects(150, &objects).await;
    }
    for latency in latencies()? {
        one(latency, COMPANIES, CONTACTS, None).await?;
    }
    if std::env::var_os("LATENCY").is_some() {
        return Ok(());
    }
    one(150, COMPANIES, CONTACTS, Some(ODD_EVERY)).await?;
    // What the first answer and the last page take weighs less here.
    one(300, 3 * COMPANIES, 3 * CONTACTS, None).await
}

/// Returns the latencies to measure at, in milliseconds: those of `LATENCY`, or three.
pub(crate) fn latencies() -> Result<Vec<u64>> {
    let chosen = std::env::var("LATENCY").unwrap_or_else(|_| "50,150,300".to_owned());
    Ok(chosen.split(',').map(str::parse).collect::<Result<_, _>>()?)
}

/// Puts characters that JSON, UTF-8 or SQS do not allow into one record of `every`. Returns how many records it changed.
fn make_odd(world: &World, every: usize) -> usize {
    let mut hubspot = world.hubspot.world();
    let at = hubspot.now() - 3_600_000;
    let mut made = 0;
    for (object, property) in [(Object::COMPANIES, "industry"), (Object::CONTACTS, "jobtitle")] {
        for id in hubspot.ids(HUB, object).into_iter().step_by(every) {
            let text = format!("odd {}", ODD[made % ODD.len()]);
            hubspot.update(HUB, object, id, at, &[(property, &text)]);
            made += 1;
        }
    }
    made
}

/// Leaves the account as it is right after its owner connected it: with an access token.
async fn connect(world: &World) -> Result<()> {
    let hubspot = HubSpot::new(&world.hubspot.url())?;
    let app = world.config.app.as_ref().context("the world has an app")?;
    let (account, grant) = (world.account()?, world.hubspot.world().portal(HUB).refresh_token.clone());
    let grant = grant.context("a new portal has a grant")?.into();
    let tokens = hubspot.refresh(app, &account.hub_id, &grant).await?;
    let tokens = Vault::new(world.store.clone(), None).await.seal_tokens(&account, &tokens).await?;
    ensure!(world.store.store_tokens(&account, &grant, &tokens).await?, "the account has another grant");
    Ok(())
}

async fn one(latency: u64, companies: usize, contacts: usize, odd_every: Option<usize>) -> Result<()> {
    let world = limited("bench_backfill", latency).await?;
    world.hubspot.world().seed(HUB, companies, contacts, 1);
    let odd = odd_every.map_or(0, |every| make_odd(&world, every));
    measure(world, latency, companies + contacts, odd).await
}

/// A lane for each of these object types, with as many records as the two default lanes have on average: a lane has a few
/// searches of its own, whatever its size.
async fn of_objects(latency: u64, objects: &[Object]) -> Result<()> {
    let world = limited("bench_objects", latency).await?;
    world.choose(objects).await?;
    let each = (COMPANIES + CONTACTS) / 2;
    for object in objects {
        world.hubspot.world().seed_objects(HUB, *object, each, 1);
    }
    measure(world, latency, each * objects.len(), 0).await
}

/// Reads the history of the world's account, and prints a row.
async fn measure(world: World, latency: u64, records: usize, odd: usize) -> Result<()> {
    connect(&world).await?;
    let (time, mut worked) = catch_up(&world).await?;
    let seen = world.store.database().collection::<Document>(collection::SEEN).count_documents(doc! {}).await?;
    ensure!(seen == records as u64, "only {seen} records were read in {time:?}");
    let held_up = world.hubspot.world().settings.hold_up_ms;
    let rate = seen as f64 / time.as_secs_f64();
    println!(
        "| {latency} | {held_up} | {seen} | {odd} | {:.1} | {rate:.0} | {:.0} % | {} | {} | {} | {} | {} | {} |",
        time.as_secs_f64(),
        rate / LIMIT * 100.0,
        all_requests(&world, "search"),
        all_requests(&world, "list"),
        all_requests(&world, "associations"),
        all_requests(&world, "oauth"),
        refused_requests(&world),
        worked.columns(),
    );
    world.end().await
}

/// Works for the world's account from a tick on until it is caught up. Returns how long that took, and what the worker did.
pub(crate) async fn catch_up(world: &World) -> Result<(Duration, Worked)> {
    let checkpoints = world.store.database().collection::<Document>(collection::CHECKPOINTS);
    let began = DateTime::now();
    let done = AtomicBool::new(false);
    send(world, world.tick().to_string()).await?;
    let is_caught_up =
        async || Ok(checkpoints.find_one(doc! { "run": null, "lastSuccessAt": { "$gt": began } }).await?.is_some());
    let ended = end_when(&done, Instant::now(), Duration::from_secs(180), is_caught_up);
    tokio::try_join!(ended, work(world, 1, &done))
}

/// Returns the number of requests to HubSpot of this kind, whatever their status.
pub(crate) fn all_requests(world: &World, kind: &str) -> u64 {
    let requests = &world.hubspot.world().requests;
    requests.iter().filter(|(name, _)| name.starts_with(kind)).map(|(_, count)| count).sum()
}

/// Returns the number of requests that HubSpot refused because of a limit.
pub(crate) fn refused_requests(world: &World) -> u64 {
    ["search 429", "list 429", "associations 429"].map(|kind| world.requests(kind)).iter().sum()
}
