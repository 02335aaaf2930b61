//! Object types besides companies and contacts: rows of the catalogue, and custom objects.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use harness::world::{HUB, World};
use hubspot_sim::{FaultKind, Object};
use model::{account::AccountKey, action::Action, choice::Choice, object::ObjectType};
use mongodb::bson::{Bson, Document, doc};
use serde_json::json;
use store::collection;

const DEALS: Object = Object::DEALS;

fn object(name: &str) -> Object {
    name.parse().unwrap_or_else(|_| panic!("{name} is an object type"))
}

/// One with merges, one without, one without a recycle bin, and a custom one.
fn objects() -> [Object; 4] {
    [DEALS, object("products"), Object::MEETINGS, object("2-7654321")]
}

async fn states(world: &World, object: Object) -> Result<Vec<Document>> {
    world.all(&ObjectType::parse(object.name())?.collection()).await
}

async fn actions(world: &World, object: Object) -> Result<Vec<Document>> {
    let mut actions = world.all(collection::ACTIONS).await?;
    actions.retain(|action| action.get_str("object").is_ok_and(|name| name == object.name()));
    Ok(actions)
}

fn names(actions: &[Document]) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for action in actions {
        *names.entry(action.get_str("actionName").unwrap_or_default().to_owned()).or_default() += 1;
    }
    names
}

