//! The demo: two ticks of the schedule with changes between them. MongoDB is then compared with the simulator's ledger.

use std::time::Instant;

use anyhow::{Result, bail};
use model::{account::AccountKey, object::ObjectType};
use mongodb::bson::{doc, oid::ObjectId};
use ops::{
    deployed::Stack,
    settings::{RealHubSpot, Settings},
    tick::{actions, tick, tick_until},
};
use secrecy::ExposeSecret;

use crate::{
    accounts::{SAMPLE, forget, insert_domain, oauth, private_app},
    lifecycle, proof,
    simulator::Control,
    summary,
};

/// Runs the demo, and leaves the stack up. Builds the functions unless `is_built`.
///
/// # Errors
/// A step fails, or MongoDB differs from the ledger at the end.
pub async fn run(settings: &Settings, is_built: bool) -> Result<()> {
    println!("The stack:");
    let stack = lifecycle::up(settings, is_built).await?;
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
        (Some(token), _) => oauth(&real.hub_id, token.expose_secret()),
        (None, token) => private_app(&real.hub_id, token.as_ref().map(ExposeSecret::expose_secret).unwrap_or_default()),
    };
    // Tokens that an earlier local stack has sealed can no longer be opened.
    insert_domain(stack.store.database(), "demo", "Demo", vec![entry]).await?;
    Ok(AccountKey::new("demo", &real.hub_id)?)
}

/// Connects the real account of `.env`, or two simulated ones. Returns them.
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
    let accounts = vec![AccountKey::new(domain, hub)?, AccountKey::new("globex", hub + 1)?];
    // A new simulator has new records, but a MongoDB that was named may have records of an earlier demo.
    for account in &accounts {
        forget(database, account).await?;
    }
    let first = simulator.seed(hub, settings.companies, settings.contacts).await?;
    let second = simulator.seed(hub + 1, settings.companies / 4, settings.contacts / 4).await?;
    let mut entry = oauth(hub, &first.refresh_token);
    if settings.objects != ObjectType::DEFAULT {
        // What an account's entry chooses is read from its next run on.
        entry.insert("objects", settings.objects.iter().map(ObjectType::to_string).collect::<Vec<_>>());
    }
    for object in others(settings) {
        simulator.seed_objects(hub, object, settings.companies).await?;
    }
    insert_domain(database, ObjectId::parse_str(domain)?, "Acme", vec![entry]).await?;
    // A customer with two accounts. One has lost its credentials: it is skipped, and the other continues.
    let globex = vec![private_app(hub + 1, &second.private_token), doc! { "hubId": (hub + 2).to_string() }];
    insert_domain(database, "globex", "Globex", globex).await?;
    Ok(accounts)
}

/// Returns the object types of the first account besides companies and contacts.
fn others(settings: &Settings) -> impl Iterator<Item = ObjectType> {
    settings.objects.iter().copied().filter(|object| !object.is_default())
}

async fn with_simulator(stack: &Stack, settings: &Settings, accounts: &[AccountKey]) -> Result<()> {
    let simulator = Control::new(settings.ports.hubspot);
    let database = stack.store.database();
    let (companies, contacts) = (settings.companies, settings.contacts);
    let hubs = [SAMPLE.1, SAMPLE.1 + 1];
    println!(
        "\nFirst tick: {} records of two HubSpot accounts, backfilled at HubSpot's limit",
        companies + companies / 4 + contacts + contacts / 4 + companies * others(settings).count()
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
    for object in others(settings) {
        let changed = simulator.change_objects(SAMPLE.1, object, settings.changes / 4).await?;
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
