//! Runs a tick of the schedule, and waits until its work is done.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use model::account::AccountKey;
use mongodb::bson::{Document, doc};
use serde_json::json;
use store::collection;
use tokio::time::sleep;

use crate::deployed::Stack;

/// The timeout of a tick's work.
const TICK_TIMEOUT: Duration = Duration::from_secs(600);

/// The number of ticks after which every change is certainly found.
const MAX_TICKS: usize = 5;

/// Invokes the scheduler as its schedule does, and waits until the accounts are caught up and the queues are empty.
///
/// # Errors
/// The scheduler cannot be invoked, messages reach a dead-letter queue, or the work takes too long.
pub async fn tick(stack: &Stack, accounts: &[AccountKey]) -> Result<()> {
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
        if started.elapsed() > TICK_TIMEOUT {
            bail!("the accounts are not caught up after {} s; see make logs", TICK_TIMEOUT.as_secs());
        }
        sleep(Duration::from_millis(500)).await;
    }
}

/// Runs ticks until `wanted` actions are stored, or until they should have been. A sync that a webhook started may end
/// a tick before HubSpot's search shows every change. The schedule's next tick finds the rest.
///
/// # Errors
/// As [`tick`].
pub async fn tick_until(stack: &Stack, accounts: &[AccountKey], wanted: u64) -> Result<()> {
    for _ in 1..MAX_TICKS {
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

/// Returns how many actions are stored.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn actions(stack: &Stack) -> Result<u64> {
    Ok(stack.store.database().collection::<Document>(collection::ACTIONS).count_documents(doc! {}).await?)
}
