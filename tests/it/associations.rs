//! Contacts whose companies change in HubSpot while the contacts themselves do not.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World, assert_accepted};
use hubspot_sim::{FaultKind, Object};
use model::{object::ObjectType, time};
use mongodb::bson::{DateTime, Document, doc};
use serde_json::json;
use store::collection;

/// Returns a world that is caught up: a contact of a company, and further companies.
async fn associated(name: &str) -> Result<(World, u64, Vec<u64>)> {
    let mut world = World::new(name).await?;
    // Nothing but what a test asks for reads associations again.
    world.config.settle = Duration::from_secs(3600);
    let (contact, companies) = {
        let mut hubspot = world.hubspot.world();
        hubspot.seed(HUB, 5, 20, 1);
        let (companies, contact) = (hubspot.ids(HUB, Object::COMPANIES), hubspot.ids(HUB, Object::CONTACTS)[7]);
        hubspot.associate(HUB, contact, vec![companies[0]]);
        (contact, companies)
    };
    world.run().await?;
    ensure!(world.proof().await?.actions == 25);
    Ok((world, contact, companies))
}

/// Makes the comparison of all associations due.
async fn compare(world: &mut World) -> Result<()> {
    world.config.associations_every = Some(Duration::from_millis(1));
    world.run().await?;
    world.config.associations_every = Some(Duration::from_secs(86_400));
    Ok(())
}

async fn company_ids(world: &World, contact: u64) -> Result<Vec<String>> {
    let states = world.store.database().collection::<Document>("contacts");
    let state = states.find_one(doc! { "recordId": contact.to_string() }).await?.context("there is no state")?;
    let ids = state.get_array("companyIds")?.iter().filter_map(|id| Some(id.as_str()?.to_owned()));
    Ok(ids.collect())
}

/// Returns the actions about associations alone, the oldest first.
async fn changes(world: &World) -> Result<Vec<Document>> {
    let mut actions = world.all(collection::ACTIONS).await?;
    actions.retain(|action| action.contains_key("associationsDigest"));
    actions.sort_by_key(|action| action.get_datetime("actionDate").copied().unwrap_or(DateTime::MIN));
    Ok(actions)
}

fn texts(ids: &[u64]) -> Vec<String> {
    ids.iter().map(u64::to_string).collect()
}

#[tokio::test]
async fn change_of_associations_alone_is_published_once_by_comparison() -> Result<()> {
    let (mut world, contact, companies) = associated("linked").await?;
    world.hubspot.world().associate(HUB, contact, vec![companies[2], companies[1]]);
    world.run().await?;
    ensure!(company_ids(&world, contact).await? == texts(&companies[..1]), "no comparison is due");
    for _ in 0..2 {
        compare(&mut world).await?;
    }
    let first = company_ids(&world, contact).await?;
    ensure!(first.len() == 2 && first.contains(&companies[1].to_string()), "{first:?}");
    let found = changes(&world).await?;
    ensure!(found.len() == 1, "{found:?}");
    let action = &found[0];
    ensure!(action.get_str("actionName")? == "Contact Updated" && action.get_str("recordId")? == contact.to_string());
    ensure!(action.get_str("_id")?.contains(":associations:"));
    let changed = action.get_document("changes")?;
    ensure!(changed.keys().collect::<Vec<_>>() == ["associations", "companyIds"], "{changed}");
    let sides = changed.get_document("companyIds")?;
    ensure!(sides.get_array("from")?.len() == 1 && sides.get_array("to")?.len() == 2, "{sides}");
    let company = action.get_document("userProperties")?.get_str("company_id")?;
    ensure!(company == first[0], "the primary company is {company}");
    ensure!(world.proof().await?.associations == 1);
    world.end().await
}

#[tokio::test]
async fn associations_that_change_back_are_published_each_time() -> Result<()> {
    let (mut world, contact, companies) = associated("linked_back").await?;
    for (round, company) in [1, 0, 1, 0].into_iter().enumerate() {
        world.hubspot.world().associate(HUB, contact, vec![companies[company]]);
        compare(&mut world).await?;
        ensure!(company_ids(&world, contact).await? == texts(&[companies[company]]));
        ensure!(changes(&world).await?.len() == round + 1);
    }
    world.hubspot.world().associate(HUB, contact, Vec::new());
    compare(&mut world).await?;
    ensure!(company_ids(&world, contact).await?.is_empty());
    ensure!(world.proof().await?.associations == 5);
    world.end().await
}

