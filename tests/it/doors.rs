//! A history that is read by two doors: searches read a part of the ids, and lists the others, side by side.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, Result, ensure};
use harness::{
    gate::{Effect, Verdict, When},
    service::Service,
    world::{HUB, World},
};
use hubspot_sim::{FaultKind, IdOrder, ListForm, Object};
use mongodb::bson::doc;
use serde_json::Value;
use stack::proof::Proof;
use store::collection;

/// More than enough to be shared.
const CONTACTS: usize = 2_400;

/// An account with many contacts, and an hour of its own until the search index has surely caught up.
async fn large(name: &str) -> Result<World> {
    let mut world = World::new(name).await?;
    world.config.associations_every = None;
    world.hubspot.world().seed(HUB, 40, CONTACTS, 1);
    Ok(world)
}

/// The requests for lists of live records and of the recycle bin.
fn lists(world: &World) -> u64 {
    let requests = &world.hubspot.world().requests;
    requests.iter().filter(|(kind, _)| kind.starts_with("list ")).map(|(_, count)| count).sum()
}

/// Checks that nothing is missing, that each record was created once, and how often lists were read.
async fn prove(world: &World, least_lists: u64) -> Result<Proof> {
    let proof = world.proof().await?;
    let created = doc! { "object": "contacts", "actionName": "Contact Created" };
    let actions = world.store.database().collection::<mongodb::bson::Document>(collection::ACTIONS);
    let created = actions.count_documents(created).await?;
    ensure!(created >= CONTACTS as u64, "{created} were created");
    let lists = lists(world);
    ensure!(lists >= least_lists, "there were {lists} lists");
    Ok(proof)
}

/// Why lists are no longer read in the lane of contacts.
async fn closed(world: &World) -> Result<Option<String>> {
    let kept = world.checkpoint().await?.get_document("kept")?.get_document("contacts")?.clone();
    let lists = kept.get_document("lists").ok();
    Ok(lists.and_then(|lists| lists.get_str("closed").ok()).map(str::to_owned))
}

#[tokio::test]
async fn history_is_read_by_searches_and_lists_and_each_record_is_created_once() -> Result<()> {
    let mut world = large("doors").await?;
    world.config.sweep_every = None;
    world.run().await?;
    let proof = prove(&world, 8).await?;
    ensure!(proof.actions == CONTACTS + 40, "{} actions", proof.actions);
    let checkpoint = world.checkpoint().await?;
    let lane = checkpoint.get_document("lanes")?.get_document("contacts")?.get_document("backfilled")?.clone();
    ensure!(lane.get_i64("read")? == CONTACTS as i64 && lane.get_i64("total")? == CONTACTS as i64, "{lane}");
    ensure!(closed(&world).await?.is_none());
    // An hour later, the whole history is counted once more, and nothing is read again.
    let listed = lists(&world);
    for _ in 0..2 {
        world.run_on().await?;
    }
    ensure!(lists(&world) == listed && world.proof().await?.actions == proof.actions, "it was read again");
    let kept = world.checkpoint().await?.get_document("kept")?.get_document("contacts")?.clone();
    ensure!(kept.get_array("held")?.is_empty(), "{kept}");
    world.end().await
}

#[tokio::test]
async fn history_is_read_by_searches_alone_where_that_is_set() -> Result<()> {
    let mut world = large("doors_shut").await?;
    (world.config.search_only, world.config.sweep_every) = (true, None);
    world.run().await?;
    prove(&world, 0).await?;
    ensure!(lists(&world) == 0);
    world.end().await
}

/// Ticks with slices that are far too short for the history, with `between` after each.
async fn in_short_slices(world: &mut World, mut between: impl FnMut(&World, usize)) -> Result<usize> {
    world.config.budget = Duration::from_millis(1_500);
    world.hubspot.world().settings.latency_ms = 250;
    let (sync, mut message) = (world.sync().await?, world.tick());
    for slices in 1..200 {
        world.deliver(&sync, &message).await?;
        world.drain().await?;
        between(world, slices);
        match world.receive(&world.sync_queue).await?.pop() {
            Some(next) => message = serde_json::from_str::<Value>(&next)?,
            None => return Ok(slices),
        }
    }
    anyhow::bail!("it goes on for ever")
}

