//! Checkpoints and their leases (collection `checkpoints`).
//!
//! A lease carries a fencing number. Every write names the number of its lease, so a holder whose lease expired and was
//! taken by another cannot write any more. Times are the server's (`$$NOW`).

use std::{collections::BTreeMap, time::Duration};

use futures::TryStreamExt;
use model::{
    account::AccountKey,
    checkpoint::{ActionCounts, Checkpoint, Lane, LaneProblem, LastRun, ProblemKind, RateLimitState, Run, hour},
    looks::{NextLook, WEBHOOK_DELAY},
    message::Notified,
    object::ObjectType,
    time::{self, DateTime},
};
use mongodb::{
    bson::{Bson, Document, doc, oid::ObjectId, serialize_to_bson},
    error::{Error, ErrorKind, WriteFailure},
    options::ReturnDocument,
};
use serde::Deserialize;
use thiserror::Error;

use super::{Store, collection, describe};

/// Why a checkpoint could not be written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another holder has taken the lease.
    #[error("the lease was lost to another holder")]
    LeaseLost,
    /// MongoDB refused a write, with this error code.
    #[error("MongoDB refused a write with code {0}")]
    Refused(i32),
    /// MongoDB cannot be reached, or failed.
    #[error("MongoDB failed: {}", describe(.0))]
    Mongo(#[from] Error),
}

/// A lease on an account, with the checkpoint at the time when the lease was taken.
#[derive(Debug)]
pub struct Leased {
    /// The account's checkpoint.
    pub checkpoint: Checkpoint,
    key: String,
}

/// What becomes of the run when the lease is released.
#[derive(Clone, Copy, Debug)]
pub enum RunDisposition<'a> {
    /// The run stays unchanged.
    Unchanged,
    /// The run continues with this slice.
    Slice(&'a Run),
    /// The run stops for now.
    Stopped,
    /// The run is over: the account is caught up.
    CaughtUp,
}

/// What a slice reports when it releases the lease.
#[derive(Clone, Copy, Debug, Default)]
pub struct SliceReport<'a> {
    /// The use of the account's rate limits, if any request was made.
    pub limits: Option<&'a RateLimitState>,
    /// The run, with its statistics so far.
    pub run: Option<&'a Run>,
    /// The actions that the slice published.
    pub announced: ActionCounts,
    /// The object types of which it published something.
    pub changed: &'a [ObjectType],
    /// The object types that the slice was to read. `None` if it did not come that far.
    pub objects: Option<&'a [ObjectType]>,
    /// The kind and time of a webhook. The live run looks for its changes.
    pub notified: Option<(Notified, DateTime)>,
    /// True if the slice published changes that no webhook had reported.
    pub is_unannounced: bool,
    /// When the account is looked at again, if it is caught up. `None` if each tick looks at it.
    pub next_look: Option<NextLook>,
    /// The positions of lanes that are not stored yet, if there are any.
    pub lanes: Option<&'a BTreeMap<ObjectType, Lane>>,
}

/// How long hourly action counts are kept.
const ACTIVITY_KEPT: Duration = Duration::from_secs(24 * 3600);

impl Leased {
    fn held(&self) -> Document {
        doc! { "_id": &self.key, "fence": self.checkpoint.fence, "lease": { "$ne": null } }
    }
}