/// HubSpot associates a new contact by its e-mail domain, seconds after its creation.
#[tokio::test]
async fn association_made_after_contact_was_read_is_found_by_settled_pass() -> Result<()> {
    let (mut world, contact, companies) = associated("linked_late").await?;
    world.config.settle = Duration::from_secs(6);
    {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        hubspot.update(HUB, Object::CONTACTS, contact, at, &[("jobtitle", "CTO")]);
    }
    world.run().await?;
    {
        let mut hubspot = world.hubspot.world();
        hubspot.associate(HUB, contact, vec![companies[3]]);
        hubspot.settings.clock_offset_ms += 20_000;
    }
    world.run().await?;
    ensure!(company_ids(&world, contact).await? == texts(&companies[3..4]));
    ensure!(world.proof().await?.associations == 1);
    world.end().await
}

#[tokio::test]
async fn contacts_of_deleted_company_lose_it() -> Result<()> {
    let (world, contact, companies) = associated("linked_gone").await?;
    {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        ensure!(hubspot.archive(HUB, Object::COMPANIES, companies[0], at));
        hubspot.associate(HUB, contact, Vec::new());
    }
    world.run().await?;
    // The other lane may have been at its end by then.
    world.run().await?;
    ensure!(company_ids(&world, contact).await?.is_empty());
    world.proof().await?;
    world.end().await
}

/// An account that an older release has read: the ledger does not know which associations were published.
#[tokio::test]
async fn account_of_older_release_gets_actions_for_what_differs_alone() -> Result<()> {
    let (mut world, contact, companies) = associated("linked_before").await?;
    let database = world.store.database();
    database
        .collection::<Document>(collection::SEEN)
        .update_many(doc! {}, doc! { "$unset": { "associationsDigest": "" } })
        .await?;
    let states = database.collection::<Document>("contacts");
    states.update_many(doc! {}, doc! { "$unset": { "associations": "", "associationsAt": "" } }).await?;
    world.hubspot.world().associate(HUB, contact, vec![companies[4]]);
    for _ in 0..2 {
        compare(&mut world).await?;
    }
    let found = changes(&world).await?;
    ensure!(found.len() == 1 && found[0].get_str("recordId")? == contact.to_string(), "{found:?}");
    let complete = doc! { "associations": { "$exists": true } };
    ensure!(world.store.database().collection::<Document>("contacts").count_documents(complete).await? == 20);
    world.proof().await?;
    world.end().await
}

/// A contact with more companies than a slice can read is published at once, and its companies when all were read.
#[tokio::test]
async fn contact_with_thousands_of_companies_takes_several_slices_and_holds_nobody_up() -> Result<()> {
    let mut world = World::new("linked_much").await?;
    world.config.settle = Duration::from_secs(3600);
    let (contact, companies) = {
        let mut hubspot = world.hubspot.world();
        hubspot.seed(HUB, 1_200, 20, 1);
        let (companies, contact) = (hubspot.ids(HUB, Object::COMPANIES), hubspot.ids(HUB, Object::CONTACTS)[3]);
        hubspot.associate(HUB, contact, companies.clone());
        (hubspot.settings.association_page, hubspot.settings.latency_ms) = (40, 300);
        (contact, companies)
    };
    let mut slices = 0;
    let checks = world.store.database().collection::<Document>(collection::ASSOCIATION_CHECKS);
    loop {
        slices += world.run().await?;
        let found = company_ids(&world, contact).await?;
        if found.len() == companies.len() {
            break;
        }
        ensure!(found.is_empty() && slices < 100, "{} companies in {slices} slices", found.len());
        // A reading that a slow machine keeps from any progress waits a minute.
        checks.update_many(doc! {}, doc! { "$set": { "checkAt": DateTime::now() } }).await?;
    }
    ensure!(slices > 1, "{slices} slices");
    world.hubspot.world().settings.latency_ms = 0;
    ensure!(world.run_until_proved().await?.actions == 1_220);
    world.end().await
}

