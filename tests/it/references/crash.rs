//! The real bootstraps, killed before and after each of their effects while a definition changes: each change is one
//! action, and the current definition is the latest.

use anyhow::{Result, ensure};
use harness::{
    bootstrap::Invoked,
    service::{Delivery, Service},
    world::HUB,
};
use hubspot_sim::Property;

use super::{DEALS, SCHEMAS, a_day_passes, define, definition, names, world};
use crate::crash::points::{Point, at_each, deliver_all, deliver_until_killed, nearly_all_met};

/// A service that has read all lists, of which one has a changed definition and a new one, and a tick that is due.
async fn changed() -> Result<Service> {
    let mut service = Service::new(world("references_crash").await?, 1, 1).await?;
    service.tick();
    service.finish().await?;
    define(&service.world, "Value");
    service.world.hubspot.world().define_property(HUB, DEALS, Property::new("margin", "number"));
    a_day_passes(&service.world).await?;
    service.sync[0].gate.open();
    service.actions[0].gate.open();
    service.tick();
    Ok(service)
}

/// Lets the service finish, and read all lists once more. Nothing may be published then that was published before.
async fn ensure_each_change_is_stored_once(mut service: Service) -> Result<()> {
    service.world.time_passes().await?;
    service.finish().await?;
    a_day_passes(&service.world).await?;
    service.tick();
    service.finish().await?;
    let world = &service.world;
    let (updated, created) = (names(world, "amount").await?, names(world, "margin").await?);
    ensure!(updated == ["Property Updated"] && created == ["Property Created"], "{updated:?} {created:?}");
    ensure!(definition(world, SCHEMAS, "deals", "amount").await?.get_str("label")? == "Value");
    definition(world, SCHEMAS, "deals", "margin").await?;
    service.world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_killed_while_publishing_definitions_publishes_each_change_once() -> Result<()> {
    let mut first = changed().await?;
    deliver_all(&mut first).await?;
    let effects = first.sync[0].gate.effects();
    ensure_each_change_is_stored_once(first).await?;
    for name in ["sqs SendMessage actions", "mongodb update references"] {
        ensure!(effects.iter().any(|effect| effect == name), "{name} is not among {effects:?}");
    }
    let killed = at_each(&effects, async |point| {
        let mut service = changed().await?;
        point.kill(&service.sync[0].gate);
        let tick = service.sync_messages.clone();
        let died = deliver_until_killed(&mut service).await?;
        service.sync_messages.extend(tick);
        ensure_each_change_is_stored_once(service).await?;
        Ok(died)
    });
    nearly_all_met(&killed.await?)
}

/// Kills actions at one effect. Returns whether it came to that, and the effects.
async fn drain(point: Option<Point>) -> Result<(bool, Vec<String>)> {
    let mut service = changed().await?;
    deliver_all(&mut service).await?;
    service.collect().await?;
    if let Some(point) = point {
        service.actions[0].gate.kill_at_number(point.number, point.when);
    }
    let messages = std::mem::take(&mut service.actions_messages);
    ensure!(messages.iter().any(|message| message.body.contains("references.v1")), "{messages:?}");
    let invoked = service.deliver_actions(vec![Delivery { worker: 0, messages, again: true }]).await?;
    let effects = service.actions[0].gate.effects();
    ensure_each_change_is_stored_once(service).await?;
    Ok((invoked == [Invoked::Died], effects))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn actions_killed_while_storing_definitions_stores_each_change_once() -> Result<()> {
    let (_, effects) = drain(None).await?;
    for name in ["mongodb update actions", "mongodb update hubspot_schemas"] {
        ensure!(effects.iter().any(|effect| effect == name), "{name} is not among {effects:?}");
    }
    let killed = at_each(&effects, async |point| Ok(drain(Some(point)).await?.0));
    nearly_all_met(&killed.await?)
}
