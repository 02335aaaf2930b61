//! The drain against a real MongoDB.

use anyhow::{Context as _, Result, bail, ensure};
use hubspot_sim::Object;
use model::object::ObjectType;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};
use store::collection;

use harness::{
    rows::{ROWS, label_of},
    world::{World, assert_accepted},
};

fn change(name: &str, at: &str, title: &str) -> Value {
    json!({"object": "contacts", "recordId": "151", "actionName": name, "actionDate": at, "recordUpdatedAt": at,
        "includeInAnalytics": 0, "identity": "ana@firm.example", "userProperties": {"contact_title": title, "contact_score": 0},
        "record": {"createdAt": "2026-01-01T00:00:00Z", "properties": {"jobtitle": title, "note": "$costs.5"}, "companyIds": ["51"]}})
}

/// The same action of a record of another object type.
fn of(object: Object, mut action: Value) -> Result<Value> {
    let name = action["actionName"].as_str().context("an action has a name")?;
    let name = name.replace("Contact", &label_of(object)?);
    (action["actionName"], action["object"]) = (name.into(), object.name().into());
    Ok(action)
}

fn message(actions: &[Value]) -> String {
    json!({"type": "actions.v1", "domainId": "acme", "hubId": "7000001", "actions": actions}).to_string()
}

#[tokio::test]
async fn redelivered_action_is_stored_once() -> Result<()> {
    let world = World::new("again").await?;
    let batch = message(&[change("Contact Created", "2026-01-01T00:00:00Z", "CTO")]);
    assert_accepted(world.store(&[batch.clone(), batch.clone()]).await)?;
    let first = world.all(collection::ACTIONS).await?;
    futures::future::join_all((0..4).map(|_| world.store(std::slice::from_ref(&batch))))
        .await
        .into_iter()
        .try_for_each(assert_accepted)?;
    assert_eq!(world.all(collection::ACTIONS).await?, first);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].get_str("_id")?, "acme:7000001:contacts:151:1767225600000");
    Ok(())
}

#[tokio::test]
async fn state_keeps_newest_change_when_older_action_arrives_later() -> Result<()> {
    let world = World::new("state").await?;
    for object in ROWS {
        for (at, title) in [("2026-01-03T00:00:00Z", "CEO"), ("2026-01-02T00:00:00Z", "CTO")] {
            let updated = of(object, change("Contact Updated", at, title))?;
            assert_accepted(world.store(&[message(&[updated])]).await)?;
        }
        let states = world.states_of(object).await?;
        assert_eq!(states.len(), 1, "{object:?}");
        assert_eq!(states[0].get_document("properties")?, &doc! { "jobtitle": "CEO", "note": "$costs.5" });
        assert_eq!(states[0].get_datetime("updatedAt")?.try_to_rfc3339_string()?, "2026-01-03T00:00:00Z");
    }
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 2 * ROWS.len());
    Ok(())
}

#[tokio::test]
async fn earliest_of_several_created_actions_stays_created_and_others_become_updated() -> Result<()> {
    let world = World::new("created").await?;
    for at in ["2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"] {
        assert_accepted(world.store(&[message(&[change("Contact Created", at, "CTO")])]).await)?;
    }
    let mut stored = Vec::new();
    for action in world.all(collection::ACTIONS).await? {
        stored.push((
            action.get_datetime("recordUpdatedAt")?.try_to_rfc3339_string()?,
            action.get_str("actionName")?.to_owned(),
        ));
    }
    let expected =
        [("2026-01-01", "Contact Created"), ("2026-01-02", "Contact Updated"), ("2026-01-03", "Contact Updated")];
    assert_eq!(stored, expected.map(|(day, name)| (format!("{day}T00:00:00Z"), name.to_owned())));
    Ok(())
}

/// A contact's change with a job title and companies of its own.
fn moved(at: &str, title: &str, companies: &[&str]) -> Value {
    let mut change = change("Contact Updated", at, title);
    change["record"]["companyIds"] = json!(companies);
    change
}

async fn changes(world: &World) -> Result<Vec<Option<Document>>> {
    let actions = world.all(collection::ACTIONS).await?;
    Ok(actions.iter().map(|action| action.get_document("changes").ok().cloned()).collect())
}

const DAYS: [&str; 4] =
    ["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z", "2026-01-04T00:00:00Z"];

