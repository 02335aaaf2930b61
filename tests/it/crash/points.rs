//! The points at which a worker is killed.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use harness::{
    bootstrap::Invoked,
    extent::{Extent, side_by_side},
    gate::{Gate, When},
    service::Service,
};

/// How many of the points a sample has.
const SAMPLE: usize = 12;

/// Where a worker is killed: before or after one of the effects of a name. Lanes run side by side, so that the number of an
/// effect among all says little, and a slow machine needs several slices for what another does in one.
#[derive(Clone, Debug)]
pub(crate) struct Point {
    /// Which of all effects, from 0.
    pub(crate) number: usize,
    name: String,
    /// Which of the effects of that name, from 0.
    occurrence: usize,
    pub(crate) when: When,
}

impl Point {
    /// Returns the points before and after each of these effects.
    pub(crate) fn of(effects: &[String]) -> Vec<Self> {
        let mut counts = BTreeMap::new();
        let point = |(number, name): (usize, &String)| {
            let count = counts.entry(name.clone()).or_insert(0);
            let occurrence = *count;
            *count += 1;
            [When::Before, When::After].map(|when| Self { number, name: name.clone(), occurrence, when })
        };
        effects.iter().enumerate().flat_map(point).collect()
    }

    pub(crate) fn kill(&self, gate: &Gate) {
        gate.kill_at(&self.name, self.occurrence, self.when);
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} effect {} of the name {}", self.when, self.occurrence, self.name)
    }
}

/// Tries `kill` before and after each of the effects, or at some of these points, and gives for each whether it came to
/// that.
pub(crate) async fn at_each<F: Future<Output = Result<bool>>>(
    effects: &[String],
    kill: impl Fn(Point) -> F,
) -> Result<Vec<bool>> {
    let points = Extent::of_this_run().some_of(Point::of(effects), SAMPLE);
    let names: Vec<_> = points.iter().map(Point::to_string).collect();
    println!("killed at {} points: {}", names.len(), names.join("; "));
    let tried = stream::iter(points).map(|point| {
        let tried = kill(point.clone());
        async move { tried.await.with_context(|| format!("killed {point}")) }
    });
    tried.buffer_unordered(side_by_side()?).try_collect().await
}

/// Delivers to sync until it is killed, or there is nothing to deliver. Returns true if it was killed.
pub(crate) async fn deliver_until_killed(service: &mut Service) -> Result<bool> {
    while !service.sync_messages.is_empty() {
        if service.deliver_next().await? == Invoked::Died {
            return Ok(true);
        }
        service.world.time_passes().await?;
    }
    Ok(false)
}

/// Delivers to sync until there is nothing to deliver. A slow machine needs several slices for what another does in one.
pub(crate) async fn deliver_all(service: &mut Service) -> Result<()> {
    ensure!(!deliver_until_killed(service).await?, "sync died");
    Ok(())
}

/// How many requests are made of a kind differs a little from run to run: nearly all points are met.
pub(crate) fn nearly_all_met(killed: &[bool]) -> Result<()> {
    let met = killed.iter().filter(|killed| **killed).count();
    ensure!(killed.len() - met <= (killed.len() / 10).max(3), "only {met} of {} points were met", killed.len());
    println!("sync was killed at {met} points");
    Ok(())
}
