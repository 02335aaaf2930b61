//! Random schedules: changes in HubSpot, ticks, deliveries to real bootstraps (twice, out of order, to several workers
//! at once), kills, freezes, lost connections and HubSpot's faults, in an order that a seed gives. Whatever the order,
//! in the end MongoDB equals the ledger.
//!
//! `SEED=7` runs seed 7, `SEEDS=2000` runs seeds 1 to 2000 (`make chaos SEEDS=2000`). `SEED=7 SEEDS=3` runs seeds 7 to 9.

mod changes;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use futures::{StreamExt, stream};
use harness::{
    bootstrap::Bootstrap,
    extent::{Extent, side_by_side},
    gate::{Effect, Gate, Verdict, When},
    neighbours::tick_of,
    service::{Delivery, MAX_MESSAGES, Message, Service},
    world::{HUB, World},
};
use hubspot_sim::{Fault, FaultKind, IdOrder, Object, Shared};
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tokio::task::JoinHandle;

use self::changes::{be_odd, change, others};

/// How many seeds a sample has.
const SAMPLE: u64 = 20;

/// How many seeds are all, from 1 on.
const ALL: u64 = 200;

/// How often progress is printed.
const TOLD_EVERY: Duration = Duration::from_secs(15);

/// Workers of each function.
const WORKERS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_schedule_loses_nothing_and_stores_nothing_twice() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<u64>()).transpose();
    let (first, count) = match Extent::of_this_run() {
        Extent::Sample(first) => (first, SAMPLE),
        Extent::Full => (1, ALL),
    };
    let seeds: Vec<u64> = match (number("SEED")?, number("SEEDS")?) {
        (Some(first), Some(count)) => (first..first + count).collect(),
        (Some(seed), None) => vec![seed],
        (None, Some(count)) => (1..=count).collect(),
        (None, None) => (first..first + count).collect(),
    };
    let (began, count) = (Instant::now(), seeds.len());
    println!("{count} seeds from {} on", seeds.first().copied().unwrap_or_default());
    let tried = stream::iter(seeds).map(|seed| async move { (seed, schedule(seed).await) });
    let mut tried = tried.buffer_unordered(side_by_side()?);
    let (mut failed, mut all) = (Vec::new(), Done::default());
    let (mut done, mut told) = (0, began);
    while let Some((seed, result)) = tried.next().await {
        match result {
            Ok(done) => all.add(&done),
            Err(error) => {
                println!("seed {seed} failed: {error:#}");
                failed.push(seed);
            }
        }
        done += 1;
        if told.elapsed() > TOLD_EVERY {
            told = Instant::now();
            let left = began.elapsed() * u32::try_from(count - done)? / u32::try_from(done)?;
            println!("{done} of {count} seeds, {} failed, about {} s left", failed.len(), left.as_secs());
        }
    }
    println!(
        "{count} seeds in {:.0} s: {} changes, {} invocations, {} kills, {} actions stored",
        began.elapsed().as_secs_f32(),
        all.changes,
        all.invocations,
        all.killed,
        all.actions
    );
    if failed.is_empty() { Ok(()) } else { bail!("{} of {count} seeds failed: {failed:?}", failed.len()) }
}

#[derive(Debug, Default)]
struct Done {
    changes: usize,
    invocations: usize,
    killed: usize,
    actions: usize,
}

impl Done {
    fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.invocations += other.invocations;
        self.killed += other.killed;
        self.actions += other.actions;
    }
}

/// Runs one schedule.
async fn schedule(seed: u64) -> Result<Done> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new("chaos").await?;
    world.config.overlap = Duration::from_secs(60);
    world.config.settle = Duration::from_secs(120);
    behave(&world.hubspot.shared(), &mut random);
    choose(&world, &mut random).await?;
    // Most schedules are of several accounts, which an invocation works for at the same time.
    world.add_accounts(*[0, 1, 3, 9].choose(&mut random).unwrap_or(&0)).await?;
    let mut service = Service::new(world, WORKERS, WORKERS).await?;
    for _ in 0..random.random_range(10..30) {
        step(&mut service, &mut random).await?;
        let erasures = service.world.request_erasures().await?;
        if random.random_bool(0.5) {
            for erasure in &erasures {
                service.world.store.erase(erasure).await?;
            }
        }
    }
    let proof = service.finish().await?;
    let changes = service.world.hubspot.world().ledger.len();
    let done = Done { changes, invocations: service.invocations, killed: service.killed, actions: proof.actions };
    service.world.end().await?;
    Ok(done)
}

