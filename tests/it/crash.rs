//! The real bootstraps, killed (SIGKILL) before and after each of their effects in turn, with every message delivered
//! again; afterwards MongoDB equals the ledger.

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use harness::{
    bootstrap::Invoked,
    extent::{Extent, side_by_side},
    gate::When,
    service::{Delivery, Message, Service},
    world::{HUB, World},
};
use hubspot_sim::Object;

/// How many of the points a sample has.
const SAMPLE: usize = 12;

fn one(messages: Vec<Message>) -> Vec<Delivery> {
    vec![Delivery { worker: 0, messages, again: false }]
}

/// Tries `kill` before and after each of the effects, or at some of these points, and gives for each whether it came to
/// that.
pub(crate) async fn at_each<F: Future<Output = Result<bool>>>(
    effects: &[String],
    kill: impl Fn(usize, When) -> F,
) -> Result<Vec<bool>> {
    let points = (0..effects.len()).flat_map(|number| [(number, When::Before), (number, When::After)]).collect();
    let points = Extent::of_this_run().some_of(points, SAMPLE);
    let names: Vec<_> =
        points.iter().map(|(number, when)| format!("{when:?} {number}, {}", effects[*number])).collect();
    println!("killed at {} points: {}", names.len(), names.join("; "));
    let tried = stream::iter(points).map(|(number, when)| {
        let tried = kill(number, when);
        async move { tried.await.with_context(|| format!("killed {when:?} effect {number}, {}", effects[number])) }
    });
    tried.buffer_unordered(side_by_side()?).try_collect().await
}

/// Lanes run side by side, so that the last effects may come in another number; nearly all points are met.
pub(crate) fn nearly_all_met(killed: &[bool]) -> Result<()> {
    let met = killed.iter().filter(|killed| **killed).count();
    ensure!(killed.len() - met <= (killed.len() / 10).max(3), "only {met} of {} points were met", killed.len());
    println!("sync was killed at {met} points");
    Ok(())
}

/// Which object types an account has.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Objects {
    /// 5 companies and 250 contacts.
    Default,
    /// 85 deals, products and cars each.
    Others,
}

impl Objects {
    async fn seeded(self) -> Result<Service> {
        if self == Self::Default {
            return Service::seeded("crash_sync", 5, 250).await;
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
    service.process_next().await?;
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
    nearly_all_met(&at_each(&effects, |number, when| kill_sync(Objects::Default, number, when)).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_of_any_objects_killed_at_any_effect_loses_nothing_and_stores_nothing_twice() -> Result<()> {
    let effects = effects_of_sync(Objects::Others).await?;
    for name in ["hubspot search deals", "hubspot search products", "hubspot search 2-7654321", "hubspot associations"]
    {
        ensure!(effects.iter().any(|effect| effect == name), "{name} is not among {effects:?}");
    }
    nearly_all_met(&at_each(&effects, |number, when| kill_sync(Objects::Others, number, when)).await?)
}

/// Kills sync at one effect of its first slice, and delivers the message again, twice. Tells whether it came to that.
async fn kill_sync(objects: Objects, number: usize, when: When) -> Result<bool> {
    let mut service = objects.seeded().await?;
    service.tick();
    service.sync[0].gate.kill_at(number, when);
    let tick = service.sync_messages.clone();
    let died = service.deliver_next().await? == Invoked::Died;
    // SQS delivers it again when its visibility timeout is over, and a copy of it later.
    service.sync_messages.extend(tick);
    service.world.time_passes().await?;
    let proof = service.finish().await?;
    ensure!(proof.actions == 255, "{} actions were stored", proof.actions);
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
    for number in [sending - 1, sending, sending + 1] {
        for when in [When::Before, When::After] {
            let what = || format!("killed {when:?} effect {number}, {}", effects[number]);
            let mut service = told_to_wait().await?;
            service.sync[0].gate.kill_at(number, when);
            let tick = service.sync_messages.clone();
            ensure!(service.deliver_next().await? == Invoked::Died, "{}: it lives", what());
            service.sync_messages.extend(tick);
            service.world.time_passes().await?;
            let proof = service.finish().await.with_context(what)?;
            ensure!(proof.actions == 255);
            service.world.end().await?;
        }
    }
    Ok(())
}

/// A service whose account is caught up, and in which records were then deleted, restored and merged.
async fn some_are_gone() -> Result<Service> {
    let mut service = Service::seeded("crash_gone", 5, 60).await?;
    service.tick();
    service.process_next().await?;
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
    first.process_next().await?;
    let effects = first.sync[0].gate.effects();
    let actions = first.finish().await?.actions;
    first.world.end().await?;
    ensure!(effects.iter().any(|effect| effect.starts_with("hubspot list")), "{effects:?}");
    let killed = at_each(&effects, async |number, when| {
        let (died, told) = kill_sync_while_it_tells(number, when).await?;
        // The survivor's change may be published with the merge, or by itself.
        ensure!((actions..=actions + 1).contains(&told), "{told} actions");
        Ok(died)
    });
    nearly_all_met(&killed.await?)
}

/// Kills sync at one effect of the slice that tells what is gone, and delivers the message again. Tells whether it came
/// to that, and how many actions there are.
async fn kill_sync_while_it_tells(number: usize, when: When) -> Result<(bool, usize)> {
    let mut service = some_are_gone().await?;
    service.sync[0].gate.kill_at(number, when);
    let tick = service.sync_messages.clone();
    let died = service.deliver_next().await? == Invoked::Died;
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

/// A service whose account is caught up, and in which contacts' companies then changed. A comparison of all is due.
async fn some_are_associated_anew() -> Result<Service> {
    let mut service = Service::seeded("crash_linked", 5, 60).await?;
    service.tick();
    service.process_next().await?;
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
    let mut first = some_are_associated_anew().await?;
    first.process_next().await?;
    let effects = first.sync[0].gate.effects();
    let associations = first.finish().await?.associations;
    first.world.end().await?;
    ensure!(associations >= 30, "{associations} changes in {effects:?}");
    let killed = at_each(&effects, async |number, when| {
        let mut service = some_are_associated_anew().await?;
        service.sync[0].gate.kill_at(number, when);
        let tick = service.sync_messages.clone();
        let died = service.deliver_next().await? == Invoked::Died;
        service.sync_messages.extend(tick);
        service.world.time_passes().await?;
        let published = service.finish().await?.associations;
        ensure!(published == associations, "{published} of {associations} changes");
        service.world.end().await?;
        Ok(died)
    });
    nearly_all_met(&killed.await?)
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
    service.process_next().await?;
    let created = service.actions_messages.clone();
    let some = created[..created.len() / 2].to_vec();
    service.actions_messages.clear();
    service.deliver_actions(vec![Delivery { worker: 1, messages: some, again: false }]).await?;
    service.actions_messages = created;
    service.world.hubspot.world().make_changes(HUB, 60, 2);
    service.tick();
    service.process_next().await?;
    // The changes before the creations.
    service.actions_messages.reverse();
    Ok(service)
}

/// Kills actions at one effect, and delivers the messages again, to three workers at once.
async fn kill_actions(number: usize, when: When) -> Result<bool> {
    let mut service = queued().await?;
    let messages = std::mem::take(&mut service.actions_messages);
    service.actions[0].gate.kill_at(number, when);
    let died = service.deliver_actions(one(messages.clone())).await? == [Invoked::Died];
    service.actions_messages.clear();
    let again = |worker| Delivery { worker, messages: messages.clone(), again: false };
    service.deliver_actions((0..3).map(again).collect()).await?;
    service.finish().await?;
    service.world.end().await?;
    Ok(died)
}
