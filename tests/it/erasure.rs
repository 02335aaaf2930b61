//! What becomes of people that HubSpot erases, and of accounts and customers that an operator erases: nothing is left of them,
//! and nothing comes back.

mod by_hand;
mod order;
mod repeated;

use anyhow::{Context as _, Result, ensure};
use harness::{
    bootstrap::{Bootstrap, Function, Invoked},
    front::request_event,
    world::{HUB, World, message_event},
};
use hubspot_sim::{CLIENT_SECRET, Object};
use model::{ids::RecordId, object::ObjectType};
use mongodb::bson::{DateTime, Document, doc};
use serde_json::{Value, json};
use store::{Erasure, collection};

/// What nothing may hold of the person.
const PERSONAL: [&str; 3] = ["ana@firm.example", "Anabel", "Chief Juggler"];

/// An event of HubSpot's that a record was erased.
fn event(kind: &str, id: u64) -> String {
    let type_id = if kind.starts_with("company") { "0-2" } else { "0-1" };
    json!([{"portalId": HUB, "objectId": id, "objectTypeId": type_id, "subscriptionType": kind, "occurredAt": 1}])
        .to_string()
}

/// A request of HubSpot's, signed, as API Gateway hands it to the function.
fn request(body: &str) -> Value {
    let sent_at = DateTime::now().timestamp_millis().to_string();
    let signature = hubspot_sim::signature(CLIENT_SECRET, "http://localhost/hubspot/webhooks", body, &sent_at);
    let headers = [("x-hubspot-signature-v3", signature.as_str()), ("x-hubspot-request-timestamp", &sent_at)];
    request_event("POST", "/hubspot/webhooks", &headers, body)
}

/// The status with which connect answers a webhook.
async fn webhook(connect: &mut Bootstrap, body: &str) -> Result<Value> {
    match connect.invoke(&request(body)).await?.0 {
        Invoked::Answered(answer) => Ok(answer["statusCode"].clone()),
        other => anyhow::bail!("connect does not answer: {other:?}"),
    }
}

/// Has a record erased by a webhook, which is carried out at once.
async fn erase(world: &World, kind: &str, id: u64) -> Result<()> {
    let mut connect = Bootstrap::start(Function::Connect, world).await?;
    let status = webhook(&mut connect, &event(kind, id)).await?;
    ensure!(status == 204, "connect answered {status}");
    Ok(())
}

/// Runs a tick of the schedule, for which all erasures that are not done are due.
async fn tick(world: &World) -> Result<()> {
    let erasures = world.store.database().collection::<Document>(collection::ERASURES);
    let due = doc! { "$set": { "repeatAt": DateTime::now() } };
    erasures.update_many(doc! { "repeatAt": { "$exists": true } }, due).await?;
    let mut scheduler = Bootstrap::start(Function::Scheduler, world).await?;
    let (ticked, _) = scheduler.invoke(&json!({"time": "2026-11-24T08:00:00Z"})).await?;
    ensure!(matches!(ticked, Invoked::Answered(_)), "{ticked:?}");
    Ok(())
}

/// A contact of a person, with one company, among others. Nothing is synced yet.
async fn person(name: &str) -> Result<(World, u64)> {
    let world = World::new(name).await?;
    let id = {
        let mut hubspot = world.hubspot.world();
        hubspot.seed(HUB, 2, 4, 1);
        let (id, company) = (hubspot.ids(HUB, Object::CONTACTS)[1], hubspot.ids(HUB, Object::COMPANIES)[0]);
        hubspot.associate(HUB, id, vec![company]);
        id
    };
    rename(&world, id)?;
    Ok((world, id))
}

/// Gives a contact the person's properties, a moment later than its last change.
fn rename(world: &World, id: u64) -> Result<()> {
    let mut hubspot = world.hubspot.world();
    let at = hubspot.now();
    let properties = [("email", PERSONAL[0]), ("firstname", PERSONAL[1]), ("jobtitle", PERSONAL[2])];
    ensure!(hubspot.update(HUB, Object::CONTACTS, id, at, &properties), "there is no contact {id}");
    Ok(())
}

fn ensure_without_person(text: &str) -> Result<()> {
    let told: Vec<&str> = text.lines().filter(|line| PERSONAL.iter().any(|part| line.contains(part))).collect();
    ensure!(told.is_empty(), "something is left of the person:\n{}", told.join("\n"));
    Ok(())
}

/// The actions of a record.
async fn actions(world: &World, object: ObjectType, id: u64) -> Result<Vec<Document>> {
    let mut actions = world.all(collection::ACTIONS).await?;
    let is_of = |action: &Document| {
        action.get_str("object").is_ok_and(|of| of == object.as_str())
            && action.get_str("recordId").is_ok_and(|record| record == id.to_string())
    };
    actions.retain(is_of);
    Ok(actions)
}

fn names(actions: &[Document]) -> Vec<&str> {
    actions.iter().filter_map(|action| action.get_str("actionName").ok()).collect()
}

/// Sees that a record has its tombstone and nothing else, and at most one action that it was erased.
async fn ensure_erased(world: &World, object: ObjectType, id: u64) -> Result<()> {
    let states = world.store.database().collection::<Document>(object.as_str());
    let state = states.find_one(doc! { "recordId": id.to_string() }).await?.context("a tombstone")?;
    let mut fields: Vec<&str> = state.keys().map(String::as_str).collect();
    fields.sort_unstable();
    ensure!(
        fields == ["_id", "deletedAt", "domainId", "erasedAt", "hubId", "recordId", "storedAt"],
        "the tombstone has {fields:?}"
    );
    let actions = actions(world, object, id).await?;
    for action in &actions {
        for field in ["identity", "userProperties", "companyProperties", "changes"] {
            ensure!(!action.contains_key(field), "{action}");
        }
    }
    ensure!(actions.iter().filter(|action| action.get_bool("erased").is_ok_and(|erased| erased)).count() <= 1);
    Ok(())
}

