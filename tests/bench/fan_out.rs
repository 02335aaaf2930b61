//! The fan-out: one invocation of the scheduler, with more and more accounts.

use anyhow::{Result, bail};
use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    world::World,
};
use mongodb::bson::{Document, doc};
use serde_json::json;
use stack::accounts::private_app;
use store::collection;

pub(crate) async fn run() -> Result<()> {
    println!("\nFan-out by one invocation, a Domain an account, into MiniStack's SQS\n");
    println!("| accounts | sent | time, s | messages/s | CPU, s | peak RSS, MB |");
    println!("|---|---|---|---|---|---|");
    for accounts in [1_000, 10_000, 100_000] {
        one(accounts).await?;
    }
    Ok(())
}

async fn one(accounts: usize) -> Result<()> {
    let world = World::new("bench_fan_out").await?;
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    domains.delete_many(doc! {}).await?;
    let domain = |number: usize| {
        let account = private_app(number, "pat-na1-simulated");
        doc! { "_id": format!("domain-{number:06}"), "integrations": { "hubspot": { "status": true, "accounts": [account] } } }
    };
    for first in (0..accounts).step_by(10_000) {
        domains.insert_many((first..accounts.min(first + 10_000)).map(|number| domain(number + 1))).await?;
    }
    let mut scheduler = Bootstrap::start_ungated(Function::Scheduler, &world).await?;
    let (invoked, took) = scheduler.invoke(&json!({"time": "2026-11-24T08:00:00Z"})).await?;
    let Invoked::Answered(answer) = &invoked else { bail!("the fan-out failed: {invoked:?}") };
    let sent = answer["sent"].as_u64().unwrap_or_default();
    let (cpu, memory) = scheduler.usage()?;
    println!(
        "| {accounts} | {sent} | {:.2} | {:.0} | {cpu:.1} | {:.0} |",
        took.as_secs_f64(),
        sent as f64 / took.as_secs_f64(),
        memory as f64 / 1e6
    );
    world.sqs.purge_queue().queue_url(&world.sync_queue).send().await?;
    world.end().await
}
