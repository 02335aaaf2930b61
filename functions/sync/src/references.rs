//! Reads reference data beside the lanes: custom objects, owners, pipelines and definitions of properties, each list once a day.
//!
//! It never delays records. Lists have requests of another limit than searches, are not retried, and are left to a later
//! slice as soon as a lane could go on. A slice without anything due makes no request and no query for it: the checkpoint
//! says when the next list is due. A crash at any point repeats a page, and changes nothing that is stored.

mod publish;

use std::{pin::pin, time::Duration};

use futures::future::{Either, select};
use hubspot::HubSpotError;
use model::{
    choice::CustomObject,
    object::ObjectType,
    reference::{Ledger, ReferenceItem, Source},
    time::{self, DateTime},
};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{context::SliceContext, error::SliceError, outcome::LaneOutcome};

/// How long a page of a list may take, with its publishing. A later request is left to the next slice.
const PAGE_RESERVE: Duration = Duration::from_millis(1000);

/// How long reference data waits after a failure that is not the list's own.
const PAUSE_AFTER_OUTAGE: Duration = Duration::from_secs(15 * 60);

/// How long a list waits whose answer cannot be read.
const PAUSE_AFTER_MALFORMED: Duration = Duration::from_secs(3600);

/// How reading a list ended.
enum ListEnd {
    /// It was read, or cannot be read now. It is due again at this time.
    DueAt(DateTime),
    /// No list can be read now. They are due again at this time.
    AllDueAt(DateTime),
    /// There is no time to read it further.
    OutOfTime,
}

/// Awaits the lanes. Reads the reference data that is due beside them, and afterwards for as long as no lane could go on.
///
/// # Errors
/// A lane's failure concerns the whole slice, or the checkpoint cannot be saved.
pub(crate) async fn read_beside(
    slice: &SliceContext<'_>,
    lanes: impl Future<Output = Result<Vec<LaneOutcome>, SliceError>>,
) -> Result<Vec<LaneOutcome>, SliceError> {
    let Some(every) = slice.sync.config.references_every.filter(|_| is_due(slice)) else {
        return lanes.await;
    };
    // Boxed, because it is large, and most slices do without it.
    let reading = Box::pin(read_due(slice, every));
    let (lanes, due_at) = match select(pin!(lanes), reading).await {
        Either::Right((due_at, lanes)) => (lanes.await?, due_at),
        Either::Left((lanes, reading)) => {
            let lanes = lanes?;
            let ends = latest_end(slice, &lanes);
            match timeout_at(ends, reading).await {
                Ok(due_at) => (lanes, due_at),
                // HubSpot takes so long that it must not hold every slice.
                Err(_) if ends == slice.budget.work_ends() => (lanes, time::after(DateTime::now(), PAUSE_AFTER_OUTAGE)),
                // It stays due.
                Err(_) => return Ok(lanes),
            }
        }
    };
    slice.store().save_references_due(slice.leased, due_at, slice.objects().keys()).await?;
    Ok(lanes)
}

/// Returns true if a list may be due: by the checkpoint's time, or because other object types are read than before.
fn is_due(slice: &SliceContext<'_>) -> bool {
    let checkpoint = &slice.leased.checkpoint;
    let is_time = checkpoint.references_due_at.is_none_or(|due_at| due_at <= DateTime::now());
    let is_named_first = slice.selection.names_custom && checkpoint.custom_objects.is_none();
    is_time || is_named_first || !slice.objects().keys().eq(&checkpoint.references_of)
}

/// Returns when reading must end because a lane can go on, or because the slice ends.
fn latest_end(slice: &SliceContext<'_>, lanes: &[LaneOutcome]) -> Instant {
    let (now, now_by_clock) = (Instant::now(), DateTime::now());
    let first = lanes.iter().filter_map(|lane| lane.retry_at).min();
    let first = first.map(|at| now + time::between(now_by_clock, at));
    first.map_or(slice.budget.work_ends(), |first| first.min(slice.budget.work_ends()))
}

/// Reads the lists that are due, each at most once in `every`. Returns when the next one is due. Failures are logged: they
/// are no reason to fail the slice.
async fn read_due(slice: &SliceContext<'_>, every: Duration) -> DateTime {
    match read_lists(slice, every).await {
        Ok(due_at) => due_at,
        Err(error) => {
            tracing::warn!(account.domain_id = %slice.key.domain_id, account.hub_id = %slice.key.hub_id, error = %error,
                "reference data cannot be read or published; it is tried again later");
            time::after(DateTime::now(), PAUSE_AFTER_OUTAGE)
        }
    }
}