/// Whatever is delivered again, and in whatever order, the associations that were read last win.
#[tokio::test]
async fn actions_in_any_order_leave_associations_that_were_read_last() -> Result<()> {
    let world = World::new("linked_order").await?;
    let now = DateTime::now();
    let at = |seconds| time::after(now, Duration::from_secs(seconds)).try_to_rfc3339_string().unwrap_or_default();
    let message = |name: &str, updated: u64, read: u64, company: &str, is_alone: bool| {
        let company = json!([{"to": "companies", "id": company, "types": []}]);
        let mut action = json!({"object": "contacts", "recordId": "9", "actionName": name, "actionDate": at(read),
            "recordUpdatedAt": at(updated), "includeInAnalytics": 0, "record": {"createdAt": at(0), "properties": {},
            "companyIds": [company[0]["id"]], "associations": company, "associationsAt": at(read)}});
        if is_alone {
            action["associationsDigest"] = json!(format!("{read:016}"));
        }
        json!({"type": "actions.v1", "domainId": world.account().map_or_else(|_| String::new(), |key| key.domain_id.to_string()),
            "hubId": HUB.to_string(), "actions": [action]}).to_string()
    };
    let messages = [
        message("Contact Created", 1, 2, "1", false),
        message("Contact Updated", 1, 4, "2", true),
        // The first one, sent again by a slice that did not get to mark it.
        message("Contact Created", 1, 5, "3", false),
        message("Contact Updated", 6, 7, "4", false),
        message("Contact Updated", 6, 8, "5", true),
    ];
    for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 4, 0, 3, 2]] {
        for name in ["contacts", collection::ACTIONS] {
            world.store.database().collection::<Document>(name).delete_many(doc! {}).await?;
        }
        for index in order.into_iter().chain(order) {
            assert_accepted(world.store(&[messages[index].clone()]).await)?;
        }
        ensure!(company_ids(&world, 9).await? == ["5"], "{order:?}");
        let ids = world.all(collection::ACTIONS).await?;
        let expected = if order == [0, 1, 2, 3, 4] { 5 } else { 4 };
        ensure!(ids.len() >= 4 && ids.len() <= expected, "{order:?}: {ids:?}");
    }
    world.end().await
}

