//! The drain into MongoDB: the real bootstraps, given full SQS batches, beside two bare loops that write the same
//! documents by the same driver and as many connections: one that only writes, and one that first reads the states
//! that it replaces, without which there is no telling what changed.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Result, bail, ensure};
use futures::{
    TryStreamExt,
    future::{join_all, try_join_all},
};
use harness::{
    bootstrap::{Bootstrap, Function},
    world::{World, message_event},
};
use mongodb::{
    Database,
    bson::{Bson, Document, RawDocumentBuf, doc},
};
use serde_json::{Value, json};
use store::collection;

/// Contacts, each with one change.
const RECORDS: usize = 40_000;
/// Actions in a message, and messages in an event: as much as an invocation gets.
const MESSAGE: usize = 100;
const EVENT: usize = 10;

/// How fast something was, and what it took.
struct Drained {
    rate: f64,
    invocations: Vec<Duration>,
    cpu: f64,
    peak_memory: u64,
}

pub(crate) async fn run() -> Result<()> {
    println!("\nDrain: {RECORDS} actions of contacts with their states, in events of {EVENT} messages of {MESSAGE}\n");
    println!(
        "| actions | workers | actions/s | bare loop, actions/s | ratio | bare loop that reads, actions/s | ratio | invocation p50, s | longest, s | CPU, s | peak RSS, MB |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for workers in [1, 2, 4] {
        let world = World::new("bench_drain").await?;
        let (blind, reading) = (World::new("bench_blind").await?, World::new("bench_reading").await?);
        for (round, name) in ["Created", "Updated"].into_iter().enumerate() {
            let mut ours = drain(&world, workers, round).await?;
            let database = world.store.database();
            let blind = bare(database, blind.store.database(), workers, name, false).await?;
            let reading = bare(database, reading.store.database(), workers, name, true).await?;
            ours.invocations.sort_unstable();
            let (half, longest) = (ours.invocations[ours.invocations.len() / 2], ours.invocations.last());
            println!(
                "| {name} | {workers} | {:.0} | {blind:.0} | {:.0} % | {reading:.0} | {:.0} % | {:.2} | {:.2} | {:.1} | {:.0} |",
                ours.rate,
                ours.rate / blind * 100.0,
                ours.rate / reading * 100.0,
                half.as_secs_f64(),
                longest.copied().unwrap_or_default().as_secs_f64(),
                ours.cpu,
                ours.peak_memory as f64 / 1e6
            );
        }
        for world in [world, blind, reading] {
            world.end().await?;
        }
    }
    Ok(())
}

/// An event with the next change of so many records.
fn event(first: usize, round: usize) -> Value {
    let at = format!("2026-01-0{}T00:00:00Z", round + 1);
    let name = ["Contact Created", "Contact Updated"][round];
    let action = |record: usize| {
        let title = format!("Head of Department {round}");
        json!({"object": "contacts", "recordId": (10_000_000 + record).to_string(), "actionName": name, "actionDate": at,
            "recordUpdatedAt": at, "includeInAnalytics": 0, "identity": format!("person-{record}@firm.example"),
            "userProperties": {"company_id": "51", "contact_name": format!("Person {record}"), "contact_title": title,
                "contact_source": "OFFLINE", "contact_status": "NEW", "contact_score": record % 100},
            "record": {"createdAt": "2026-01-01T00:00:00Z", "companyIds": ["51"], "properties": {
                "firstname": "Person", "lastname": record.to_string(), "jobtitle": title,
                "email": format!("person-{record}@firm.example"), "hubspotscore": (record % 100).to_string(),
                "hs_lead_status": "NEW", "hs_analytics_source": "OFFLINE", "hs_latest_source": "OFFLINE"}}})
    };
    let message = |message: usize| {
        let actions: Vec<Value> = (0..MESSAGE).map(|index| action(first + message * MESSAGE + index)).collect();
        json!({"type": "actions.v1", "domainId": "acme", "hubId": "7000001", "actions": actions}).to_string()
    };
    message_event(&(0..EVENT).map(message).collect::<Vec<String>>())
}