#[tokio::test]
async fn records_change_while_both_read() -> Result<()> {
    let mut world = large("doors_changes").await?;
    let ids = world.hubspot.world().ids(HUB, Object::CONTACTS);
    let slices = in_short_slices(&mut world, |world, slice| {
        let mut hubspot = world.hubspot.world();
        let now = hubspot.now();
        if slice > 6 {
            return;
        }
        // From both ends, and at the middle, where the two meet.
        for base in [0, CONTACTS / 2 - 300, CONTACTS - 400] {
            let id = |offset: usize| ids[base + 40 * slice + offset];
            hubspot.update(HUB, Object::CONTACTS, id(0), now, &[("jobtitle", "changed")]);
            hubspot.archive(HUB, Object::CONTACTS, id(1), now);
            hubspot.merge(HUB, Object::CONTACTS, (id(2), id(3)), now, slice % 2 == 0);
            hubspot.archive(HUB, Object::CONTACTS, id(4), now);
            hubspot.restore(HUB, Object::CONTACTS, id(4), now + 1);
        }
        hubspot.create(
            HUB,
            Object::CONTACTS,
            now,
            BTreeMap::from([("email".to_owned(), "new@firm.example".to_owned())]),
        );
    })
    .await?;
    ensure!(slices > 2, "{slices} slices");
    world.hubspot.world().settings.latency_ms = 0;
    world.config.budget = Duration::from_secs(5);
    world.run_until_proved().await?;
    ensure!(lists(&world) > 4 && closed(&world).await?.is_none(), "{:?}", closed(&world).await?);
    world.end().await
}

