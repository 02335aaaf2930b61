//! `make erase`: a record, an account, or a customer.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::{
    front::{Front, Visitor},
    queues::queue,
    world::{DOMAIN, HUB, World, assert_accepted},
};
use hubspot_sim::Object;
use model::{account::AccountKey, ids::RecordId, object::ObjectType};
use mongodb::bson::{DateTime, Document, doc};
use ops::{
    dead_letters::{DeadLetterQueue, DeadLetters},
    erase::{Scope, erase},
};
use store::{TimelineEvent, collection};

use super::{ensure_erased, ensure_without_person, person, tick};

/// Another customer, and another portal of this one.
const OTHER: [(&str, u64); 2] = [("globex", HUB + 1), (DOMAIN, HUB + 2)];

async fn dead_letters(world: &World, name: &str) -> Result<(DeadLetters, String)> {
    let url = queue(&world.sqs, name).await?;
    let letters = DeadLetterQueue { name: "actions", url: url.clone(), source: Some(world.actions_queue.clone()) };
    Ok((DeadLetters::new(world.sqs.clone(), world.store.clone(), vec![letters]), url))
}

/// Stores something of an account in each collection that knows accounts.
async fn fill(world: &World, account: &AccountKey) -> Result<()> {
    let (key, store) = (account.to_string(), &world.store);
    let (domain, hub) = (account.domain_id.as_str(), account.hub_id.as_str());
    let own = |id: String| doc! { "_id": id, "domainId": domain, "hubId": hub, "recordId": "1", "object": "contacts" };
    let later = DateTime::from_millis(DateTime::now().timestamp_millis() + 600_000);
    let mut pending = own(format!("state-{key}"));
    pending.insert("expiresAt", later);
    let documents = [
        ("actions", own(format!("{key}:contacts:1:1"))),
        ("companies", own(format!("{key}:companies:1"))),
        ("contacts", own(format!("{key}:contacts:1"))),
        ("seen", doc! { "_id": format!("{key}:contacts:1"), "at": DateTime::now() }),
        ("checkpoints", doc! { "_id": &key }),
        ("setaside", own(format!("{key}:contacts:1"))),
        ("erasures", own(format!("{key}:contacts:9"))),
        ("references", own(format!("{key}:owners"))),
        ("hubspot_objects", own(format!("{key}:objects:2-7"))),
        ("hubspot_owners", own(format!("{key}:owners:101"))),
        ("hubspot_pipelines", own(format!("{key}:pipelines:deals:default"))),
        ("hubspot_schemas", own(format!("{key}:schemas:deals:amount"))),
        ("connects", pending),
        ("portals", doc! { "_id": hub, "domainId": domain, "at": DateTime::now() }),
        ("notifications", doc! { "_id": format!("{key}/changes"), "at": DateTime::now() }),
    ];
    for (name, document) in documents {
        store.database().collection::<Document>(name).insert_one(document).await?;
    }
    store.record_event(account, TimelineEvent::Connected, None).await?;
    store.record_rejection(account).await?;
    let reason = format!("MongoDB refuses the action of contacts 1 of {key} with code 121");
    store.note_failures([(format!("message-of-{key}"), reason)].into_iter()).await?;
    Ok(())
}

/// A world with the Domains, and something of each account everywhere.
async fn filled(name: &str) -> Result<(World, Vec<AccountKey>)> {
    let world = World::new(name).await?;
    stack::accounts::write_domain(
        world.store.database(),
        OTHER[0].0,
        "Globex",
        vec![stack::accounts::oauth(OTHER[0].1, "another-grant")],
    )
    .await?;
    let entry = stack::accounts::oauth(OTHER[1].1, "a-second-grant");
    let domains = world.store.database().collection::<Document>(collection::DOMAINS);
    let push = doc! { "$push": { "integrations.hubspot.accounts": entry } };
    domains.update_one(doc! { "_id": DOMAIN }, push).await?;
    let mut accounts = vec![world.account()?];
    for (domain, hub) in OTHER {
        accounts.push(AccountKey::new(domain, hub)?);
    }
    for account in &accounts {
        fill(&world, account).await?;
    }
    Ok((world, accounts))
}

/// The lines of the database that name an account, but the evidence that it was erased.
async fn lines(world: &World, account: &AccountKey) -> Result<Vec<String>> {
    let everything = world.everything().await?;
    let names = |line: &&str| line.contains(account.hub_id.as_str()) && !line.contains("/account\"");
    Ok(everything.lines().filter(names).map(str::to_owned).collect())
}

