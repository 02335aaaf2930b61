//! Many accounts, in all states, as customers and the sync function would have left them.

use std::cmp::Ordering;

use anyhow::Result;
use model::{
    checkpoint::{ActionCounts, Backfilled, Checkpoint, LaneProblem, LastRun, ProblemKind, RunStats, Window, hour},
    object::ObjectType,
    time::DateTime,
};
use mongodb::bson::{Document, doc, serialize_to_document};
use store::collection;

use crate::world::World;

const HOUR_MILLIS: i64 = 3_600_000;

/// The number of documents per insert.
const DOCUMENTS_PER_INSERT: usize = 1000;

/// An account of a crowd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its Domain's id.
    pub domain: String,
    /// Its Domain's company.
    pub company: String,
    /// Its HubSpot account's id.
    pub hub: String,
    /// Its state, under the API's name.
    pub state: &'static str,
    /// Its incremental watermark, in milliseconds.
    pub fresh_to: Option<i64>,
}

impl Member {
    fn new(number: i64, now: i64) -> Self {
        let state = match number % 10 {
            0 => "new",
            1 => "behind",
            2 => "failing",
            3 => "reauthorize",
            4 => "paused",
            5 => "disconnected",
            6 => "backfilling",
            _ => "fresh",
        };
        let fresh_to = match state {
            "new" => None,
            "behind" => Some(now - HOUR_MILLIS - number * 1000),
            // Less than half an hour, for the duration of a test.
            _ => Some(now - number * 10),
        };
        Self {
            domain: format!("domain-{number:05}"),
            company: format!("Company {number:05}"),
            hub: (8_000_000 + number).to_string(),
            state,
            fresh_to,
        }
    }

    /// Compares two accounts by their order in a list.
    pub fn order(&self, other: &Self) -> Ordering {
        let kind = |member: &Self| match member.state {
            "behind" | "failing" | "reauthorize" => 0,
            "paused" | "disconnected" => 2,
            _ => 1,
        };
        let place = |member: &Self| (kind(member), member.fresh_to);
        place(self).cmp(&place(other)).then_with(|| self.company.cmp(&other.company))
    }

    fn domain(&self) -> Document {
        let mut entry = doc! {
            "hubId": &self.hub, "hubDomain": format!("hub-{}.example", self.hub), "connectedAt": DateTime::from_millis(1),
            "accessToken": format!("enc:v1:1:{}", "a".repeat(400)), "refreshToken": format!("enc:v1:1:{}", "r".repeat(120)),
        };
        match self.state {
            state @ ("reauthorize" | "disconnected") => entry.insert("state", state),
            "paused" => entry.insert("pausedAt", DateTime::from_millis(1)),
            _ => None,
        };
        doc! {
            "_id": &self.domain, "company": { "name": &self.company, "address": "a street of the product's own" },
            "integrations": { "hubspot": { "status": true, "accounts": [entry] } },
        }
    }

    /// Returns its checkpoint, derived from that of an ordinary account.
    fn checkpoint(&self, usual: &Checkpoint) -> Result<Option<Document>> {
        let Some(fresh_to) = self.fresh_to.map(DateTime::from_millis) else { return Ok(None) };
        let mut checkpoint = Checkpoint { last_success_at: Some(fresh_to), ..usual.clone() };
        for object in ObjectType::DEFAULT {
            let lane = checkpoint.lanes.get_mut(object);
            lane.fresh.mark = Some(fresh_to);
        }
        match self.state {
            "failing" => checkpoint.lanes.get_mut(ObjectType::CONTACTS).last_error = Some(problem(fresh_to)),
            "backfilling" => {
                checkpoint.lanes.get_mut(ObjectType::CONTACTS).backfill.windows = vec![Window::new(fresh_to, None)]
            }
            _ => {}
        }
        let mut document = doc! { "_id": format!("{}:{}", self.domain, self.hub) };
        document.extend(serialize_to_document(&checkpoint)?);
        Ok(Some(document))
    }
}

fn problem(at: DateTime) -> LaneProblem {
    let reason = "HubSpot answered 503 (Service Unavailable)".to_owned();
    LaneProblem { kind: ProblemKind::Transient, pass: None, reason, at, attempts: 3, retry_at: at }
}

