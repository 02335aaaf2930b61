//! All properties of an object type, if the choice says `*`: those that HubSpot listed last. The list is reference data.

use std::collections::BTreeSet;

use model::{
    choice::Objects,
    object::ObjectType,
    reference::{Ledger, Source},
};

use crate::{context::SliceContext, error::SliceError};

/// Looks up the properties of the object types of which all are read. Returns the types whose properties are not known yet:
/// their lists are read beside the lanes, and their records after that, so that no record is published with a part of its
/// properties. If HubSpot refuses a list, or lists are not read, the properties that are always read must do.
///
/// # Errors
/// MongoDB cannot be reached.
pub(crate) async fn look_up(slice: &SliceContext<'_>) -> Result<BTreeSet<ObjectType>, SliceError> {
    let (mut all, mut unknown) = (Objects::new(), BTreeSet::new());
    let chosen = &slice.selection.with_all_properties;
    if chosen.is_empty() {
        return Ok(unknown);
    }
    let mut ledgers = slice.store().reference_ledgers(slice.key, chosen.iter().copied().map(Source::Schemas)).await?;
    for object in chosen.iter().copied() {
        let Ledger { read_at, failure, items, .. } = ledgers.remove(&Source::Schemas(object)).unwrap_or_default();
        if read_at.is_none() && failure.is_none() && slice.sync.config.references_every.is_some() {
            unknown.insert(object);
            continue;
        }
        if read_at.is_none() {
            tracing::warn!(account.domain_id = %slice.key.domain_id, account.hub_id = %slice.key.hub_id,
                object = object.as_str(), "all properties are chosen, but HubSpot's list of them is not read");
        }
        let mut names = slice.properties(object).to_vec();
        let named: BTreeSet<String> = names.iter().cloned().collect();
        let listed = items.into_iter().filter(|item| item.is_listed() && !named.contains(&item.id));
        names.extend(listed.map(|item| item.id));
        all.insert(object, names);
    }
    slice.all_properties.get_or_init(|| all);
    Ok(unknown)
}
