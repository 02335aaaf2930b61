//! The real bootstraps, killed (SIGKILL) before and after each of their effects in turn, with every message delivered
//! again; afterwards MongoDB equals the ledger.

pub(crate) mod points;

use anyhow::{Context as _, Result, ensure};
use harness::{
    bootstrap::Invoked,
    service::{Delivery, Message, Service},
    world::{HUB, World},
};
use hubspot_sim::Object;
use mongodb::bson::doc;
use stack::proof::Proof;

use self::points::{Point, at_each, deliver_all, deliver_until_killed, nearly_all_met};

fn one(messages: Vec<Message>) -> Vec<Delivery> {
    vec![Delivery { worker: 0, messages, again: false }]
}

/// Which object types an account has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Objects {
    /// 5 companies and 250 contacts.
    Default,
    /// 85 deals, products and cars each.
    Others,
    /// 5 companies and 1,300 contacts, which searches and lists read side by side.
    Many,
}

impl Objects {
    async fn seeded(self) -> Result<Service> {
        if self == Self::Default {
            return Service::seeded("crash_sync", 5, 250).await;
        }
        if self == Self::Many {
            return Service::seeded("crash_doors", 5, 1_300).await;
        }
        let service = Service::seeded("crash_objects", 0, 0).await?;
        let others = [Object::DEALS, "products".parse()?, "2-7654321".parse()?];
        service.world.choose(&others).await?;
        for object in others {
            service.world.hubspot.world().seed_objects(HUB, object, 85, 1);
        }
        Ok(service)
    }
}