/// Returns the checkpoint of an account that has been synced for long.
fn usual(now: i64) -> Checkpoint {
    let (now_at, then) = (DateTime::from_millis(now), DateTime::from_millis(now - 1000 * HOUR_MILLIS));
    let mut checkpoint = Checkpoint { fence: 1000, ..Checkpoint::default() };
    for object in ObjectType::DEFAULT {
        let lane = checkpoint.lanes.get_mut(object);
        (lane.first_seen, lane.checked_at) = (Some(then), Some(now_at));
        lane.settled.mark = Some(then);
        lane.settled.windows = vec![Window::new(then, Some(now_at)); 4];
        lane.backfill.completed_at = Some(then);
        lane.backfilled = Backfilled { read: 5000, total: Some(5000), from: None };
        (lane.sweep.began_at, lane.sweep.ended_at) = (Some(now_at), Some(now_at));
    }
    checkpoint.last_run = Some(LastRun {
        id: "0198-a-run-of-the-usual-kind".to_owned(),
        started_at: then,
        ended_at: now_at,
        is_over: true,
        figures: RunStats { slices: 1, records: 20, actions: 20, requests: 9, rate_limited: 0 },
    });
    let announced = |ago: i64| ActionCounts { created: ago, updated: 7, deleted: 0 };
    let of_hour = |ago: i64| (hour(DateTime::from_millis(now - ago * HOUR_MILLIS)), announced(ago));
    checkpoint.activity = (0..24).map(of_hour).collect();
    checkpoint
}

/// Adds `accounts` Domains with one account each to a world. Returns the accounts in the order of a list.
///
/// # Errors
/// MongoDB does not respond.
pub async fn crowd(world: &World, accounts: i64) -> Result<Vec<Member>> {
    let now = DateTime::now().timestamp_millis();
    let (mut members, usual) = ((0..accounts).map(|number| Member::new(number, now)).collect::<Vec<_>>(), usual(now));
    let (domains, checkpoints) = (collection::DOMAINS, collection::CHECKPOINTS);
    for some in members.chunks(DOCUMENTS_PER_INSERT) {
        insert(world, domains, some.iter().map(|member| Ok(Some(member.domain())))).await?;
        insert(world, checkpoints, some.iter().map(|member| member.checkpoint(&usual))).await?;
    }
    members.sort_by(Member::order);
    Ok(members)
}

/// Stores a day of a world's health, as the scheduler would: busy during the day, with one hour in which accounts were behind.
///
/// # Errors
/// MongoDB does not respond.
pub async fn day(world: &World) -> Result<()> {
    let now = DateTime::now().timestamp_millis();
    let mut hours = Document::new();
    for ago in 0..24_i64 {
        let at = now - ago * HOUR_MILLIS;
        // Changes are many at noon, and few at midnight.
        let busy = 12 - (at / HOUR_MILLIS % 24 - 12).abs();
        let (created, updated, deleted) = (40 + 90 * busy, 300 + 610 * busy + 37 * (ago % 5), 10 + 7 * busy);
        let (most, oldest) = if ago == 9 { (1500, 5400) } else { (280 + ago % 3 * 9, 340 + busy * 45) };
        let of_hour = doc! {
            "freshness": { "most": most, "oldest": oldest },
            "actions": { "created": created, "updated": updated, "deleted": deleted },
        };
        hours.insert(hour(DateTime::from_millis(at)), of_hour);
    }
    let noted = doc! { "$set": { "at": DateTime::from_millis(now), "hours": hours } };
    let health = world.store.database().collection::<Document>(collection::HEALTH);
    health.update_one(doc! { "_id": "hours" }, noted).upsert(true).await?;
    Ok(())
}

async fn insert(
    world: &World,
    collection: &str,
    documents: impl Iterator<Item = Result<Option<Document>>>,
) -> Result<()> {
    let documents: Vec<Document> = documents.filter_map(Result::transpose).collect::<Result<_>>()?;
    world.store.database().collection(collection).insert_many(documents).await?;
    Ok(())
}
