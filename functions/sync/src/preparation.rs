//! What must be known of rows before they are published: what was published of them before, and their associations.

use std::collections::HashMap;

use hubspot::{AssociationInput, Associations, HubSpotError, Record, Row};
use model::{ids::RecordId, object::ObjectType, time::DateTime};
use store::LedgerEntry;

use crate::{
    context::SliceContext,
    error::SliceError,
    ledger::{PublishLedger, PublishTerms},
};

/// Rows to be prepared for publishing.
#[derive(Debug)]
pub(crate) struct Preparation {
    pub(crate) rows: Vec<Row>,
    /// How many of them to prepare at most.
    pub(crate) size: usize,
    /// True if a record is suspected of causing transient failures.
    pub(crate) is_suspect: bool,
    /// As for [`hubspot::Session::associations`].
    pub(crate) each_for_itself: bool,
    /// True if the associations of all contacts are read. False if only those of contacts that changed are.
    pub(crate) of_all: bool,
    pub(crate) terms: PublishTerms,
}

/// Rows with what was published of them before.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) rows: Vec<Row>,
    pub(crate) ledger: PublishLedger,
    /// The rows after them, not prepared yet.
    pub(crate) rest: Vec<Row>,
}

/// Looks up what was published of rows before, and the companies of the contacts that changed. If HubSpot does not
/// return the companies and a record is suspected, prepares fewer rows, to find that record.
pub(crate) async fn prepare(
    slice: &SliceContext<'_>,
    object: ObjectType,
    preparation: Preparation,
) -> Result<Prepared, SliceError> {
    let Preparation { mut rows, mut size, is_suspect, each_for_itself, of_all, terms } = preparation;
    loop {
        size = size.min(rows.len());
        let each_for_itself = each_for_itself || (size == 1 && is_suspect);
        let reading = AssociationReading { each_for_itself, of_all };
        match load_ledger(slice, object, terms.clone(), &rows[..size], reading).await {
            Err(SliceError::HubSpot(error)) if size > 1 && is_suspect && error.is_transient() => size /= 2,
            ledger => {
                let rest = rows.split_off(size);
                return Ok(Prepared { rows, ledger: ledger?, rest });
            }
        }
    }
}

/// Which records' associations are read, and how.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AssociationReading {
    /// As for [`hubspot::Session::associations`].
    pub(crate) each_for_itself: bool,
    /// True for all records, false for those that changed.
    pub(crate) of_all: bool,
}

/// Looks up what was published of rows before, and the associations of contacts.
///
/// # Errors
/// MongoDB or HubSpot failed, or there is no time.
pub(crate) async fn load_ledger(
    slice: &SliceContext<'_>,
    object: ObjectType,
    terms: PublishTerms,
    rows: &[Row],
    reading: AssociationReading,
) -> Result<PublishLedger, SliceError> {
    let mut ledger = PublishLedger::new(object, terms, seen(slice, object, rows).await?);
    if !object.spec().associations.is_empty() {
        let is_read = |record: &&Record| {
            let of_all = reading.of_all && record.archived_at.is_none();
            of_all || ledger.is_changed(record) || ledger.lacks_properties(record)
        };
        let read = records(rows).filter(is_read).map(|record| AssociationInput::first(record.id.clone())).collect();
        let read_at = DateTime::now();
        let read = read_associations(slice, object, read, reading.each_for_itself).await?;
        ledger.learn_associations(read.ok_or(SliceError::NoTime)?, read_at);
    }
    Ok(ledger)
}

/// Returns the associations of records with those of all object types that their row of the catalogue names. Returns
/// `None` if there is no time.
///
/// # Errors
/// HubSpot failed.
pub(crate) async fn read_associations(
    slice: &SliceContext<'_>,
    from: ObjectType,
    records: Vec<AssociationInput>,
    each_for_itself: bool,
) -> Result<Option<Associations>, HubSpotError> {
    let is_continued = records.iter().any(|input| input.to.is_some());
    let (mut all, mut pending) = (Associations::default(), records);
    for (index, to) in slice.association_types(from).enumerate() {
        let (inputs, later): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|input| input.to.is_none_or(|next| next == to));
        pending = later;
        if inputs.is_empty() {
            continue;
        }
        let read = slice.session.associations(from, to, inputs.clone(), slice.budget.work_ends(), each_for_itself);
        match read.await {
            Ok(Some(read)) => {
                all.took = all.took.max(read.took);
                all.unread.extend(read.unread);
                let unfinished = read.unfinished.into_iter();
                all.unfinished.extend(unfinished.map(|(id, input)| (id, AssociationInput { to: Some(to), ..input })));
                let found = inputs.into_iter().filter_map(|input| {
                    let before = read.found.get(input.id.as_str())?.clone();
                    Some(AssociationInput { before, ..AssociationInput::first(input.id) })
                });
                pending.extend(found);
            }
            // Reading ends between two types only if it continues an earlier one. Other records would be published without
            // a part of their associations.
            Ok(None) if index == 0 || !is_continued => return Ok(None),
            Ok(None) => {
                let unfinished = inputs.into_iter().map(|input| AssociationInput { to: Some(to), ..input });
                all.unfinished.extend(unfinished.map(|input| (input.id.to_string(), input)));
            }
            // The grant does not cover the other object type, or the portal has no such association. The records
            // themselves are readable.
            Err(error) if is_closed(from, to, &error) => {
                pending.extend(inputs.into_iter().map(|input| AssociationInput { to: None, after: None, ..input }));
            }
            Err(error) => return Err(error),
        }
    }
    all.found = pending.into_iter().map(|input| (input.id.to_string(), input.before)).collect();
    Ok(Some(all))
}

/// Returns true if HubSpot gives no access to the associations between two object types, or has none. Contacts and
/// companies are always associated. What HubSpot answers for a pair that a portal has not defined is not documented: a
/// rejection is taken for that.
fn is_closed(from: ObjectType, to: ObjectType, error: &HubSpotError) -> bool {
    match error {
        HubSpotError::Forbidden(_) | HubSpotError::UnknownObject(_) => !to.is_default(),
        HubSpotError::Rejected { .. } => !from.is_default(),
        _ => false,
    }
}

/// Returns the rows' records that can be read.
pub(crate) fn records(rows: &[Row]) -> impl Iterator<Item = &Record> {
    rows.iter().filter_map(|row| row.record.as_ref().ok())
}

/// Returns the ledger entries of the rows' records, and of the records that were merged into them.
pub(crate) async fn seen(
    slice: &SliceContext<'_>,
    object: ObjectType,
    rows: &[Row],
) -> Result<HashMap<RecordId, LedgerEntry>, SliceError> {
    let mut ids: Vec<RecordId> = records(rows).map(|record| record.id.clone()).collect();
    ids.extend(records(rows).flat_map(Record::merged_ids));
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    Ok(slice.store().seen(slice.account(), object, ids.iter()).await?)
}
