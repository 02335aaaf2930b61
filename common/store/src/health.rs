//! The health of all accounts by hour, for two days (the single document of collection `health`). The scheduler records it with
//! each tick, so that showing it does not require reading all accounts.

use std::{collections::BTreeMap, time::Duration};

use futures::TryStreamExt;
use model::{
    checkpoint::{ActionCounts, hour},
    time::{self, DateTime},
};
use mongodb::{
    bson::{Bson, Document, doc},
    error::Error,
};
use serde::{Deserialize, Serialize};

use super::{Store, collection};

/// The key of the single document.
const HEALTH_KEY: &str = "hours";

/// How long an hour is kept.
const HOURS_KEPT: Duration = Duration::from_secs(48 * 3600);

const HOUR: Duration = Duration::from_secs(3600);

/// The seconds since accounts were last checked for changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Freshness {
    /// The largest value of all accounts.
    pub oldest: i64,
    /// The 95th percentile: 95 of 100 accounts have at most this value.
    pub most: i64,
}

/// The health of all accounts in an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct HourOfHealth {
    /// The worst value of the hour's ticks. `None` if no tick found an account that had been read.
    pub freshness: Option<Freshness>,
    /// The actions published. Complete after the first tick of the next hour.
    pub actions: ActionCounts,
}

/// The recent health of all accounts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    /// When it was last recorded.
    pub at: Option<DateTime>,
    /// By hour (see [`hour`]). An hour without a tick is missing.
    pub hours: BTreeMap<String, HourOfHealth>,
}

impl Store {
    /// Returns the health of all accounts in the last two days.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn health(&self) -> Result<Health, Error> {
        let found = self.database.collection::<Health>(collection::HEALTH).find_one(doc! { "_id": HEALTH_KEY }).await?;
        Ok(found.unwrap_or_default())
    }

    /// Records the result of a tick at `now`, and deletes hours older than two days. Running twice has the same effect.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn note_health(&self, freshness: Option<Freshness>, now: DateTime) -> Result<(), Error> {
        let (this, last) = (hour(now), hour(time::before(now, HOUR)));
        let [actions, before] = self.actions_of([&this, &last]).await?;
        let kept = doc! { "$gte": ["$$this.k", hour(time::before(now, HOURS_KEPT))] };
        let hours = doc! { "$objectToArray": { "$ifNull": ["$hours", {}] } };
        let kept = doc! { "$arrayToObject": { "$filter": { "input": hours, "cond": kept } } };
        let mut noted = doc! { "at": now, format!("hours.{this}.actions"): document(actions) };
        if let Some(Freshness { oldest, most }) = freshness {
            for (name, value) in [("oldest", oldest), ("most", most)] {
                let field = format!("hours.{this}.freshness.{name}");
                noted.insert(field.clone(), doc! { "$max": [format!("${field}"), value] });
            }
        }
        if before.total() > 0 {
            noted.insert(format!("hours.{last}.actions"), document(before));
        }
        let update = vec![doc! { "$set": { "hours": kept } }, doc! { "$set": noted }];
        self.collection(collection::HEALTH).update_one(doc! { "_id": HEALTH_KEY }, update).upsert(true).await?;
        Ok(())
    }

    /// Returns the actions published for all accounts in each of two hours.
    async fn actions_of(&self, hours: [&str; 2]) -> Result<[ActionCounts; 2], Error> {
        let mut sums = doc! { "_id": null };
        for (index, hour) in hours.into_iter().enumerate() {
            for kind in ["created", "updated", "deleted"] {
                sums.insert(format!("{kind}{index}"), doc! { "$sum": format!("$activity.{hour}.{kind}") });
            }
        }
        let checkpoints = self.collection(collection::CHECKPOINTS);
        let found: Vec<Document> = checkpoints.aggregate([doc! { "$group": sums }]).await?.try_collect().await?;
        let sum = |name: String| match found.first().and_then(|sums| sums.get(name)) {
            Some(Bson::Int32(sum)) => i64::from(*sum),
            Some(Bson::Int64(sum)) => *sum,
            _ => 0,
        };
        Ok([0, 1].map(|index| ActionCounts {
            created: sum(format!("created{index}")),
            updated: sum(format!("updated{index}")),
            deleted: sum(format!("deleted{index}")),
        }))
    }
}

fn document(actions: ActionCounts) -> Document {
    let ActionCounts { created, updated, deleted } = actions;
    doc! { "created": created, "updated": updated, "deleted": deleted }
}