impl Store {
    /// Acquires the account's lease for `duration`. Returns `None` if another holder has it.
    ///
    /// # Errors
    /// MongoDB cannot be reached, or the checkpoint cannot be parsed.
    pub async fn lease(&self, account: &AccountKey, duration: Duration) -> Result<Option<Leased>, Error> {
        let key = account.to_string();
        let owner = ObjectId::new();
        let free = doc! { "$lt": [{ "$ifNull": ["$lease.until", DateTime::from_millis(0)] }, "$$NOW"] };
        let lease = doc! { "owner": owner, "until": { "$add": ["$$NOW", time::millis(duration)] } };
        let fence = doc! { "$ifNull": ["$fence", 0_i64] };
        let take = vec![doc! { "$set": {
            "domainId": { "$literal": account.domain_id.as_str() },
            "hubId": account.hub_id.as_str(),
            "fence": { "$cond": [&free, { "$add": [&fence, 1_i64] }, &fence] },
            "lease": { "$cond": [&free, lease, "$lease"] },
        } }];
        let taken = self
            .database
            .collection::<Checkpoint>(collection::CHECKPOINTS)
            .find_one_and_update(doc! { "_id": &key }, take)
            .upsert(true)
            .return_document(ReturnDocument::After)
            .await;
        match taken {
            Ok(checkpoint) => {
                let owned = checkpoint.filter(|found| is_owned(found, owner));
                Ok(owned.map(|checkpoint| Leased { checkpoint: checkpoint.with_kept_state(), key }))
            }
            // Two first leases of an account raced, and the other one inserted the document.
            Err(error) if is_duplicate_key(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Checks that nobody else has taken the lease.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub async fn ensure_held(&self, leased: &Leased) -> Result<(), StoreError> {
        let checkpoints = self.database.collection::<Document>(collection::CHECKPOINTS);
        let held = checkpoints.find_one(leased.held()).projection(doc! { "_id": 1 }).await?;
        held.map(drop).ok_or(StoreError::LeaseLost)
    }

    /// Holds the account's lease for another `duration` from now on.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub(super) async fn renew_lease(&self, leased: &Leased, duration: Duration) -> Result<(), StoreError> {
        let until = doc! { "$add": ["$$NOW", time::millis(duration)] };
        let checkpoints = self.database.collection::<Document>(collection::CHECKPOINTS);
        let renewed = vec![doc! { "$set": { "lease.until": until } }];
        let renewed = checkpoints.update_one(leased.held(), renewed).await?;
        if renewed.matched_count == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
    }

    /// Saves one lane's position.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub async fn save_lane(&self, leased: &Leased, object: ObjectType, lane: &Lane) -> Result<(), StoreError> {
        self.write(leased, doc! { "$set": position(object, lane)? }).await
    }

    /// Saves why lanes made no progress in a slice, each with the size of its next page. Leaves the rest of the lanes
    /// unchanged. It is one write, however many lanes there are, because it comes at the end of a slice.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub async fn save_problems(
        &self,
        leased: &Leased,
        problems: &[(ObjectType, &LaneProblem, Option<u32>)],
    ) -> Result<(), StoreError> {
        if problems.is_empty() {
            return Ok(());
        }
        let mut set = Document::new();
        for (object, problem, page_size) in problems {
            set.insert(format!("lanes.{object}.lastError"), to_bson(problem)?);
            set.insert(format!("lanes.{object}.pageSize"), page_size.map(|rows| rows.max(1)));
            set.insert(format!("kept.{object}.bare"), *page_size == Some(0));
        }
        self.write(leased, doc! { "$set": set }).await
    }

    /// Releases the lease, and saves what becomes of the run and what the slice did.
    ///
    /// # Errors
    /// The lease was lost, or MongoDB cannot be reached.
    pub async fn release(
        &self,
        leased: &Leased,
        disposition: RunDisposition<'_>,
        report: SliceReport<'_>,
    ) -> Result<(), StoreError> {
        let now = DateTime::now();
        let mut set = doc! { "lease": Bson::Null };
        for (object, lane) in report.lanes.into_iter().flatten() {
            set.extend(position(*object, lane)?);
        }
        if let Some(limits) = report.limits {
            set.insert("limits", to_bson(limits)?);
        }
        if let Some(Run { id, started_at, figures, .. }) = report.run {
            let is_over = !matches!(disposition, RunDisposition::Slice(_) | RunDisposition::Unchanged);
            let (id, figures) = (id.clone(), figures.clone());
            let run = LastRun { id, started_at: *started_at, ended_at: now, is_over, figures };
            set.insert("lastRun", to_bson(&run)?);
        }
        if let Some(objects) = report.objects.filter(|objects| *objects != leased.checkpoint.objects()) {
            set.insert("objects", to_bson(&objects)?);
        }
        for object in report.changed {
            set.insert(format!("changedAt.{object}"), now);
        }
        if let Some((notified, at)) = report.notified {
            set.insert("notifiedAt", at);
            if notified == Notified::Deletions {
                set.insert("deletionsNotifiedAt", at);
            }
        }
        match disposition {
            RunDisposition::Unchanged => {}
            RunDisposition::Slice(run) => {
                set.insert("run", to_bson(run)?);
            }
            RunDisposition::Stopped => {
                set.insert("run", Bson::Null);
            }
            RunDisposition::CaughtUp => {
                set.insert("run", Bson::Null);
                set.insert("lastSuccessAt", now);
            }
        }
        // Whoever takes the lease ends the pause, also to have a lane read again.
        set.insert("nextLook", report.next_look.as_ref().map(to_bson).transpose()?);
        if report.is_unannounced {
            set.insert("unannouncedAt", now);
        } else if report.notified.is_some()
            && leased.checkpoint.unannounced_at >= Some(time::before(now, WEBHOOK_DELAY))
        {
            // Its webhook was only a little late.
            set.insert("unannouncedAt", Bson::Null);
        }
        let mut update = doc! { "$set": set };
        update.extend(activity(&leased.checkpoint, report.announced, now));
        self.write(leased, update).await
    }