#[tokio::test]
async fn updated_action_lists_its_changes_also_when_redelivered() -> Result<()> {
    let world = World::new("changes").await?;
    assert_accepted(world.store(&[message(&[change("Contact Created", DAYS[0], "CTO")])]).await)?;
    // Two changes of one record in one batch, the newer one first.
    let both = message(&[moved(DAYS[2], "CEO", &["52", "51"]), moved(DAYS[1], "COO", &["51"])]);
    assert_accepted(world.store(std::slice::from_ref(&both)).await)?;
    assert_accepted(world.store(&[message(&[moved(DAYS[3], "", &[])])]).await)?;
    let expected = [
        None,
        Some(doc! { "jobtitle": { "from": "CTO", "to": "COO" } }),
        Some(doc! { "jobtitle": { "from": "COO", "to": "CEO" }, "companyIds": { "from": ["51"], "to": ["52", "51"] } }),
        Some(doc! { "jobtitle": { "from": "CEO", "to": "" }, "companyIds": { "from": ["52", "51"] } }),
    ];
    assert_eq!(changes(&world).await?, expected);
    // An action that got lost behind its state, and comes again when the state has moved on, still knows its changes.
    let actions = world.store.database().collection::<Document>(collection::ACTIONS);
    actions
        .delete_many(doc! { "recordUpdatedAt": { "$gt": mongodb::bson::DateTime::parse_rfc3339_str(DAYS[0])? } })
        .await?;
    assert_accepted(world.store(&[both, message(&[moved(DAYS[3], "", &[])])]).await)?;
    assert_eq!(changes(&world).await?, expected);
    Ok(())
}

#[tokio::test]
async fn action_older_than_state_is_stored_without_changes() -> Result<()> {
    let world = World::new("late").await?;
    for (at, title) in [(DAYS[0], "CTO"), (DAYS[2], "CEO"), (DAYS[1], "COO")] {
        assert_accepted(world.store(&[message(&[moved(at, title, &["51"])])]).await)?;
    }
    let expected = [None, None, Some(doc! { "jobtitle": { "from": "CTO", "to": "CEO" } })];
    assert_eq!(changes(&world).await?, expected);
    Ok(())
}