/// Some accounts have more object types than companies and contacts.
async fn choose(world: &World, random: &mut StdRng) -> Result<()> {
    let chosen: Vec<Object> = others()?.into_iter().filter(|_| random.random_bool(0.25)).collect();
    if chosen.is_empty() {
        return Ok(());
    }
    world.choose(&[&[Object::COMPANIES, Object::CONTACTS], &chosen[..]].concat()).await?;
    for object in chosen {
        world.hubspot.world().seed_objects(HUB, object, random.random_range(1..250), random.random());
    }
    Ok(())
}

/// How this HubSpot behaves, and what it holds.
fn behave(hubspot: &Shared, random: &mut StdRng) {
    let mut hubspot = hubspot_sim::lock(hubspot);
    if random.random_bool(0.3) {
        hubspot.continue_ids_at((1 << 53) - 20);
    }
    let settings = &mut hubspot.settings;
    settings.id_order = *[IdOrder::Numeric, IdOrder::Lexical].choose(random).unwrap_or(&IdOrder::Numeric);
    settings.short_pages = random.random_bool(0.5);
    settings.newer_rows = random.random_bool(0.5);
    settings.clock_offset_ms = random.random_range(-120_000..120_000);
    settings.primary_moves_contact = random.random_bool(0.5);
    settings.association_lag_ms = *[0, 2_000].choose(random).unwrap_or(&0);
    settings.index_lag_max_ms = *[0, 2_000, 110_000].choose(random).unwrap_or(&0);
    settings.association_page = random.random_range(1..4);
    let (companies, contacts) = (random.random_range(0..20), random.random_range(0..450));
    hubspot.seed(HUB, companies, contacts, random.random());
}

async fn step(service: &mut Service, random: &mut StdRng) -> Result<()> {
    match random.random_range(0..100) {
        0..20 => change(&service.world.hubspot.shared(), random),
        20..30 => service.world.hubspot.world().settings.clock_offset_ms += random.random_range(0..90_000),
        30..42 => tick(service, random)?,
        42..48 => break_something(&mut service.world.hubspot.world().faults, random),
        48..50 => be_odd(&service.world.hubspot.shared(), random),
        50..55 => service.world.time_passes().await?,
        55..83 => {
            if service.sync_messages.is_empty() {
                tick(service, random)?;
            }
            let deliveries = deliveries(&mut service.sync_messages, MAX_MESSAGES, random);
            let watched = disturb(&service.sync, &service.world, random);
            service.deliver_sync(deliveries).await?;
            watched.abort();
        }
        _ => {
            let deliveries = deliveries(&mut service.actions_messages, MAX_MESSAGES, random);
            let watched = disturb(&service.actions, &service.world, random);
            service.deliver_actions(deliveries).await?;
            watched.abort();
        }
    }
    Ok(())
}

/// Adds the messages of a tick, for the world's own account and some of the others.
fn tick(service: &mut Service, random: &mut StdRng) -> Result<()> {
    service.tick();
    for account in service.world.accounts()?.iter().skip(1) {
        if random.random_bool(0.5) {
            service.sync_messages.push(Message { body: tick_of(account)?, received: 0 });
        }
    }
    Ok(())
}

/// Takes messages at random, for one worker or for several at once; some of them stay to be delivered again.
fn deliveries(messages: &mut Vec<Message>, most: usize, random: &mut StdRng) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    for worker in 0..random.random_range(1..=WORKERS) {
        let count = random.random_range(1..=most).min(messages.len());
        let taken = (0..count).map(|_| messages.swap_remove(random.random_range(0..messages.len()))).collect();
        deliveries.push(Delivery { worker, messages: taken, again: random.random_bool(0.15) });
    }
    if random.random_bool(0.1) && deliveries.len() == WORKERS {
        // The same message twice at the same time.
        let copy = deliveries[0].messages.clone();
        let instead = std::mem::replace(&mut deliveries[1], Delivery { worker: 1, messages: copy, again: false });
        messages.extend(instead.messages);
    }
    deliveries.retain(|delivery| !delivery.messages.is_empty());
    deliveries
}