    /// Records that the message for the run's next slice has been sent. Needs no lease, because the next slice may hold
    /// it already. In that case this does nothing.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn record_continuation_sent(&self, account: &AccountKey, run: &Run) -> Result<(), Error> {
        let due = doc! { "_id": account.to_string(), "run.id": &run.id, "run.slice": run.slice };
        let checkpoints = self.database.collection::<Document>(collection::CHECKPOINTS);
        checkpoints.update_one(due, doc! { "$set": { "run.sent": true } }).await?;
        Ok(())
    }

    /// Returns each account's oldest incremental watermark, unordered. Accounts with a lane that was never read are
    /// omitted.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn fresh_marks(&self, accounts: &[AccountKey]) -> Result<Vec<DateTime>, Error> {
        #[derive(Deserialize)]
        struct Mark {
            mark: Option<DateTime>,
        }
        let of = |field: &str| {
            let is_it = doc! { "$eq": ["$$lane.k", "$$object"] };
            let lane = doc! { "$filter": { "input": { "$objectToArray": "$lanes" }, "as": "lane", "cond": is_it } };
            doc! { "$first": { "$map": { "input": lane, "as": "lane", "in": format!("$$lane.v.{field}") } } }
        };
        let mark = of("fresh.mark");
        let default: Vec<&str> = ObjectType::DEFAULT.iter().map(ObjectType::as_str).collect();
        // As in `Lane::is_left_out`.
        let is_closed =
            doc! { "$in": [of("lastError.kind"), [to_bson(&ProblemKind::Forbidden)?, to_bson(&ProblemKind::Absent)?]] };
        // A type that was chosen just now must not hide how fresh the others are.
        let is_met = doc! { "$ne": [{ "$ifNull": [of("fresh.mark"), Bson::Null] }, Bson::Null] };
        let is_read =
            doc! { "$or": [{ "$in": ["$$object", &default] }, { "$and": [is_met, { "$not": [is_closed] }] }] };
        let is_chosen = doc! { "$gt": [{ "$size": { "$ifNull": ["$objects", []] } }, 0] };
        let objects = doc! { "$cond": [is_chosen, "$objects", default] };
        let objects = doc! { "$filter": { "input": objects, "as": "object", "cond": is_read } };
        let marks = doc! { "$map": { "input": objects, "as": "object", "in": { "$ifNull": [mark, Bson::Null] } } };
        // Unlike `$min`, a sorted array includes missing values.
        let lowest = doc! { "$first": { "$sortArray": { "input": marks, "sortBy": 1 } } };
        let keys: Vec<String> = accounts.iter().map(AccountKey::to_string).collect();
        let pipeline =
            [doc! { "$match": { "_id": { "$in": keys } } }, doc! { "$project": { "_id": 0, "mark": lowest } }];
        let checkpoints = self.database.collection::<Document>(collection::CHECKPOINTS);
        let found: Vec<Mark> = checkpoints.aggregate(pipeline).with_type().await?.try_collect().await?;
        Ok(found.into_iter().filter_map(|found| found.mark).collect())
    }

    pub(super) async fn write(&self, leased: &Leased, update: Document) -> Result<(), StoreError> {
        let checkpoints = self.database.collection::<Document>(collection::CHECKPOINTS);
        let written = checkpoints.update_one(leased.held(), update).await?;
        if written.matched_count == 1 { Ok(()) } else { Err(StoreError::LeaseLost) }
    }
}

/// Returns the fields of a checkpoint with a lane's position.
fn position(object: ObjectType, lane: &Lane) -> Result<Document, Error> {
    Ok(doc! { format!("lanes.{object}"): to_bson(lane)?, format!("kept.{object}"): to_bson(&lane.kept)? })
}

/// Returns the update that adds the published actions to their hour, and removes hours older than a day.
fn activity(checkpoint: &Checkpoint, announced: ActionCounts, now: DateTime) -> Document {
    let oldest = hour(time::before(now, ACTIVITY_KEPT));
    let old = checkpoint.activity.keys().filter(|hour| **hour < oldest);
    let old: Document = old.map(|hour| (format!("activity.{hour}"), Bson::from(""))).collect();
    let ActionCounts { created, updated, deleted } = announced;
    let counts = [("created", created), ("updated", updated), ("deleted", deleted)];
    let added = counts.into_iter().filter(|(_, count)| *count > 0);
    let added: Document =
        added.map(|(kind, count)| (format!("activity.{}.{kind}", hour(now)), Bson::from(count))).collect();
    let changes = [("$inc", added), ("$unset", old)].into_iter().filter(|(_, fields)| !fields.is_empty());
    changes.map(|(operator, fields)| (operator.to_owned(), Bson::from(fields))).collect()
}

fn is_owned(checkpoint: &Checkpoint, owner: ObjectId) -> bool {
    checkpoint.lease.as_ref().and_then(|lease| lease.get_object_id("owner").ok()) == Some(owner)
}

fn to_bson(value: &impl serde::Serialize) -> Result<Bson, Error> {
    Ok(serialize_to_bson(value)?)
}

pub(super) fn is_duplicate_key(error: &Error) -> bool {
    match error.kind.as_ref() {
        ErrorKind::Command(command) => command.code == super::bulk::DUPLICATE_KEY,
        ErrorKind::Write(WriteFailure::WriteError(error)) => error.code == super::bulk::DUPLICATE_KEY,
        _ => false,
    }
}