#[tokio::test]
async fn lists_that_cannot_be_right_are_left_to_searches() -> Result<()> {
    let refused = |status| FaultKind::Answer { status, body: None, retry_after: None };
    let garbled = FaultKind::Answer { status: 200, body: Some("{\"results\":7}".to_owned()), retry_after: None };
    let table: [(&str, ListForm, Option<FaultKind>, Option<&str>); 8] = [
        ("descending", ListForm::Descending, None, Some("order")),
        ("from_start", ListForm::FromStart, None, Some("order")),
        ("after_id", ListForm::AfterId, None, None),
        ("too_long", ListForm::FromId, Some(refused(414)), Some("414")),
        ("forbidden", ListForm::FromId, Some(refused(403)), Some("refuses")),
        ("garbled", ListForm::FromId, Some(garbled), Some("form")),
        ("failing", ListForm::FromId, Some(refused(500)), None),
        ("reset", ListForm::FromId, Some(FaultKind::Reset), None),
    ];
    for (name, form, fault, reason) in table {
        let world = large(&format!("doors_{name}")).await?;
        world.hubspot.world().settings.list_form = form;
        if let Some(fault) = fault {
            world.fault("/contacts?limit=", 1, fault);
        }
        world.run().await.context(name)?;
        let proof = prove(&world, 1).await.context(name)?;
        ensure!(proof.actions == CONTACTS + 40, "{name}: {} actions", proof.actions);
        let closed = closed(&world).await?;
        let is_right = match reason {
            Some(reason) => closed.as_ref().is_some_and(|closed| closed.contains(reason)),
            None => closed.is_none(),
        };
        ensure!(is_right, "{name}: {closed:?}");
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn records_that_lists_leave_out_are_missed_and_read_by_searches() -> Result<()> {
    for (name, form) in [("unlisted", ListForm::FromId), ("one_page", ListForm::OnePage)] {
        let world = large(&format!("doors_{name}")).await?;
        let last = world.hubspot.world().ids(HUB, Object::CONTACTS).pop().context("there are some")?;
        {
            let settings = &mut world.hubspot.world().settings;
            settings.list_form = form;
            settings.unlisted = if form == ListForm::FromId { vec![last] } else { vec![] };
        }
        world.run().await?;
        world.run_until_proved().await.context(name)?;
        let proof = prove(&world, 1).await?;
        ensure!(proof.actions == CONTACTS + 40, "{name}: {} actions", proof.actions);
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn ids_in_the_order_of_text_are_left_to_searches() -> Result<()> {
    let world = large("doors_text").await?;
    world.hubspot.world().settings.id_order = IdOrder::Lexical;
    world.run().await?;
    world.run_until_proved().await?;
    let proof = prove(&world, 0).await?;
    ensure!(proof.actions == CONTACTS + 40, "{} actions", proof.actions);
    world.end().await
}

/// Ids of one length are in the order of numbers and of text. In that of text, shorter ids come after them, and lists do not
/// have those there. Changes of rows that were read make the count too small to show it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_do_not_skip_shorter_ids_that_come_last_in_the_order_of_text() -> Result<()> {
    let mut service = Service::new(World::new("doors_shorter").await?, 1, 1).await?;
    let hubspot = service.world.hubspot.shared();
    let ids = {
        let mut hubspot = hubspot_sim::lock(&hubspot);
        hubspot.settings.id_order = IdOrder::Lexical;
        hubspot.seed(HUB, 0, 260, 1);
        hubspot.ids(HUB, Object::CONTACTS)
    };
    ensure!(ids.first() == Some(&95) && ids.last() == Some(&354), "the first page has ids of one length");
    service.sync[0].gate.set(move |effect: &Effect| {
        if effect.when == When::After && effect.name == "hubspot search contacts" {
            let mut hubspot = hubspot_sim::lock(&hubspot);
            hubspot.settings.clock_offset_ms += 2_000;
            let now = hubspot.now();
            for id in &ids[10..50] {
                hubspot.update(HUB, Object::CONTACTS, *id, now, &[("jobtitle", "changed")]);
            }
        }
        Verdict::Pass
    });
    service.tick();
    service.process_next().await?;
    service.sync[0].gate.set(|_| Verdict::Pass);
    service.finish().await?;
    Ok(())
}

/// What a search has after 99999 tells that it compares ids as numbers, or as text.
#[tokio::test]
async fn ids_of_one_length_are_read_by_both_unless_they_are_in_the_order_of_text() -> Result<()> {
    for (order, least_lists) in [(IdOrder::Numeric, 8), (IdOrder::Lexical, 0)] {
        let mut world = World::new("doors_length").await?;
        (world.config.associations_every, world.config.sweep_every) = (None, None);
        world.hubspot.world().settings.id_order = order;
        world.hubspot.world().continue_ids_at(100_000);
        world.hubspot.world().seed(HUB, 40, CONTACTS, 1);
        world.run().await?;
        let proof = prove(&world, least_lists).await?;
        ensure!(proof.actions == CONTACTS + 40, "{order:?}: {} actions", proof.actions);
        let closed = closed(&world).await?;
        ensure!(closed.is_some() == (order == IdOrder::Lexical), "{order:?}: {closed:?}");
        world.end().await?;
    }
    Ok(())
}

/// A text search has the longer ids among the shorter ones, a list after them.
#[tokio::test]
async fn longer_ids_are_not_skipped() -> Result<()> {
    for order in [IdOrder::Numeric, IdOrder::Lexical] {
        let world = World::new("doors_longer").await?;
        {
            let mut hubspot = world.hubspot.world();
            hubspot.settings.id_order = order;
            hubspot.continue_ids_at(100);
            hubspot.seed(HUB, 0, 400, 1);
            hubspot.continue_ids_at(9_010);
            hubspot.seed(HUB, 0, 400, 1);
        }
        world.run_until_proved().await?;
        world.end().await?;
    }
    Ok(())
}

#[tokio::test]
async fn records_that_hubspot_does_not_return_are_set_aside_also_with_lists() -> Result<()> {
    let world = large("doors_odd").await?;
    let ids = world.hubspot.world().ids(HUB, Object::CONTACTS);
    world.hubspot.world().settings.unanswerable = vec![ids[CONTACTS * 3 / 4], ids[CONTACTS - 1]];
    world.run_on().await?;
    let states =
        world.store.database().collection::<mongodb::bson::Document>("contacts").count_documents(doc! {}).await?;
    ensure!(states == CONTACTS as u64 - 2, "{states} arrived");
    world.hubspot.world().settings.unanswerable.clear();
    world.store.retry_set_aside().await?;
    world.run_until_proved().await?;
    world.end().await
}

#[tokio::test]
async fn history_of_a_custom_object_is_read_again_by_both_for_a_new_property() -> Result<()> {
    let world = World::new("doors_cars").await?;
    let cars: Object = "2-7654321".parse()?;
    world.choose(&[cars]).await?;
    world.hubspot.world().seed_objects(HUB, cars, 1_600, 1);
    world.run().await?;
    let proof = world.proof().await?;
    ensure!(proof.actions == 1_600, "{} actions", proof.actions);
    let before = lists(&world);
    ensure!(before > 4, "{before} lists");
    {
        let mut hubspot = world.hubspot.world();
        let (ids, at) = (hubspot.ids(HUB, cars), hubspot.now() - 3_600_000);
        for id in ids.into_iter().step_by(2) {
            hubspot.recalculate(HUB, cars, id, "margin", &at.to_string());
        }
    }
    world.change_entry("properties", doc! { "2-7654321": ["margin"] }.into()).await?;
    world.run().await?;
    let proof = world.run_until_proved().await?;
    ensure!(proof.chosen_properties == 800, "{} are filled in", proof.chosen_properties);
    ensure!(lists(&world) > before + 4);
    world.end().await
}
