//! Checks that the local stack works: a tick of its schedule makes every account caught up. With the simulator, a
//! change in HubSpot is then stored by another tick.

use anyhow::{Result, ensure};
use model::account::AccountKey;
use ops::{
    deployed::Stack,
    settings::Settings,
    smoke::{run_tick, show},
    tick::{actions, tick_until},
};

use crate::{accounts::SAMPLE, simulator::Control};

/// Checks the local stack.
///
/// # Errors
/// There is no such stack, no account is connected to it, messages reach a dead-letter queue, or a change is not stored.
pub async fn run(settings: &Settings) -> Result<()> {
    let stack = Stack::open(settings, false).await?;
    let accounts = run_tick(&stack).await?;
    if settings.hubspot.is_none() {
        change(&stack, settings, &accounts).await?;
    }
    show(&stack, &accounts).await
}

/// Makes a change in the simulated account, and checks that the next tick stores it.
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
