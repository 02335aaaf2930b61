//! Associations: `POST /crm/associations/{version}/{from}/{to}/batch/read`, for any pair of object types.
//!
//! HubSpot pages the associations of each record by itself. A record with more of them than can be read before the
//! deadline is returned as unfinished, and can be read on from there.

mod joint;
mod lookup;
mod response;

use std::{collections::HashMap, sync::atomic::Ordering, time::Duration};

use model::{
    association::{Association, in_order},
    ids::RecordId,
    object::ObjectType,
};
use tokio::time::Instant;

use self::lookup::Lookup;
pub(crate) use self::{joint::WaitingReads, response::Failure};
use super::{API_VERSION, HubSpotError, Session};

/// The most records whose associations one call reads (HubSpot's maximum).
pub const MAX_ASSOCIATION_INPUTS: usize = 1000;

/// The most associations that are read of one record.
const MAX_ASSOCIATIONS: usize = 10_000;

/// A record whose associations are to be read, possibly from where an earlier reading stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssociationInput {
    /// The record.
    pub id: RecordId,
    /// The object type with which associations are read, if those with the types before it are in `before`.
    pub to: Option<ObjectType>,
    /// HubSpot's cursor of the next page. `None` for the first page.
    pub after: Option<String>,
    /// The associations before that page.
    pub before: Vec<Association>,
}

impl AssociationInput {
    /// Returns the input of a record that is read from its first page on.
    pub fn first(id: RecordId) -> Self {
        Self { id, to: None, after: None, before: Vec::new() }
    }
}

/// The associations of records.
#[derive(Debug, Default)]
pub struct Associations {
    /// All associations of each record that was read, in the order of [`in_order`]. A record may have none.
    pub found: HashMap<String, Vec<Association>>,
    /// The records of which there was no time to read all pages, with what to continue with.
    pub unfinished: HashMap<String, AssociationInput>,
    /// The records whose associations HubSpot does not return, with its error.
    pub unread: HashMap<String, String>,
    /// How long the slowest response took.
    pub took: Duration,
}

impl Session {
    /// Returns the associations of each record with records of the type `to`. It is an error if HubSpot returns
    /// nobody's. With `each_for_itself`, a transient failure of a single record counts as that record's own failure.
    /// Returns `None` if there is no time to read the first page of every record.
    ///
    /// # Errors
    /// See [`HubSpotError`]. Failures that pass within a moment were already retried.
    #[tracing::instrument(level = "debug", skip_all, name = "associations", fields(records = records.len()))]
    pub async fn associations(
        &self,
        from: ObjectType,
        to: ObjectType,
        records: Vec<AssociationInput>,
        latest: Instant,
        each_for_itself: bool,
    ) -> Result<Option<Associations>, HubSpotError> {
        let path = format!("/crm/associations/{API_VERSION}/{from}/{to}/batch/read");
        let is_alone = each_for_itself && records.len() == 1;
        let mut lookup = Lookup::new(to, records, each_for_itself);
        while let Some(inputs) = lookup.next(latest) {
            let read = match is_alone {
                true => self.read_inputs(&path, || inputs.clone(), latest).await,
                false => self.read_jointly(&path, &inputs, latest).await,
            };
            match read {
                Ok(None) if inputs.iter().all(|input| input.after.is_some()) => {
                    lookup.further.extend(inputs);
                    break;
                }
                Ok(None) => return Ok(None),
                Ok(Some(response)) => {
                    lookup.longest = lookup.longest.max(response.took);
                    self.has_read_associations.store(true, Ordering::Relaxed);
                    lookup.leave_out(&response, &inputs)?;
                    lookup.take(response.results, inputs);
                }
                // Contacts and companies are always associated, so that the cause is one of the records.
                Err(error) if error.is_about_associations() && !from.is_default() => return Err(error),
                Err(error) if error.is_about_contents() || (is_alone && self.may_concern_one_record(&error)) => {
                    lookup.split(inputs, &error);
                    if lookup.is_hopeless() {
                        return Err(error);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(lookup.finish()))
    }
}