/// What HubSpot does not answer now is compared later. Nothing else waits for it.
#[tokio::test]
async fn comparison_that_fails_is_postponed_and_delays_no_change() -> Result<()> {
    let (world, contact, companies) = associated("linked_fails").await?;
    world.hubspot.world().associate(HUB, contact, vec![companies[1]]);
    world.associations_are_due().await?;
    world.fault("/associations/", 1_000, FaultKind::Answer { status: 400, body: None, retry_after: None });
    world.run().await?;
    let comparison = |checkpoint: &Document| {
        let kept = checkpoint.get_document("kept").ok()?.get_document("contacts").ok()?;
        Some(kept.get_document("associations").ok()?.clone())
    };
    let checkpoint = world.checkpoint().await?;
    ensure!(checkpoint.get_document("lanes")?.get_document("contacts")?.get_document("lastError").is_err());
    ensure!(checkpoint.get_datetime("lastSuccessAt").is_ok());
    world.hubspot.world().faults.clear();
    world.time_passes().await?;
    world.associations_are_due().await?;
    world.run().await?;
    let after = comparison(&world.checkpoint().await?).context("associations were compared")?;
    ensure!(after.get_str("lastError").is_err(), "{after}");
    ensure!(company_ids(&world, contact).await? == texts(&companies[1..2]));
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn check_that_hangs_delays_no_change() -> Result<()> {
    let (world, contact, companies) = associated("linked_hangs").await?;
    world.hubspot.world().associate(HUB, contact, vec![companies[1]]);
    let id = contact.to_string().try_into()?;
    world.store.request_association_checks(&world.account()?, ObjectType::CONTACTS, [id]).await?;
    world.fault("/associations/", 1, FaultKind::Delay { millis: 60_000 });
    let sync = world.sync().await?;
    world.deliver(&sync, &world.tick()).await?;
    let other = {
        let mut hubspot = world.hubspot.world();
        let (id, at) = (hubspot.ids(HUB, Object::CONTACTS)[2], hubspot.now());
        hubspot.update(HUB, Object::CONTACTS, id, at, &[("jobtitle", "CTO")]);
        id
    };
    // The run that has begun, and the next tick.
    world.run_on().await?;
    world.run_on().await?;
    world.proof().await?;
    let changed = doc! { "recordId": other.to_string(), "actionName": "Contact Updated" };
    let actions = world.store.database().collection::<Document>(collection::ACTIONS);
    ensure!(actions.count_documents(changed).await? == 1, "the change waits for the check");
    ensure!(company_ids(&world, contact).await? == texts(&companies[..1]), "the check was made");
    world.associations_are_due().await?;
    world.run_on().await?;
    ensure!(company_ids(&world, contact).await? == texts(&companies[1..2]));
    world.end().await
}

/// HubSpot reports a change of associations twice, or one that is no change: the truth is read.
#[tokio::test]
async fn check_of_contact_whose_associations_are_as_they_were_publishes_nothing() -> Result<()> {
    let (world, contact, companies) = associated("linked_same").await?;
    let check = async || {
        let id = contact.to_string().try_into()?;
        world.store.request_association_checks(&world.account()?, ObjectType::CONTACTS, [id]).await?;
        world.run().await?;
        anyhow::Ok(changes(&world).await?.len())
    };
    ensure!(check().await? == 0);
    world.hubspot.world().associate(HUB, contact, vec![companies[1]]);
    ensure!(check().await? == 1 && check().await? == 1);
    let checks = world.all(collection::ASSOCIATION_CHECKS).await?;
    ensure!(checks.len() == 1, "it is made once more, when HubSpot has surely caught up: {checks:?}");
    let before = time::before(DateTime::now(), Duration::from_secs(60));
    let old = doc! { "$set": { "noticedAt": before, "checkAt": before } };
    world.store.database().collection::<Document>(collection::ASSOCIATION_CHECKS).update_many(doc! {}, old).await?;
    world.run().await?;
    ensure!(world.all(collection::ASSOCIATION_CHECKS).await?.is_empty());
    ensure!(changes(&world).await?.len() == 1);
    world.end().await
}

/// HubSpot answers 500 whenever it is asked for one contact's companies, or does not return it by its id.
#[tokio::test]
async fn contact_without_answer_keeps_no_other_from_being_checked() -> Result<()> {
    let (world, bad, companies) = associated("linked_bad").await?;
    let good = world.hubspot.world().ids(HUB, Object::CONTACTS)[12];
    for contact in [bad, good] {
        world.hubspot.world().associate(HUB, contact, vec![companies[3]]);
    }
    world.hubspot.world().settings.companies_fail = vec![bad];
    for is_checked in [true, false] {
        if is_checked {
            let ids = [bad, good].map(|id| id.to_string().try_into());
            let ids = ids.into_iter().collect::<Result<Vec<_>, _>>()?;
            world.store.request_association_checks(&world.account()?, ObjectType::CONTACTS, ids).await?;
        } else {
            world.hubspot.world().associate(HUB, good, vec![companies[4]]);
            world.associations_are_due().await?;
        }
        world.run_on().await?;
        let expected = if is_checked { 3 } else { 4 };
        ensure!(company_ids(&world, good).await? == texts(&companies[expected..=expected]), "checked: {is_checked}");
        ensure!(company_ids(&world, bad).await? == texts(&companies[..1]));
    }
    world.hubspot.world().settings.companies_fail.clear();
    world.associations_are_due().await?;
    world.run_on().await?;
    ensure!(company_ids(&world, bad).await? == texts(&companies[3..4]));
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn company_with_more_contacts_than_are_found_at_once_leaves_all_of_them() -> Result<()> {
    let mut world = World::new("linked_many").await?;
    world.config.settle = Duration::from_secs(3600);
    {
        let mut hubspot = world.hubspot.world();
        hubspot.seed(HUB, 2, 1_100, 1);
        let company = hubspot.ids(HUB, Object::COMPANIES)[0];
        for contact in hubspot.ids(HUB, Object::CONTACTS) {
            hubspot.associate(HUB, contact, vec![company]);
        }
    }
    world.run().await?;
    {
        let mut hubspot = world.hubspot.world();
        let (company, at) = (hubspot.ids(HUB, Object::COMPANIES)[0], hubspot.now());
        ensure!(hubspot.archive(HUB, Object::COMPANIES, company, at));
    }
    world.run_on().await?;
    let with_companies = doc! { "companyIds.0": { "$exists": true } };
    let contacts = world.store.database().collection::<Document>("contacts");
    // A slice that a slow machine cut is made again a minute later.
    for _ in 0..20 {
        if contacts.count_documents(with_companies.clone()).await? == 0 {
            break;
        }
        world.associations_are_due().await?;
        world.run_on().await?;
    }
    ensure!(contacts.count_documents(with_companies).await? == 0);
    ensure!(world.proof().await?.associations == 1_100);
    world.end().await
}
