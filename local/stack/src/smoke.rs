//! Whether a change goes through a deployed stack: a tick of its schedule, until every account is caught up; with the
//! simulator also a change in HubSpot, and a tick that stores it.

use anyhow::{Result, ensure};
use futures::TryStreamExt;
use model::account::{AccountKey, accounts};
use mongodb::bson::{Document, doc};
use store::collection;

use crate::{
    accounts::SAMPLE,
    demo::{actions, tick, tick_until},
    settings::Settings,
    simulator::Control,
    stack::Stack,
};

/// Looks at the local stack, or with `on_aws` at the one on the AWS of the environment.
///
/// # Errors
/// There is no such stack, no account is connected to it, messages reach a dead-letter queue, or a change is not stored.
pub async fn run(settings: &Settings, on_aws: bool) -> Result<()> {
    let stack = Stack::open(settings, on_aws).await?;
    let keys = connected(&stack).await?;
    ensure!(!keys.is_empty(), "no account is connected: there is no usable one in the collection `domains`");
    println!("A tick of the schedule, for {} accounts:", keys.len());
    tick(&stack, &keys).await?;
    if !on_aws && settings.hubspot.is_none() {
        change(&stack, settings, &keys).await?;
    }
    for account in &keys {
        println!("  {account}: {}", newest(&stack, account).await?);
    }
    println!("A change goes through.");
    Ok(())
}

/// Makes a change in the simulated account, and sees that the next tick stores it.
async fn change(stack: &Stack, settings: &Settings, accounts: &[AccountKey]) -> Result<()> {
    let before = actions(stack).await?;
    let made = Control::new(settings.ports.hubspot).change(SAMPLE.1, 1).await?;
    let made = u64::try_from(made.created + made.updated)?;
    println!("A change is made in HubSpot, and another tick:");
    tick_until(stack, accounts, before + made).await?;
    let added = actions(stack).await? - before;
    ensure!(added == made, "{made} changes were made, but {added} actions were added");
    Ok(())
}

/// The accounts that the scheduler would send.
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
