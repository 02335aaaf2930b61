//! The demo: two ticks of the schedule with changes in between, watched, and compared with the ledger.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use model::account::AccountKey;
use mongodb::bson::{Document, doc, oid::ObjectId};
use serde_json::json;
use store::collection;
use tokio::time::sleep;

use crate::{
    accounts::{SAMPLE, forget, insert_domain, key, oauth, private_app},
    proof,
    settings::{RealHubSpot, Settings},
    simulator::Control,
    stack::{self, Stack},
    summary,
};

/// How long a tick's work may take before the demo gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// In how many ticks every change is surely found.
const TICKS: usize = 5;

/// Runs the demo, with functions that are built unless they were before, and leaves the stack up.
///
/// # Errors
/// Anything fails, or MongoDB differs from the ledger in the end.
pub async fn run(settings: &Settings, is_built: bool) -> Result<()> {
    println!("The stack:");
    let stack = stack::up(settings, is_built).await?;
    let accounts = connect(&stack, settings).await?;
    if settings.hubspot.is_none() {
        with_simulator(&stack, settings, &accounts).await?;
    } else {
        println!("\nA tick of the schedule:");
        tick(&stack, &accounts).await?;
        summary::print(&stack, &accounts, None).await?;
    }
    summary::print_hints(settings, &stack);
    Ok(())
}

async fn connect_real(stack: &Stack, real: &RealHubSpot) -> Result<AccountKey> {
    let entry = match (&real.refresh_token, &real.access_token) {
        (Some(token), _) => oauth(&real.hub_id, token),
        (None, token) => private_app(&real.hub_id, token.as_deref().unwrap_or_default()),
    };
    // What an earlier local stack has sealed of its tokens can be read no more.
    insert_domain(stack.store.database(), "demo", "Demo", vec![entry]).await?;
    key("demo", &real.hub_id)
}

/// Connects what there is to connect: the real account of `.env`, or two simulated ones.
///
/// # Errors
/// MongoDB or the simulator does not answer.
pub async fn connect(stack: &Stack, settings: &Settings) -> Result<Vec<AccountKey>> {
    match &settings.hubspot {
        Some(real) => Ok(vec![connect_real(stack, real).await?]),
        None => connect_simulated(stack, settings).await,
    }
}

async fn connect_simulated(stack: &Stack, settings: &Settings) -> Result<Vec<AccountKey>> {
    let simulator = Control::new(settings.ports.hubspot);
    let database = stack.store.database();
    let (domain, hub) = SAMPLE;
    let accounts = vec![key(domain, hub)?, key("globex", hub + 1)?];
    // A new simulator has new records; in a MongoDB that was named, an earlier demo's may be left.
    for account in &accounts {
        forget(database, account).await?;
    }
    let first = simulator.seed(hub, settings.companies, settings.contacts).await?;
    let second = simulator.seed(hub + 1, settings.companies / 4, settings.contacts / 4).await?;
    insert_domain(database, ObjectId::parse_str(domain)?, "Acme", vec![oauth(hub, &first.refresh_token)]).await?;
    // A customer with two accounts, of which one has lost its credentials: it is skipped, and the other goes on.
    let globex = vec![private_app(hub + 1, &second.private_token), doc! { "hubId": (hub + 2).to_string() }];
    insert_domain(database, "globex", "Globex", globex).await?;
    Ok(accounts)
}