fn contact(world: &World, id: u64) -> Result<Erasure> {
    Ok(Erasure::Record(world.account()?, ObjectType::CONTACTS, RecordId::try_from(id.to_string())?))
}

#[tokio::test]
async fn erased_contact_leaves_no_trace_of_the_person_in_database_or_logs() -> Result<()> {
    let (mut world, id) = person("erased").await?;
    let log = std::env::temp_dir().join(format!("erased-{}.log", std::process::id()));
    world.log = Some(log.clone());
    // Its first message is kept, as if it was in the dead-letter queue.
    world.deliver(&world.sync().await?, &world.tick()).await?;
    let old = world.take(&world.actions_queue).await?;
    harness::world::assert_accepted(world.store(&old).await)?;
    for title in ["CTO", "CEO"] {
        let at = world.hubspot.world().now();
        world.hubspot.world().update(HUB, Object::CONTACTS, id, at, &[("jobtitle", title)]);
        world.run().await?;
    }
    let before = actions(&world, ObjectType::CONTACTS, id).await?;
    ensure!(names(&before) == ["Contact Created", "Contact Updated", "Contact Updated"], "{before:?}");
    ensure!(PERSONAL.iter().all(|part| before.iter().any(|action| action.to_string().contains(part))), "{before:?}");
    let aside = [(id.to_string(), "HubSpot's answer leaves it out".to_owned())];
    world.store.set_aside(&world.account()?, ObjectType::CONTACTS, &aside, false).await?;
    // HubSpot's recycle bin and its index may still show it.
    let at = world.hubspot.world().now();
    world.hubspot.world().archive(HUB, Object::CONTACTS, id, at);

    let mut connect = Bootstrap::start(Function::Connect, &world).await?;
    for _ in 0..2 {
        assert_eq!(webhook(&mut connect, &event("contact.privacyDeletion", id)).await?, 204);
        ensure_without_person(&world.everything().await?)?;
        ensure_erased(&world, ObjectType::CONTACTS, id).await?;
        ensure!(world.all(collection::SET_ASIDE).await?.is_empty(), "it is still set aside");
        let after = actions(&world, ObjectType::CONTACTS, id).await?;
        ensure!(names(&after).len() == 4 && after.iter().all(|action| action.contains_key("actionDate")), "{after:?}");
        let erased: Vec<_> = after.iter().filter(|action| action.contains_key("erased")).collect();
        ensure!(erased.len() == 1 && erased[0].get_str("actionName")? == "Contact Deleted", "{erased:?}");
    }
    // What was queued before, and what HubSpot still shows.
    let mut drain = Bootstrap::start(Function::Actions, &world).await?;
    let (drained, _) = drain.invoke(&message_event(&old)).await?;
    ensure!(drained.is_success(), "the old message stays in its queue: {drained:?}");
    world.run().await?;
    tick(&world).await?;
    ensure_without_person(&world.everything().await?)?;
    ensure_erased(&world, ObjectType::CONTACTS, id).await?;
    assert_eq!(actions(&world, ObjectType::CONTACTS, id).await?.len(), 4);
    let logged = std::fs::read_to_string(&log)?;
    ensure!(logged.contains("HubSpot told of records that were erased"), "{logged}");
    ensure_without_person(&logged)?;
    std::fs::remove_file(log)?;
    world.end().await
}

/// A generic subscription names the type by its id.
#[tokio::test]
async fn erased_company_leaves_ids_and_dates_only() -> Result<()> {
    for kind in ["company.privacyDeletion", "object.privacyDeletion"] {
        let world = World::new("erased_company").await?;
        world.hubspot.world().seed(HUB, 2, 2, 1);
        let id = world.hubspot.world().ids(HUB, Object::COMPANIES)[0];
        let at = world.hubspot.world().now();
        world.hubspot.world().update(HUB, Object::COMPANIES, id, at, &[("name", PERSONAL[1]), ("domain", PERSONAL[0])]);
        world.run().await?;
        ensure!(ensure_without_person(&world.everything().await?).is_err(), "nothing is to be erased");
        let body = json!([{"portalId": HUB, "objectId": id, "objectTypeId": "0-2", "subscriptionType": kind}]);
        let mut connect = Bootstrap::start(Function::Connect, &world).await?;
        assert_eq!(webhook(&mut connect, &body.to_string()).await?, 204);
        ensure_without_person(&world.everything().await?)?;
        ensure_erased(&world, ObjectType::COMPANIES, id).await?;
        let after = actions(&world, ObjectType::COMPANIES, id).await?;
        ensure!(names(&after) == ["Company Created", "Company Deleted"], "{after:?}");
        world.end().await?;
    }
    Ok(())
}

/// What is stored of an account stays there while it is paused, disconnected or switched off.
#[tokio::test]
async fn contact_of_paused_or_disconnected_account_is_erased() -> Result<()> {
    for is_paused in [true, false] {
        let (world, id) = person("erased_idle").await?;
        world.run().await?;
        match is_paused {
            true => ensure!(world.store.pause(&world.account()?, true).await?),
            false => ensure!(world.store.disconnect(&world.account()?, DateTime::now()).await?),
        }
        erase(&world, "contact.privacyDeletion", id).await?;
        ensure_without_person(&world.everything().await?)?;
        ensure_erased(&world, ObjectType::CONTACTS, id).await?;
        world.end().await?;
    }
    Ok(())
}