async fn read_lists(slice: &SliceContext<'_>, every: Duration) -> Result<DateTime, SliceError> {
    let now = DateTime::now();
    let due_times = slice.store().reference_due_times(slice.key).await?;
    let mut next = time::after(now, every);
    for source in Source::of(slice.selection) {
        let waits_until = due_times.get(&source).copied().filter(|due_at| *due_at > now);
        let due_at = match waits_until {
            Some(due_at) => due_at,
            None => match read_list(slice, source, every).await? {
                ListEnd::DueAt(due_at) => due_at,
                ListEnd::AllDueAt(due_at) => return Ok(due_at),
                ListEnd::OutOfTime => return Ok(now),
            },
        };
        next = next.min(due_at);
    }
    Ok(next)
}

/// Reads a list to its end. If HubSpot refuses it or fails, records that in its ledger.
async fn read_list(slice: &SliceContext<'_>, source: Source, every: Duration) -> Result<ListEnd, SliceError> {
    let mut ledger = slice.store().reference_ledger(slice.key, source).await?;
    let error = match read_pages(slice, source, &mut ledger, every).await {
        Err(SliceError::HubSpot(error)) => error,
        ended => return ended,
    };
    let now = DateTime::now();
    let pause = match &error {
        // The scope is not granted, or the account does not have the type: that is no failure of anybody's.
        HubSpotError::Forbidden(_) | HubSpotError::UnknownObject(_) | HubSpotError::Rejected { .. } => every,
        HubSpotError::Malformed(_) => PAUSE_AFTER_MALFORMED,
        HubSpotError::Transient { .. }
        | HubSpotError::Unauthorized
        | HubSpotError::RateLimited { .. }
        | HubSpotError::AccountUnavailable { .. } => PAUSE_AFTER_OUTAGE.max(error.retry_later()),
    };
    let due_at = time::after(now, pause);
    tracing::info!(account.domain_id = %slice.key.domain_id, account.hub_id = %slice.key.hub_id, source = %source,
        error = %error, due_at = %due_at, "a list of reference data is not read");
    if error.concerns_account() || error.is_transient() {
        return Ok(ListEnd::AllDueAt(due_at));
    }
    if source == Source::CustomObjects && slice.leased.checkpoint.custom_objects.is_none() {
        // Nobody waits for their names.
        save_custom_objects(slice, &[]).await?;
    }
    // HubSpot may refuse the cursor.
    ledger.after = None;
    ledger.due_at = Some(due_at);
    ledger.failure = Some(error.to_string());
    save(slice, source, &mut ledger, ListEnd::DueAt(due_at)).await
}

/// Reads and publishes the pages of a list, from the ledger's cursor on. The ledger is saved after each, with what was
/// published.
async fn read_pages(
    slice: &SliceContext<'_>,
    source: Source,
    ledger: &mut Ledger,
    every: Duration,
) -> Result<ListEnd, SliceError> {
    loop {
        let latest = slice.budget.work_ends().checked_sub(PAGE_RESERVE);
        let page = slice.session.list_references(source, ledger.after.as_deref(), latest).await?;
        let Some(page) = page else { return Ok(ListEnd::OutOfTime) };
        let is_last = page.next.is_none();
        if source == Source::CustomObjects {
            // Before the ledger, which makes the list wait for a day.
            save_custom_objects(slice, &page.items).await?;
        }
        let changes = ledger.add_page(page.items, page.next, source.has_actions());
        publish::publish(slice, source, page.date, changes).await?;
        ledger.failure = None;
        if !is_last {
            if let end @ ListEnd::OutOfTime = save(slice, source, ledger, ListEnd::DueAt(page.date)).await? {
                return Ok(end);
            }
            continue;
        }
        let due_at = time::after(DateTime::now(), every);
        (ledger.read_at, ledger.due_at) = (Some(page.date), Some(due_at));
        return save(slice, source, ledger, ListEnd::DueAt(due_at)).await;
    }
}

/// Saves the names of the account's custom objects, by which its choice names them.
async fn save_custom_objects(slice: &SliceContext<'_>, items: &[ReferenceItem]) -> Result<(), SliceError> {
    let custom = items.iter().filter_map(|item| {
        let text = |name: &str| item.definition.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let object = ObjectType::parse(&item.id).ok().filter(|object| object.is_custom())?;
        Some(CustomObject { object, name: text("name"), full_name: text("fullyQualifiedName") })
    });
    let custom: Vec<CustomObject> = custom.collect();
    Ok(slice.store().save_custom_objects(slice.leased, &custom).await?)
}

/// Saves a list's ledger. Returns `end`, or that there is no time, if another slice has the list.
async fn save(
    slice: &SliceContext<'_>,
    source: Source,
    ledger: &mut Ledger,
    end: ListEnd,
) -> Result<ListEnd, SliceError> {
    let is_saved = slice.store().save_reference_ledger(slice.key, source, ledger).await?;
    Ok(if is_saved { end } else { ListEnd::OutOfTime })
}
