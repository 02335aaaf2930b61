//! Requests checks of contacts' associations, because of what was read and published.

use std::collections::HashMap;

use hubspot::AssociationInput;
use model::{ids::RecordId, object::ObjectType};
use store::UnfinishedAssociations;

use crate::{context::SliceContext, error::SliceError};

/// Requests checks of contacts because of what was published: those of companies that are gone, and those of which there
/// was no time to read all associations.
///
/// # Errors
/// MongoDB failed.
pub(crate) async fn note_consequences(
    slice: &SliceContext<'_>,
    object: ObjectType,
    gone: &[RecordId],
    unfinished: HashMap<String, AssociationInput>,
) -> Result<(), SliceError> {
    if object == ObjectType::Companies && slice.store().check_contacts_of(slice.account(), gone).await? {
        slice.has_association_checks.set(true);
    }
    store_unfinished(slice, unfinished).await
}

/// Stores where the reading of contacts' associations stopped, to be read on from there.
///
/// # Errors
/// MongoDB failed.
pub(crate) async fn store_unfinished(
    slice: &SliceContext<'_>,
    unfinished: HashMap<String, AssociationInput>,
) -> Result<(), SliceError> {
    if unfinished.is_empty() {
        return Ok(());
    }
    slice.has_association_checks.set(true);
    let part = |input: AssociationInput| {
        Some((input.id, UnfinishedAssociations { after: input.after?, before: input.before }))
    };
    let parts = unfinished.into_values().filter_map(part).collect();
    Ok(slice.store().store_unfinished_associations(slice.account(), parts).await?)
}
