//! Checks that a tick of the schedule works in a deployed stack.

use anyhow::{Result, ensure};
use futures::TryStreamExt;
use model::account::{AccountKey, accounts};
use mongodb::bson::{Document, doc};
use store::collection;

use crate::{deployed::Stack, tick::tick};

/// Runs one tick, waits until every account is caught up, and prints the newest action of each.
///
/// # Errors
/// No account is connected, messages reach a dead-letter queue, or the work takes too long.
pub async fn run(stack: &Stack) -> Result<()> {
    let accounts = run_tick(stack).await?;
    show(stack, &accounts).await
}

/// Runs one tick, and waits until every account is caught up. Returns the accounts.
///
/// # Errors
/// As [`run`].
pub async fn run_tick(stack: &Stack) -> Result<Vec<AccountKey>> {
    let accounts = connected(stack).await?;
    ensure!(!accounts.is_empty(), "no account is connected: there is no usable one in the collection `domains`");
    println!("A tick of the schedule, for {} accounts:", accounts.len());
    tick(stack, &accounts).await?;
    Ok(accounts)
}

/// Prints the newest action of each account.
///
/// # Errors
/// MongoDB cannot be reached.
pub async fn show(stack: &Stack, accounts: &[AccountKey]) -> Result<()> {
    for account in accounts {
        println!("  {account}: {}", newest(stack, account).await?);
    }
    println!("A change goes through.");
    Ok(())
}

/// Returns the accounts that the scheduler would send.
async fn connected(stack: &Stack) -> Result<Vec<AccountKey>> {
    let domains: Vec<Document> = stack.store.domains_after(None).await?.try_collect().await?;
    Ok(domains.iter().flat_map(accounts).flatten().map(|account| account.key).collect())
}

async fn newest(stack: &Stack, account: &AccountKey) -> Result<String> {
    let of = doc! { "domainId": account.domain_id.as_str(), "hubId": account.hub_id.as_str() };
    let actions = stack.store.database().collection::<Document>(collection::ACTIONS);
    let newest = actions.find_one(of).sort(doc! { "actionDate": -1 }).await?;
    Ok(newest.map_or_else(
        || "no action yet".to_owned(),
        |action| {
            let date = action.get_datetime("actionDate").ok().and_then(|date| date.try_to_rfc3339_string().ok());
            format!("{} at {}", action.get_str("actionName").unwrap_or_default(), date.unwrap_or_default())
        },
    ))
}