async fn drain(world: &World, workers: usize, round: usize) -> Result<Drained> {
    let events = (0..RECORDS).step_by(EVENT * MESSAGE).map(|first| event(first, round).to_string());
    let events: VecDeque<String> = events.collect();
    let events = Mutex::new(events);
    let next = || events.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let mut bootstraps = Vec::new();
    for _ in 0..workers {
        let mut bootstrap = Bootstrap::start_ungated(Function::Actions, world).await?;
        // Connections are made before the clock starts, as the bare loop's are.
        bootstrap.invoke(&message_event(&["{}"])).await?;
        bootstraps.push(bootstrap);
    }
    let work = async |bootstrap: &mut Bootstrap| {
        let mut invocations = Vec::new();
        while let Some(event) = next() {
            let (invoked, took) = bootstrap.invoke_with(event).await?;
            if !invoked.is_success() {
                bail!("a batch failed: {invoked:?}");
            }
            invocations.push(took);
        }
        Ok(invocations)
    };
    let began = Instant::now();
    let invocations = try_join_all(bootstraps.iter_mut().map(work)).await?.concat();
    let rate = RECORDS as f64 / began.elapsed().as_secs_f64();
    let used = bootstraps.iter().map(Bootstrap::usage).collect::<Result<Vec<_>>>()?;
    let peak_memory = used.iter().map(|(_, memory)| *memory).max().unwrap_or_default();
    Ok(Drained { rate, invocations, cpu: used.iter().map(|(cpu, _)| cpu).sum(), peak_memory })
}

/// Writes what is in `from` into `to`, where it is not yet, by so many loops that do nothing else, unless they read the
/// states first.
async fn bare(from: &Database, to: &Database, loops: usize, name: &str, reads: bool) -> Result<f64> {
    let actions = documents(from, collection::ACTIONS, doc! { "actionName": format!("Contact {name}") }).await?;
    let states = documents(from, "contacts", doc! {}).await?;
    let given = states.into_iter().zip(actions).collect::<Vec<_>>();
    let count = given.len();
    let batches = given.chunks(EVENT * MESSAGE).map(|batch| batch.iter().cloned().unzip());
    let batches: VecDeque<(Vec<Document>, Vec<Document>)> = batches.collect();
    let batches = Mutex::new(batches);
    let next = || batches.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    join_all((0..loops).map(|_| async { to.run_command(doc! { "ping": 1 }).await })).await;
    let (states, actions) = (to.collection::<Document>("contacts"), to.collection::<Document>(collection::ACTIONS));
    let write = async |()| {
        while let Some((new_states, new_actions)) = next() {
            if reads {
                let ids: Vec<&Bson> = new_states.iter().filter_map(|state| state.get("_id")).collect();
                let found = states.clone_with_type::<RawDocumentBuf>().find(doc! { "_id": { "$in": ids } }).await?;
                let _found: Vec<RawDocumentBuf> = found.try_collect().await?;
            }
            match name {
                "Created" => _ = states.insert_many(new_states).ordered(false).await?,
                _ => replace(to, new_states).await?,
            }
            actions.insert_many(new_actions).ordered(false).await?;
        }
        anyhow::Ok(())
    };
    let began = Instant::now();
    try_join_all((0..loops).map(|_| write(()))).await?;
    Ok(count as f64 / began.elapsed().as_secs_f64())
}

/// What the driver's bulk write of `replaceOne`s is on servers before MongoDB 8, for which it has none.
async fn replace(database: &Database, states: Vec<Document>) -> Result<()> {
    let replacement = |state: Document| doc! { "q": { "_id": state.get("_id") }, "u": state };
    let updates: Vec<Document> = states.into_iter().map(replacement).collect();
    let concern = doc! { "w": "majority" };
    let command = doc! { "update": "contacts", "updates": updates, "ordered": false, "writeConcern": concern };
    let answer = database.run_command(command).await?;
    ensure!(!answer.contains_key("writeErrors"), "the bare loop met an error: {answer}");
    Ok(())
}

async fn documents(database: &Database, name: &str, filter: Document) -> Result<Vec<Document>> {
    Ok(database.collection::<Document>(name).find(filter).sort(doc! { "_id": 1 }).await?.try_collect().await?)
}