#[tokio::test]
async fn concurrent_drains_store_an_unbroken_chain_of_changes() -> Result<()> {
    let world = World::new("race").await?;
    let at = |second: usize| format!("2026-01-01T00:00:{second:02}Z");
    assert_accepted(world.store(&[message(&[moved(&at(0), "0", &["51"])])]).await)?;
    // Three workers at once, each with the same messages in an order of its own.
    let messages: Vec<String> =
        (1..30).map(|second| message(&[moved(&at(second), &second.to_string(), &["51"])])).collect();
    let (mut backwards, mut turned) = (messages.clone(), messages.clone());
    backwards.reverse();
    turned.rotate_left(13);
    let worker = async |messages: &[String]| {
        for batch in messages.chunks(5) {
            assert_accepted(world.store(batch).await)?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(worker(&messages), worker(&backwards), worker(&turned))?;
    // Each says what it changed against the state that it replaced: from one to the next, without a gap or a fork.
    let mut title = "0".to_owned();
    for (second, changed) in changes(&world).await?.iter().enumerate().skip(1) {
        let Some(changed) = changed else { continue };
        let changed = changed.get_document("jobtitle")?;
        assert_eq!(changed.get_str("from")?, title);
        second.to_string().clone_into(&mut title);
        assert_eq!(changed.get_str("to")?, title);
    }
    assert_eq!(title, "29");
    let states = world.all("contacts").await?;
    assert_eq!(states[0].get_document("properties")?.get_str("jobtitle")?, "29");
    Ok(())
}

#[tokio::test]
async fn malformed_message_fails_alone() -> Result<()> {
    let world = World::new("malformed").await?;
    let good = message(&[change("Contact Created", "2026-01-01T00:00:00Z", "CTO")]);
    let unknown = json!({"type": "actions.v9", "actions": []}).to_string();
    let response =
        world.store(&[good, "{".to_owned(), unknown]).await.map_err(|error| anyhow::anyhow!(error.error_message))?;
    let failed: Vec<&str> =
        response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
    assert_eq!(failed, ["m1", "m2"]);
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 1);
    assert!(world.store(&["{".to_owned()]).await.is_err(), "a batch that fails whole is an error");
    Ok(())
}

#[tokio::test]
async fn unreadable_state_fails_only_the_message_of_its_record() -> Result<()> {
    let world = World::new("unreadable").await?;
    for object in ROWS {
        let created = of(object, change("Contact Created", DAYS[0], "CTO"))?;
        assert_accepted(world.store(&[message(std::slice::from_ref(&created))]).await)?;
        let states = world.store.database().collection::<Document>(&ObjectType::parse(object.name())?.collection());
        states.update_one(doc! {}, doc! { "$set": { "updatedAt": "yesterday" } }).await?;
        let mut other = created;
        other["recordId"] = json!("152");
        let updated = of(object, change("Contact Updated", DAYS[1], "CEO"))?;
        let response = world.store(&[message(&[updated]), message(&[other])]).await;
        let response = response.map_err(|error| anyhow::anyhow!(error.error_message))?;
        let failed: Vec<&str> =
            response.batch_item_failures.iter().map(|failure| failure.item_identifier.as_str()).collect();
        assert_eq!(failed, ["m0"], "{object:?}");
    }
    assert_eq!(world.all(collection::ACTIONS).await?.len(), 2 * ROWS.len());
    Ok(())
}

#[tokio::test]
async fn drain_acknowledges_nothing_while_mongodb_is_unreachable() -> Result<()> {
    let mut world = World::new("away").await?;
    world.config.mongo.uri = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200".into();
    let batch = message(&[change("Contact Created", "2026-01-01T00:00:00Z", "CTO")]);
    let error = world.store(&[batch]).await.err().map(|error| error.error_type);
    assert_eq!(error.as_deref(), Some("StoreFailed"));
    Ok(())
}

fn deleted(at: &str, merged_into: Option<&str>) -> Value {
    json!({"object": "contacts", "recordId": "151", "actionName": "Contact Deleted", "actionDate": at,
        "recordUpdatedAt": at, "includeInAnalytics": 0, "mergedInto": merged_into})
}

fn orders(items: &[Value]) -> Vec<Vec<Value>> {
    if items.is_empty() {
        return vec![Vec::new()];
    }
    let begin_with = |index: usize| {
        let mut rest = items.to_vec();
        let first = rest.remove(index);
        orders(&rest).into_iter().map(move |rest| [vec![first.clone()], rest].concat())
    };
    (0..items.len()).flat_map(begin_with).collect()
}

#[tokio::test]
async fn deletion_restoration_and_merge_end_in_same_state_in_any_order() -> Result<()> {
    let (created, updated) = (change("Contact Created", DAYS[0], "CTO"), moved(DAYS[1], "COO", &["52"]));
    let restored = moved(DAYS[3], "CEO", &["53"]);
    let gone = deleted(DAYS[2], None);
    // What happens, the job title that is known last, since when the record is gone, and what it was merged into.
    let stories = [
        (vec![created.clone(), updated.clone(), gone.clone()], "COO", Some(DAYS[2]), None),
        (vec![created.clone(), updated.clone(), gone.clone(), restored], "CEO", None, None),
        (vec![created.clone(), updated.clone(), deleted(DAYS[2], Some("9"))], "COO", Some(DAYS[2]), Some("9")),
        // A deletion that turns out to be a merge.
        (vec![created, updated, gone, deleted(DAYS[2], Some("9"))], "COO", Some(DAYS[2]), Some("9")),
    ];
    let world = World::new("orders").await?;
    for (story, title, gone, into) in stories {
        for order in orders(&story) {
            // The same happens to a record of each kind.
            let each =
                |action: &Value| ROWS.into_iter().map(|object| of(object, action.clone())).collect::<Result<_>>();
            let steps: Vec<Vec<Value>> = order.iter().map(each).collect::<Result<_>>()?;
            let apart: Vec<String> = steps.iter().map(|step| message(step)).collect();
            let together = message(&steps.concat());
            for batches in [apart.iter().map(std::slice::from_ref).collect::<Vec<_>>(), vec![&[together][..]]] {
                for batch in batches {
                    assert_accepted(world.store(batch).await)?;
                }
                let times: std::collections::HashSet<&str> =
                    order.iter().filter_map(|action| action["recordUpdatedAt"].as_str()).collect();
                assert_eq!(world.all(collection::ACTIONS).await?.len(), ROWS.len() * times.len(), "{order:?}");
                for object in ROWS {
                    ensure_state(&world, object, (title, gone, into)).await.with_context(|| format!("{order:?}"))?;
                    let states = ObjectType::parse(object.name())?.collection();
                    world.store.database().collection::<Document>(&states).delete_many(doc! {}).await?;
                }
                world.store.database().collection::<Document>(collection::ACTIONS).delete_many(doc! {}).await?;
            }
        }
    }
    world.end().await
}

/// Checks the one state of an object type: its title, since when it is gone, and what it was merged into.
async fn ensure_state(
    world: &World,
    object: Object,
    (title, gone, into): (&str, Option<&str>, Option<&str>),
) -> Result<()> {
    let states = world.states_of(object).await?;
    let [state] = states.as_slice() else { bail!("{} states of {object:?}", states.len()) };
    let time = state.get_datetime("deletedAt").ok().map(|time| time.try_to_rfc3339_string()).transpose()?;
    let is_expected = state.get_document("properties")?.get_str("jobtitle")? == title
        && (time.as_deref(), state.get_str("mergedInto").ok()) == (gone, into);
    ensure!(is_expected, "{object:?}: {state}");
    Ok(())
}