async fn with_simulator(stack: &Stack, settings: &Settings, accounts: &[AccountKey]) -> Result<()> {
    let simulator = Control::new(settings.ports.hubspot);
    let database = stack.store.database();
    let (companies, contacts) = (settings.companies, settings.contacts);
    let hubs = [SAMPLE.1, SAMPLE.1 + 1];
    println!(
        "\nFirst tick: {} records of two HubSpot accounts, backfilled at HubSpot's limit",
        companies + companies / 4 + contacts + contacts / 4
    );
    if let Ok(url) = stack.output("ConnectUrl") {
        println!("  Watch it at {url}/ (sign in with what `make token` shows)");
    }
    let began = Instant::now();
    tick(stack, accounts).await?;
    let backfill = began.elapsed();
    let before = actions(stack).await?;

    let changes = [settings.changes - settings.changes / 4, settings.changes / 4];
    let mut made = 0;
    for (account, count) in hubs.into_iter().zip(changes) {
        let changed = simulator.change(account, count).await?;
        made += changed.created + changed.updated;
    }
    println!("\nSecond tick: {made} changes were made in HubSpot");
    let began = Instant::now();
    tick_until(stack, accounts, before + made as u64).await?;
    let added = actions(stack).await? - before;
    println!("  {added} actions were added");

    summary::print(stack, accounts, Some((&simulator, backfill, began.elapsed()))).await?;
    for (account, hub_id) in accounts.iter().zip(hubs) {
        proof::check(database, account, &simulator.ledger(hub_id).await?).await?.ensure()?;
    }
    if added != made as u64 {
        bail!("{made} changes were made, but {added} actions were added");
    }
    println!("Compared with the simulator's ledger: nothing lost, nothing twice, Created once.");
    Ok(())
}

/// Invokes the scheduler as its schedule does, and watches until the accounts are caught up and the queues are
/// empty.
pub(crate) async fn tick(stack: &Stack, accounts: &[AccountKey]) -> Result<()> {
    let began = mongodb::bson::DateTime::now();
    let event = json!({ "time": began.try_to_rfc3339_string()? });
    let fan_out = stack.aws.invoke(stack.output("SchedulerFunction")?, &event).await?;
    println!("  the scheduler answered {fan_out}");
    let started = Instant::now();
    let mut shown = None;
    loop {
        let caught_up = caught_up(stack, accounts, began).await?;
        let queued = stack.aws.depth(stack.output("ActionsQueueUrl")?).await?;
        let stored = actions(stack).await?;
        if shown.replace((stored, queued, caught_up)) != Some((stored, queued, caught_up)) {
            println!(
                "  {:5.1} s: {stored} actions stored, {queued} messages queued, {caught_up} of {} accounts caught up",
                started.elapsed().as_secs_f32(),
                accounts.len()
            );
        }
        if caught_up == accounts.len() && queued == 0 {
            return Ok(());
        }
        for queue in ["SyncDeadLetterQueueUrl", "ActionsDeadLetterQueueUrl"] {
            if stack.aws.depth(stack.output(queue)?).await? > 0 {
                bail!("messages were left to the dead-letter queue {queue}; see make logs");
            }
        }
        if started.elapsed() > PATIENCE {
            bail!("the accounts are not caught up after {} s; see make logs", PATIENCE.as_secs());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Ticks until so many actions are stored, or they should long have been. A look that began with a webhook may end a tick
/// before HubSpot's search shows every change; the schedule's next tick finds the rest.
pub(crate) async fn tick_until(stack: &Stack, accounts: &[AccountKey], wanted: u64) -> Result<()> {
    for _ in 1..TICKS {
        tick(stack, accounts).await?;
        if actions(stack).await? >= wanted {
            return Ok(());
        }
        println!("  HubSpot's search did not show every change yet; another tick:");
    }
    tick(stack, accounts).await
}

async fn caught_up(stack: &Stack, accounts: &[AccountKey], since: mongodb::bson::DateTime) -> Result<usize> {
    let ids: Vec<String> = accounts.iter().map(ToString::to_string).collect();
    let filter = doc! { "_id": { "$in": ids }, "run": null, "lastSuccessAt": { "$gte": since } };
    let checkpoints = stack.store.database().collection::<Document>(collection::CHECKPOINTS);
    Ok(usize::try_from(checkpoints.count_documents(filter).await?)?)
}

pub(crate) async fn actions(stack: &Stack) -> Result<u64> {
    Ok(stack.store.database().collection::<Document>(collection::ACTIONS).count_documents(doc! {}).await?)
}
