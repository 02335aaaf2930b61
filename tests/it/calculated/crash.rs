//! The real bootstrap, killed before and after each of its effects while values are compared and records change: each new
//! value is published once, also if it is another one by then.

use anyhow::{Result, ensure};
use harness::{service::Service, world::HUB};

use super::{DEALS, ensure_as_in_hubspot, recalculate, recalculated, world};
use crate::crash::points::{at_each, deliver_all, deliver_until_killed, nearly_all_met};

/// How many deals are modified, and have a new value as well.
const MODIFIED: usize = 5;
/// How many deals have a new value.
const RECALCULATED: usize = 15;

/// A service that has compared all values, some of which have then changed, and a tick that is due.
async fn changed() -> Result<Service> {
    let mut service = Service::new(world("calculated_crash", 20).await?, 1, 1).await?;
    // The calculated properties are known from the list that is read beside the first slice.
    for _ in 0..2 {
        service.tick();
        deliver_all(&mut service).await?;
        service.world.calculated_values_are_due().await?;
    }
    {
        let mut hubspot = service.world.hubspot.world();
        let at = hubspot.now();
        for id in hubspot.ids(HUB, DEALS).into_iter().take(MODIFIED) {
            hubspot.update(HUB, DEALS, id, at, &[("amount", "77")]);
        }
    }
    recalculate(&service.world, DEALS, |index| index < RECALCULATED, "2");
    service.sync[0].gate.open();
    service.tick();
    Ok(service)
}

/// Lets the service finish and compare all values, twice. Nothing may be published then that was published before. Returns
/// how many new values were published.
async fn ensure_each_value_is_stored_once(mut service: Service) -> Result<usize> {
    service.world.time_passes().await?;
    let mut counts = Vec::new();
    for _ in 0..2 {
        service.world.calculated_values_are_due().await?;
        service.finish().await?;
        ensure_as_in_hubspot(&service.world).await?;
        counts.push(recalculated(&service.world).await?.len());
    }
    ensure!(counts[0] == counts[1], "{counts:?} values: some are published again");
    service.world.end().await?;
    Ok(counts[0])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sync_killed_while_comparing_values_publishes_each_once() -> Result<()> {
    let mut first = changed().await?;
    deliver_all(&mut first).await?;
    let effects = first.sync[0].gate.effects();
    let found = ensure_each_value_is_stored_once(first).await?;
    ensure!(found == RECALCULATED - MODIFIED, "{found} values in {effects:?}");
    for name in ["hubspot list deals", "sqs SendMessage actions", "mongodb update seen"] {
        ensure!(effects.iter().any(|effect| effect == name), "{name} is not among {effects:?}");
    }
    let killed = at_each(&effects, async |point| {
        let mut service = changed().await?;
        point.kill(&service.sync[0].gate);
        let tick = service.sync_messages.clone();
        let died = deliver_until_killed(&mut service).await?;
        // Some of the values change again before the message is delivered again.
        recalculate(&service.world, DEALS, |index| index % 3 == 0 && index < RECALCULATED, "3");
        service.sync_messages.extend(tick);
        let found = ensure_each_value_is_stored_once(service).await?;
        let new = RECALCULATED / 3;
        ensure!((RECALCULATED - MODIFIED..=RECALCULATED + new).contains(&found), "{found} values");
        Ok(died)
    });
    nearly_all_met(&killed.await?)
}