/// Sets what happens to the workers in their next invocations, and watches over those that are frozen.
fn disturb(workers: &[Bootstrap], world: &World, random: &mut StdRng) -> JoinHandle<Result<()>> {
    let gates: Vec<Gate> = workers.iter().map(|worker| worker.gate.clone()).collect();
    for gate in &gates {
        let hubspot = world.hubspot.shared();
        let mut chance = StdRng::seed_from_u64(random.random());
        let at = random.random_bool(0.65).then(|| random.random_range(0..16));
        let when = if random.random_bool(0.5) { When::Before } else { When::After };
        let verdict = match random.random_range(0..10) {
            0..6 => Verdict::Kill,
            6 => Verdict::Lose,
            7 => Verdict::Late(Duration::from_millis(80)),
            _ => Verdict::Freeze,
        };
        let (busy, outage) = (random.random_bool(0.5), random.random_bool(0.1));
        gate.set(move |effect: &Effect| {
            if busy && effect.name.starts_with("hubspot") && chance.random_bool(0.3) {
                change(&hubspot, &mut chance);
            }
            // MongoDB is away from some moment on.
            if outage && effect.name.starts_with("mongodb") && at.is_none_or(|at| effect.number >= at) {
                return Verdict::Lose;
            }
            match at == Some(effect.number) && when == effect.when {
                true => verdict.clone(),
                false => Verdict::Pass,
            }
        });
    }
    watch(gates, world.store.clone())
}

/// While a worker is frozen its lease runs out; then it goes on.
fn watch(gates: Vec<Gate>, store: store::Store) -> JoinHandle<Result<()>> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            for gate in gates.iter().filter(|gate| gate.is_frozen()) {
                let over = mongodb::bson::doc! { "$set": { "lease.until": mongodb::bson::DateTime::from_millis(0) } };
                let checkpoints = store.database().collection::<mongodb::bson::Document>("checkpoints");
                checkpoints.update_many(mongodb::bson::doc! { "lease": { "$ne": null } }, over).await?;
                tokio::time::sleep(Duration::from_millis(100)).await;
                gate.thaw();
            }
        }
    })
}

/// Something goes wrong with HubSpot's next answers.
fn break_something(faults: &mut Vec<Fault>, random: &mut StdRng) {
    let answer = |status| FaultKind::Answer { status, body: None, retry_after: None };
    let daily = r#"{"status":"error","message":"You have reached your daily limit.","policyName":"DAILY"}"#;
    let kinds = [
        answer(429),
        answer(401),
        answer(400),
        answer(403),
        answer(423),
        answer(500),
        answer(503),
        // Milliseconds, or years.
        FaultKind::Answer { status: 503, body: None, retry_after: Some(u64::MAX >> random.random_range(0..64)) },
        FaultKind::Answer { status: 429, body: None, retry_after: Some(u64::MAX >> random.random_range(0..64)) },
        FaultKind::Answer { status: 429, body: Some(daily.to_owned()), retry_after: None },
        FaultKind::Answer { status: 477, body: None, retry_after: Some(3600) },
        FaultKind::Answer { status: 502, body: Some("<html>bad gateway</html>".to_owned()), retry_after: None },
        FaultKind::Answer { status: 200, body: Some("<html>hello</html>".to_owned()), retry_after: None },
        FaultKind::Reset,
        FaultKind::Cut,
        FaultKind::Endless,
        FaultKind::Delay { millis: 300 },
    ];
    if random.random_bool(0.1) {
        // HubSpot accepts no token for a while, though it gives new ones.
        faults.push(Fault { path: "/crm/".to_owned(), skip: 0, times: random.random_range(5..40), kind: answer(401) });
        return;
    }
    let paths = [
        "/search",
        "/contacts/search",
        "/deals/search",
        "/products/search",
        "/2-7654321/search",
        "/associations/",
        "archived=true",
        "/oauth/",
    ];
    let path = *paths.choose(random).unwrap_or(&"/search");
    let kind = match kinds.choose(random).cloned() {
        // A token endpoint that refuses the grant is another story: its owner connects the account again.
        Some(FaultKind::Answer { status: 400..=403, .. }) if path == "/oauth/" => answer(500),
        kind => kind.unwrap_or(FaultKind::Reset),
    };
    faults.push(Fault {
        path: path.to_owned(),
        skip: random.random_range(0..3),
        times: random.random_range(1..3),
        kind,
    });
}