#[tokio::test]
async fn rows_and_custom_objects_are_read_like_contacts() -> Result<()> {
    let world = World::new("objects").await?;
    let all = [&[Object::COMPANIES, Object::CONTACTS], &objects()[..]].concat();
    world.choose(&all).await?;
    world.hubspot.world().settings.without_recycle_bin = vec![Object::MEETINGS];
    world.hubspot.world().seed(HUB, 5, 20, 1);
    for object in objects() {
        world.hubspot.world().seed_objects(HUB, object, 130, 2);
    }
    world.run().await?;
    world.proof().await?;
    for object in objects() {
        let label = ObjectType::parse(object.name())?.label().to_owned();
        let stored = actions(&world, object).await?;
        ensure!(names(&stored) == BTreeMap::from([(format!("{label} Created"), 130)]), "{:?}", names(&stored));
        ensure!(states(&world, object).await?.len() == 130);
        {
            let mut hubspot = world.hubspot.world();
            let (ids, at) = (hubspot.ids(HUB, object), hubspot.now());
            hubspot.change_objects(HUB, object, 10, 3);
            hubspot.archive(HUB, object, ids[3], at);
            hubspot.merge(HUB, object, (ids[5], ids[6]), at, false);
        }
    }
    world.run().await?;
    let at = world.hubspot.world().now();
    let gone = actions(&world, DEALS).await?;
    let gone = gone.iter().find(|action| action.get_str("actionName").is_ok_and(|name| name == "Deal Deleted"));
    let gone = gone.context("a deal was deleted")?;
    ensure!(gone.get_document("properties").is_ok_and(|properties| properties.contains_key("dealname")), "{gone}");
    for object in objects() {
        let gone = world.hubspot.world().archived(HUB, object);
        world.hubspot.world().restore(HUB, object, gone[0], at);
    }
    world.run().await?;
    // What a type without a recycle bin has lost shows nowhere.
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn actions_and_states_have_hubspots_names_and_associations() -> Result<()> {
    let world = World::new("objects_form").await?;
    world.choose(&[DEALS, Object::COMPANIES, Object::CONTACTS]).await?;
    world.hubspot.world().seed(HUB, 2, 2, 1);
    let (id, company, contact) = {
        let mut hubspot = world.hubspot.world();
        let at = hubspot.now();
        let properties = [("dealname", "Boat"), ("amount", "1200"), ("secret_margin", "4")];
        let properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let id = hubspot.create(HUB, DEALS, at, properties);
        let (company, contact) = (hubspot.ids(HUB, Object::COMPANIES)[0], hubspot.ids(HUB, Object::CONTACTS)[0]);
        hubspot.link_records(HUB, (DEALS, id), (Object::COMPANIES, company), at);
        hubspot.link_records(HUB, (DEALS, id), (Object::CONTACTS, contact), at);
        (id, company, contact)
    };
    world.run().await?;
    let stored = actions(&world, DEALS).await?;
    let action = stored.first().context("the deal is stored")?;
    ensure!(action.get_str("actionName")? == "Deal Created" && action.get_bool("created")?, "{action}");
    ensure!(action.get_document("properties")? == &doc! { "dealname": "Boat", "amount": "1200" }, "{action}");
    ensure!(!action.contains_key("userProperties") && !action.contains_key("companyProperties"), "{action}");
    let state = states(&world, DEALS).await?.pop().context("its state is stored")?;
    ensure!(!state.contains_key("companyIds"), "{state}");
    world.prove_associations_of(DEALS, &[Object::COMPANIES, Object::CONTACTS]).await?;

    // The deal's own time does not move.
    let at = world.hubspot.world().now();
    ensure!(world.hubspot.world().unlink_records(HUB, (DEALS, id), (Object::CONTACTS, contact), at));
    world.associations_are_due().await?;
    world.run().await?;
    world.prove_associations_of(DEALS, &[Object::COMPANIES, Object::CONTACTS]).await?;
    let stored = actions(&world, DEALS).await?;
    let unlinked = stored.iter().find(|action| action.contains_key("associationsDigest")).context("it is published")?;
    ensure!(unlinked.get_str("actionName")? == "Deal Updated" && !unlinked.contains_key("created"), "{unlinked}");
    let to = unlinked.get_document("changes")?.get_document("associations")?.get_array("to")?;
    let to: Vec<&str> = to.iter().filter_map(|link| link.as_document()?.get_str("id").ok()).collect();
    ensure!(to == [company.to_string()], "{unlinked}");
    world.proof().await?;
    world.end().await
}

/// Reads deals of which each has a contact, while HubSpot rejects so many reads of their contacts, with this body. Returns
/// how many reads that were, and how many deals are stored with their contact. In the end all have theirs.
async fn read_rejected(times: u32, body: Option<&str>) -> Result<(u64, usize)> {
    let world = World::new("objects_rejected").await?;
    world.choose(&[DEALS, Object::CONTACTS]).await?;
    world.hubspot.world().seed(HUB, 0, 1, 1);
    world.hubspot.world().seed_objects(HUB, DEALS, 8, 1);
    {
        let mut hubspot = world.hubspot.world();
        let (at, contact) = (hubspot.now(), hubspot.ids(HUB, Object::CONTACTS)[0]);
        for id in hubspot.ids(HUB, DEALS) {
            hubspot.link_records(HUB, (DEALS, id), (Object::CONTACTS, contact), at);
        }
    }
    let body = body.map(str::to_owned);
    world.fault("/deals/contacts/", times, FaultKind::Answer { status: 400, body, retry_after: None });
    world.slice(&world.sync().await?, &world.tick()).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
    let rejected = world.requests("associations 400");
    world.drain().await?;
    let stored = states(&world, DEALS).await?;
    ensure!(stored.len() == 8 && world.all(collection::SET_ASIDE).await?.is_empty(), "{stored:?}");
    let linked = stored.iter().filter(|state| state.get_array("associations").is_ok_and(|links| !links.is_empty()));
    let linked = linked.count();
    world.hubspot.world().faults.clear();
    world.time_passes().await?;
    world.associations_are_due().await?;
    world.run_on().await?;
    world.prove_associations_of(DEALS, &[Object::CONTACTS]).await?;
    world.proof().await?;
    world.end().await?;
    Ok((rejected, linked))
}

/// HubSpot does not say how it answers for types that are never associated. What it answers once is no reason to let
/// associations go.
#[tokio::test]
async fn rejected_associations_are_gone_only_if_hubspot_rejects_them_again() -> Result<()> {
    let (rejected, linked) = read_rejected(u32::MAX, None).await?;
    ensure!(linked == 0 && rejected % 2 == 0, "{linked} deals have a contact after {rejected} rejections");
    let passing = u32::try_from(rejected)? / 2;
    let (rejected, linked) = read_rejected(passing, None).await?;
    ensure!((rejected, linked) == (passing.into(), 8), "{linked} deals have a contact after {rejected} rejections");
    let defined =
        r#"{"category":"VALIDATION_ERROR","message":"No association type exists between deals and contacts"}"#;
    ensure!(read_rejected(u32::MAX, Some(defined)).await? == (1, 0), "what HubSpot says is not heard");
    Ok(())
}

#[tokio::test]
async fn objects_chosen_later_are_read_from_their_beginning() -> Result<()> {
    let world = World::new("objects_later").await?;
    world.hubspot.world().seed(HUB, 5, 40, 1);
    world.run().await?;
    let before = world.all(collection::ACTIONS).await?.len();
    let custom = object("2-7654321");
    world.choose(&[Object::COMPANIES, Object::CONTACTS, DEALS, custom]).await?;
    for object in [DEALS, custom] {
        world.hubspot.world().seed_objects(HUB, object, 250, 2);
    }
    world.run().await?;
    ensure!(world.all(collection::ACTIONS).await?.len() == before + 500, "nothing else is published");
    world.proof().await?;

    // What is not chosen any more stops, and what is stored stays.
    world.choose(&[Object::COMPANIES, Object::CONTACTS, custom]).await?;
    let changed = world.hubspot.world().change_objects(HUB, custom, 10, 3);
    let searches = world.requests("search 200");
    world.hubspot.world().change_objects(HUB, DEALS, 10, 3);
    world.run().await?;
    ensure!(states(&world, DEALS).await?.len() == 250 && actions(&world, DEALS).await?.len() == 250);
    ensure!(actions(&world, custom).await?.len() == 250 + changed.created + changed.updated);
    ensure!(world.requests("search 200") > searches);

    // If it is chosen again, reading continues from the last checkpoint.
    world.choose(&[Object::COMPANIES, Object::CONTACTS, custom, DEALS]).await?;
    world.run().await?;
    world.proof().await?;
    world.end().await
}

#[tokio::test]
async fn properties_are_chosen_by_stack_and_by_account() -> Result<()> {
    let mut world = World::new("objects_properties").await?;
    world.config.choice = Choice::of_objects(&["deals".to_owned()])?.with_properties("deals:hs_priority,forecast")?;
    world.hubspot.world().grant_reading(HUB, DEALS);
    let create = |world: &World| {
        let mut hubspot = world.hubspot.world();
        let properties =
            ["dealname", "hs_priority", "forecast", "margin"].map(|name| (name.to_owned(), "1".to_owned()));
        let at = hubspot.now();
        hubspot.create(HUB, DEALS, at, properties.into())
    };
    let kept = async |world: &World, id: u64| -> Result<Vec<String>> {
        let states = states(world, DEALS).await?;
        let state = states
            .iter()
            .find(|state| state.get_str("recordId").is_ok_and(|record| record == id.to_string()))
            .context("stored")?;
        let mut names: Vec<String> = state.get_document("properties")?.keys().cloned().collect();
        names.sort();
        Ok(names)
    };
    let first = create(&world);
    world.run().await?;
    ensure!(kept(&world, first).await? == ["dealname", "forecast", "hs_priority"]);
    world.change_entry("properties", doc! { "deals": ["margin"], "cars": ["x"] }.into()).await?;
    let second = create(&world);
    world.run().await?;
    ensure!(kept(&world, second).await? == ["dealname", "margin"]);
    ensure!(kept(&world, first).await? == ["dealname", "margin"], "what was read before has it, too");
    ensure!(world.all("contacts").await?.is_empty(), "contacts are not chosen");
    world.end().await
}

/// The score is read whatever the account chooses, and a contact without one has none unless zero is asked for.
#[tokio::test]
async fn contact_score_is_the_number_of_the_property_that_is_named() -> Result<()> {
    for (score, without) in [("fit", None), ("fit:0", Some(0))] {
        let mut world = World::new("objects_score").await?;
        world.config.contact_score = score.parse()?;
        world.change_entry("properties", doc! { "contacts": ["city"] }.into()).await?;
        let ids = [("fit", "17"), ("hubspotscore", "3")].map(|(name, value)| {
            let mut hubspot = world.hubspot.world();
            let at = hubspot.now();
            hubspot.create(HUB, Object::CONTACTS, at, BTreeMap::from([(name.to_owned(), value.to_owned())]))
        });
        world.run().await?;
        for (id, expected) in ids.into_iter().zip([Some(17), without]) {
            let all = actions(&world, Object::CONTACTS).await?;
            let action = all.iter().find(|action| action.get_str("recordId").is_ok_and(|of| of == id.to_string()));
            let stored = action.context("it is stored")?.get_document("userProperties").ok();
            let stored = stored.and_then(|properties| properties.get_i64("contact_score").ok());
            ensure!(stored == expected, "{score}: {all:?}");
        }
        world.proof().await?;
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn object_without_access_delays_nothing_and_is_read_once_granted() -> Result<()> {
    for is_absent in [false, true] {
        let world = World::new("objects_closed").await?;
        let custom = object("2-7654321");
        let closed = if is_absent { custom } else { DEALS };
        let objects = ["companies", "contacts", closed.name()].map(Bson::from);
        world.change_entry("objects", objects.to_vec().into()).await?;
        world.hubspot.world().seed(HUB, 5, 40, 1);
        if is_absent {
            world.hubspot.world().grant_scopes(HUB, &["crm.objects.custom.read"]);
        } else {
            world.hubspot.world().seed_objects(HUB, closed, 30, 2);
        }
        world.run().await?;
        let checkpoint = world.checkpoint().await?;
        ensure!(checkpoint.get_datetime("lastSuccessAt").is_ok(), "the account is caught up: {checkpoint}");
        let lane = checkpoint.get_document("lanes")?.get_document(closed.name())?;
        let kind = if is_absent { "absent" } else { "forbidden" };
        ensure!(lane.get_document("lastError")?.get_str("kind")? == kind, "{lane}");
        ensure!(world.all("contacts").await?.len() == 40);
        ensure!(world.store.fresh_marks(&[world.account()?]).await?.len() == 1, "it is fresh");

        // It costs nothing until the hour is over.
        let refused = world.requests("search 403") + world.requests("search 400");
        world.run().await?;
        ensure!(world.requests("search 403") + world.requests("search 400") == refused);

        world.choose(&[Object::COMPANIES, Object::CONTACTS, closed]).await?;
        world.hubspot.world().expire_tokens(HUB);
        if is_absent {
            world.hubspot.world().seed_objects(HUB, closed, 30, 2);
        }
        world.time_passes().await?;
        world.run().await?;
        ensure!(states(&world, closed).await?.len() == 30, "{}", world.checkpoint().await?);
        world.end().await?;
    }
    Ok(())
}

/// Two workers store a record's first action, for example because a frozen slice goes on.
#[tokio::test]
async fn record_of_any_type_is_created_once() -> Result<()> {
    let world = World::new("objects_once").await?;
    let account = AccountKey::new("acme", HUB)?;
    for object in ["deals", "2-7654321"] {
        let label = ObjectType::parse(object)?.label().to_owned();
        let created = |at: &str| -> Result<Action> {
            Ok(serde_json::from_value(
                json!({"object": object, "recordId": "5", "actionName": format!("{label} Created"),
                "actionDate": at, "recordUpdatedAt": at, "includeInAnalytics": 0, "properties": {"name": at},
                "record": {"createdAt": "2025-01-01T00:00:00Z", "properties": {"name": at}}}),
            )?)
        };
        for at in ["2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", "2026-01-03T00:00:00Z"] {
            let report = world.store.store_actions(&[(&account, &created(at)?)]).await?;
            ensure!(report.failed.is_empty(), "{:?}", report.failed);
        }
        let mut stored = actions(&world, self::object(object)).await?;
        stored.sort_by_key(|action| action.get_datetime("recordUpdatedAt").copied().ok());
        let names: Vec<&str> = stored.iter().filter_map(|action| action.get_str("actionName").ok()).collect();
        ensure!(
            names == [format!("{label} Created"), format!("{label} Updated"), format!("{label} Updated")],
            "{names:?}"
        );
        ensure!(stored.iter().filter(|action| action.contains_key("created")).count() == 1);
    }
    world.end().await
}

/// The grant does not cover deals, or the portal has no associations between the two: notes are read all the same, with
/// their other associations.
#[tokio::test]
async fn association_without_access_hides_no_other() -> Result<()> {
    let notes = object("notes");
    for status in [403, 400] {
        let world = World::new("objects_pairs").await?;
        world.choose(&[Object::COMPANIES, Object::CONTACTS, DEALS, notes]).await?;
        world.hubspot.world().seed(HUB, 2, 3, 1);
        world.hubspot.world().seed_objects(HUB, notes, 130, 2);
        {
            let mut hubspot = world.hubspot.world();
            let (at, contact) = (hubspot.now(), hubspot.ids(HUB, Object::CONTACTS)[0]);
            for note in hubspot.ids(HUB, notes).into_iter().step_by(7) {
                ensure!(hubspot.link_records(HUB, (notes, note), (Object::CONTACTS, contact), at));
            }
        }
        world.fault("/notes/deals/", u32::MAX, FaultKind::Answer { status, body: None, retry_after: None });
        world.run().await?;
        world.proof().await?;
        world.prove_associations_of(notes, &[Object::COMPANIES, Object::CONTACTS]).await?;
        ensure!(world.all(collection::SET_ASIDE).await?.is_empty());
        world.end().await?;
    }
    Ok(())
}

/// No object type that is chosen can be read: the account is tried again, and goes on once access is granted.
#[tokio::test]
async fn account_without_access_to_anything_is_tried_again() -> Result<()> {
    let world = World::new("objects_nothing").await?;
    world.change_entry("objects", vec![Bson::from(DEALS.name())].into()).await?;
    world.hubspot.world().seed_objects(HUB, DEALS, 30, 2);
    world.run().await?;
    let refused = world.requests("search 403");
    ensure!(refused > 0 && states(&world, DEALS).await?.is_empty());
    world.run().await?;
    ensure!(world.requests("search 403") == refused, "it waits");
    world.hubspot.world().grant_reading(HUB, DEALS);
    world.time_passes().await?;
    world.run().await?;
    ensure!(states(&world, DEALS).await?.len() == 30, "{}", world.checkpoint().await?);
    world.proof().await?;
    world.end().await
}