/// What a whole run does, effect by effect.
async fn effects_of_sync(objects: Objects) -> Result<Vec<String>> {
    let mut service = objects.seeded().await?;
    service.tick();
    deliver_all(&mut service).await?;
    let effects = service.sync[0].gate.effects();
    service.finish().await?;
    service.world.end().await?;
    Ok(effects)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_killed_at_any_effect_loses_nothing_and_stores_nothing_twice() -> Result<()> {
    let effects = effects_of_sync(Objects::Default).await?;
    for name in [
        "mongodb findAndModify checkpoints",
        "hubspot token",
        "hubspot search contacts",
        "hubspot associations",
        "sqs SendMessage actions",
        "mongodb update seen",
        "mongodb update checkpoints",
        "mongodb update domains",
    ] {
        ensure!(effects.iter().any(|effect| effect == name), "{name} is not among {effects:?}");
    }
    nearly_all_met(&at_each(&effects, |point| kill_sync(Objects::Default, point)).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_of_any_objects_killed_at_any_effect_loses_nothing_and_stores_nothing_twice() -> Result<()> {
    let effects = effects_of_sync(Objects::Others).await?;
    for name in ["hubspot search deals", "hubspot search products", "hubspot search 2-7654321", "hubspot associations"]
    {
        ensure!(effects.iter().any(|effect| effect == name), "{name} is not among {effects:?}");
    }
    nearly_all_met(&at_each(&effects, |point| kill_sync(Objects::Others, point)).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_of_many_records_killed_at_any_effect_loses_nothing_and_stores_nothing_twice() -> Result<()> {
    let effects = effects_of_sync(Objects::Many).await?;
    let lists = effects.iter().filter(|effect| *effect == "hubspot list contacts").count();
    ensure!(lists > 3, "there were {lists} lists: {effects:?}");
    nearly_all_met(&at_each(&effects, |point| kill_sync(Objects::Many, point)).await?)
}

/// Kills sync at one effect of its first run, and delivers the message again, twice. Tells whether it came to that.
async fn kill_sync(objects: Objects, point: Point) -> Result<bool> {
    let mut service = objects.seeded().await?;
    service.tick();
    point.kill(&service.sync[0].gate);
    let tick = service.sync_messages.clone();
    let died = deliver_until_killed(&mut service).await?;
    // SQS delivers it again when its visibility timeout is over, and a copy of it later.
    service.sync_messages.extend(tick);
    service.world.time_passes().await?;
    let proof = service.finish().await?;
    let records = if objects == Objects::Many { 1_305 } else { 255 };
    ensure!(proof.actions == records, "{} actions were stored", proof.actions);
    service.world.end().await?;
    Ok(died)
}

/// A service both of whose lanes HubSpot is about to tell to wait.
async fn told_to_wait() -> Result<Service> {
    let mut service = Service::seeded("crash_chain", 5, 250).await?;
    let moving = hubspot_sim::FaultKind::Answer { status: 477, body: None, retry_after: Some(2) };
    service.world.fault("/search", 2, moving);
    service.tick();
    Ok(service)
}

/// The continuation is what keeps a long backfill alive: the write that says it is due, its sending, and the write that
/// says it was sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_killed_around_continuation_continues_its_run() -> Result<()> {
    let mut first = told_to_wait().await?;
    first.process_next().await?;
    let effects = first.sync[0].gate.effects();
    let sending = effects.iter().position(|effect| effect == "sqs SendMessage sync");
    let sending = sending.with_context(|| format!("there was no continuation: {effects:?}"))?;
    first.world.end().await?;
    for point in &Point::of(&effects)[2 * (sending - 1)..2 * (sending + 2)] {
        let what = || format!("killed {point}");
        let mut service = told_to_wait().await?;
        point.kill(&service.sync[0].gate);
        let tick = service.sync_messages.clone();
        ensure!(service.deliver_next().await? == Invoked::Died, "{}: it lives", what());
        service.sync_messages.extend(tick);
        service.world.time_passes().await?;
        let proof = service.finish().await.with_context(what)?;
        ensure!(proof.actions == 255);
        service.world.end().await?;
    }
    Ok(())
}

/// A service whose account is caught up, and in which records were then deleted, restored and merged.
async fn some_are_gone() -> Result<Service> {
    let mut service = Service::seeded("crash_gone", 5, 60).await?;
    service.tick();
    deliver_all(&mut service).await?;
    {
        let mut hubspot = service.world.hubspot.world();
        for object in [Object::COMPANIES, Object::CONTACTS] {
            let (ids, at) = (hubspot.ids(HUB, object), hubspot.now());
            ensure!(hubspot.archive(HUB, object, ids[0], at) && hubspot.archive(HUB, object, ids[1], at));
            ensure!(hubspot.restore(HUB, object, ids[1], at + 1));
            ensure!(hubspot.merge(HUB, object, (ids[2], ids[3]), at, object == Object::CONTACTS).is_some());
        }
    }
    service.sync[0].gate.open();
    service.tick();
    Ok(service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_killed_while_publishing_deletions_and_merges_publishes_them_once() -> Result<()> {
    let mut first = some_are_gone().await?;
    deliver_all(&mut first).await?;
    let effects = first.sync[0].gate.effects();
    let actions = first.finish().await?.actions;
    first.world.end().await?;
    ensure!(effects.iter().any(|effect| effect.starts_with("hubspot list")), "{effects:?}");
    let killed = at_each(&effects, async |point| {
        let (died, told) = kill_sync_while_it_tells(point).await?;
        // The survivor's change may be published with the merge, or by itself.
        ensure!((actions..=actions + 1).contains(&told), "{told} actions");
        Ok(died)
    });
    nearly_all_met(&killed.await?)
}

/// Kills sync at one effect of the slice that tells what is gone, and delivers the message again. Tells whether it came
/// to that, and how many actions there are.
async fn kill_sync_while_it_tells(point: Point) -> Result<(bool, usize)> {
    let mut service = some_are_gone().await?;
    point.kill(&service.sync[0].gate);
    let tick = service.sync_messages.clone();
    let died = deliver_until_killed(&mut service).await?;
    // Meanwhile the survivor of a merge is modified: what is published again is still the same.
    {
        let mut hubspot = service.world.hubspot.world();
        let (ids, at) = (hubspot.ids(HUB, Object::CONTACTS), hubspot.now());
        let survivor = ids.last().copied().unwrap_or_default();
        hubspot.update(HUB, Object::CONTACTS, survivor, at, &[("jobtitle", "CTO")]);
    }
    service.sync_messages.extend(tick);
    service.world.time_passes().await?;
    let actions = service.finish().await?.actions;
    service.world.end().await?;
    Ok((died, actions))
}

/// Kills sync before and after each of the effects of a service that `begin` begins, and delivers the message again. Each
/// time, as many actions as without that are stored of those that `counted` counts, of which there are at least thirty.
async fn kill_sync_at_each<F: Future<Output = Result<Service>>>(
    begin: impl Fn() -> F,
    counted: impl Fn(&Proof) -> usize,
) -> Result<()> {
    let mut first = begin().await?;
    deliver_all(&mut first).await?;
    let effects = first.sync[0].gate.effects();
    let expected = counted(&first.finish().await?);
    first.world.end().await?;
    ensure!(expected >= 30, "{expected} actions in {effects:?}");
    let killed = at_each(&effects, async |point| {
        let mut service = begin().await?;
        point.kill(&service.sync[0].gate);
        let tick = service.sync_messages.clone();
        let died = deliver_until_killed(&mut service).await?;
        service.sync_messages.extend(tick);
        service.world.time_passes().await?;
        let published = counted(&service.finish().await?);
        ensure!(published == expected, "{published} of {expected} actions");
        service.world.end().await?;
        Ok(died)
    });
    nearly_all_met(&killed.await?)
}

/// A service whose account is caught up, and in which contacts' companies then changed. A comparison of all is due.
async fn some_are_associated_anew() -> Result<Service> {
    let mut service = Service::seeded("crash_linked", 5, 60).await?;
    service.tick();
    deliver_all(&mut service).await?;
    {
        let mut hubspot = service.world.hubspot.world();
        let (companies, contacts) = (hubspot.ids(HUB, Object::COMPANIES), hubspot.ids(HUB, Object::CONTACTS));
        let at = hubspot.now();
        ensure!(hubspot.archive(HUB, Object::COMPANIES, companies[0], at));
        for contact in &contacts[10..40] {
            hubspot.associate(HUB, *contact, vec![companies[4], companies[2]]);
        }
    }
    service.world.associations_are_due().await?;
    service.sync[0].gate.open();
    service.tick();
    Ok(service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_killed_while_publishing_associations_publishes_each_change_once() -> Result<()> {
    kill_sync_at_each(some_are_associated_anew, |proof| proof.associations).await
}

/// A service whose account is caught up, and of which a property was then chosen that every second record has.
async fn one_is_chosen_later() -> Result<Service> {
    let mut service = Service::seeded("crash_chosen", 5, 120).await?;
    for object in [Object::COMPANIES, Object::CONTACTS] {
        let mut hubspot = service.world.hubspot.world();
        let at = hubspot.now() - 60_000;
        for id in hubspot.ids(HUB, object).into_iter().step_by(2) {
            hubspot.update(HUB, object, id, at, &[("city", "Turku")]);
        }
    }
    service.tick();
    deliver_all(&mut service).await?;
    let properties = doc! { "companies": ["city"], "contacts": ["city"] };
    service.world.change_entry("properties", properties.into()).await?;
    service.sync[0].gate.open();
    service.tick();
    Ok(service)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_killed_while_filling_in_property_publishes_each_record_once() -> Result<()> {
    kill_sync_at_each(one_is_chosen_later, |proof| proof.chosen_properties).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_killed_at_any_effect_stores_every_action_once() -> Result<()> {
    let mut first = queued().await?;
    let messages = std::mem::take(&mut first.actions_messages);
    ensure!(first.deliver_actions(one(messages)).await?.iter().all(Invoked::is_success));
    let effects = first.actions[0].gate.effects();
    first.finish().await?;
    first.world.end().await?;
    for name in [
        "mongodb find contacts",
        "mongodb insert contacts",
        "mongodb update contacts",
        "mongodb insert actions",
        "mongodb update actions",
    ] {
        ensure!(effects.iter().any(|effect| effect == name), "{name} is not among {effects:?}");
    }
    let killed = at_each(&effects, kill_actions).await?;
    ensure!(killed.iter().all(|killed| *killed), "a point was not met");
    println!("actions was killed at {} points", killed.len());
    Ok(())
}

/// A service whose sync is done, with a second change of some records behind it. Some records are stored already, and
/// come again; others are not yet.
async fn queued() -> Result<Service> {
    let world = World::new("crash_actions").await?;
    world.hubspot.world().seed(HUB, 5, 250, 1);
    let mut service = Service::new(world, 1, 3).await?;
    service.tick();
    deliver_all(&mut service).await?;
    let created = service.actions_messages.clone();
    let some = created[..created.len() / 2].to_vec();
    service.actions_messages.clear();
    service.deliver_actions(vec![Delivery { worker: 1, messages: some, again: false }]).await?;
    service.actions_messages = created;
    service.world.hubspot.world().make_changes(HUB, 60, 2);
    service.tick();
    deliver_all(&mut service).await?;
    // The changes before the creations.
    service.actions_messages.reverse();
    Ok(service)
}

/// Kills actions at one effect, and delivers the messages again, to three workers at once.
async fn kill_actions(point: Point) -> Result<bool> {
    let mut service = queued().await?;
    let messages = std::mem::take(&mut service.actions_messages);
    // A drain does one thing after the other.
    service.actions[0].gate.kill_at_number(point.number, point.when);
    let died = service.deliver_actions(one(messages.clone())).await? == [Invoked::Died];
    service.actions_messages.clear();
    let again = |worker| Delivery { worker, messages: messages.clone(), again: false };
    service.deliver_actions((0..3).map(again).collect()).await?;
    service.finish().await?;
    service.world.end().await?;
    Ok(died)
}