#[tokio::test]
async fn account_erased_by_hand_leaves_nothing_and_other_accounts_stay() -> Result<()> {
    let (world, accounts) = filled("erase_account").await?;
    let (letters, url) = dead_letters(&world, "erase-account").await?;
    for account in &accounts {
        let AccountKey { domain_id, hub_id } = account;
        let letter = serde_json::json!({"type": "actions.v1", "domainId": domain_id, "hubId": hub_id, "actions": []});
        world.sqs.send_message().queue_url(&url).message_body(letter.to_string()).send().await?;
    }
    // The Domain and the rejections name several accounts.
    ensure!(lines(&world, &accounts[0]).await?.len() >= 19, "{:?}", lines(&world, &accounts[0]).await?);
    let before = [lines(&world, &accounts[1]).await?.len(), lines(&world, &accounts[2]).await?.len()];
    for _ in 0..2 {
        erase(&world.store, &letters, &Scope::Account(accounts[0].clone())).await?;
        let left = lines(&world, &accounts[0]).await?;
        ensure!(left.is_empty(), "something is left: {left:#?}");
        for (account, before) in accounts[1..].iter().zip(before) {
            assert_eq!(lines(&world, account).await?.len(), before, "something of {account} was deleted");
        }
    }
    let others: Vec<_> = letters.list().await?.into_iter().filter_map(|letter| letter.account).collect();
    ensure!(others.len() == 2 && !others.contains(&accounts[0].to_string()), "{others:?}");
    world.end().await
}

#[tokio::test]
async fn customer_erased_by_hand_leaves_nothing_and_other_customers_stay() -> Result<()> {
    let (world, accounts) = filled("erase_customer").await?;
    let (letters, _) = dead_letters(&world, "erase-customer").await?;
    // The product has removed this entry, and some of the account is still stored.
    world.store.remove_account(&accounts[2]).await?;
    let before = lines(&world, &accounts[1]).await?.len();
    erase(&world.store, &letters, &Scope::Customer(DOMAIN.to_owned().try_into()?)).await?;
    for account in [&accounts[0], &accounts[2]] {
        let left = lines(&world, account).await?;
        ensure!(left.is_empty(), "something is left: {left:#?}");
    }
    assert_eq!(lines(&world, &accounts[1]).await?.len(), before);
    let domains = world.all(collection::DOMAINS).await?;
    let acme =
        domains.iter().find(|domain| domain.get_str("_id").is_ok_and(|id| id == DOMAIN)).context("the Domain")?;
    ensure!(acme.get_document("company").is_ok(), "what the product wrote is gone: {acme}");
    ensure!(acme.get_document("integrations")?.get("hubspot").is_none(), "{acme}");
    let nobody = erase(&world.store, &letters, &Scope::Customer("nobody".to_owned().try_into()?)).await;
    ensure!(nobody.is_err(), "a customer of whom nothing is stored was erased");
    world.end().await
}

#[tokio::test]
async fn record_erased_by_hand_leaves_no_trace_of_the_person() -> Result<()> {
    let (world, id) = person("erase_record").await?;
    world.run().await?;
    let (letters, _) = dead_letters(&world, "erase-record").await?;
    let record = Scope::Record(world.account()?, ObjectType::CONTACTS, RecordId::try_from(id.to_string())?);
    for _ in 0..2 {
        erase(&world.store, &letters, &record).await?;
        ensure_without_person(&world.everything().await?)?;
        ensure_erased(&world, ObjectType::CONTACTS, id).await?;
    }
    assert_eq!(world.all("contacts").await?.len(), 4, "other contacts were deleted");
    world.end().await
}

/// A slice and a drain were under way, and a message waits.
#[tokio::test]
async fn what_is_queued_of_an_erased_account_is_not_stored_until_it_is_connected_again() -> Result<()> {
    let (mut world, _) = person("erase_queued").await?;
    let front = Front::start(&mut world).await?;
    let (letters, _) = dead_letters(&world, "erase-queued").await?;
    let account = world.account()?;
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    let queued = world.take(&world.actions_queue).await?;
    ensure!(!queued.is_empty());
    erase(&world.store, &letters, &Scope::Account(account.clone())).await?;
    assert_accepted(world.store(&queued).await)?;
    // A tick's message is under way, too.
    world.deliver(&sync, &world.tick()).await?;
    ensure_without_person(&world.everything().await?)?;
    ensure!(world.all(collection::ACTIONS).await?.is_empty() && world.all("contacts").await?.is_empty());
    // What a slice that was under way has written is deleted, too.
    world.store.set_aside(&account, ObjectType::CONTACTS, &[("7".to_owned(), "odd".to_owned())], false).await?;
    tick(&world).await?;
    let left = lines(&world, &account).await?;
    ensure!(left.is_empty(), "something is left: {left:#?}");

    // The customer comes back: everything is read and stored again, and the tick deletes nothing of it.
    world.hubspot.world().ids(HUB, Object::CONTACTS);
    let connected = Visitor::new(&front).connect(DOMAIN, HUB).await?;
    ensure!(connected.status().is_success(), "{connected:?}");
    tokio::time::timeout(Duration::from_secs(120), world.run()).await??;
    tick(&world).await?;
    assert_eq!(world.proof().await?.actions, 6);
    world.end().await
}
