//! The records whose associations are being read, and what was found so far. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use model::{association::Association, object::ObjectType};
use tokio::time::Instant;

use super::{
    AssociationInput, Associations, HubSpotError, MAX_ASSOCIATION_INPUTS, MAX_ASSOCIATIONS, in_order,
    response::{Associated, Failure, Input, Response},
};

/// The most records that may fail one by one while none succeeds. If more fail, the cause is not a single record.
const MAX_SINGLE_FAILURES: usize = 5;

/// The time reserved for publishing the rows that were read.
const PUBLISHING_RESERVE: Duration = Duration::from_millis(500);

pub(super) struct Lookup {
    to: ObjectType,
    pending: Vec<Vec<Input>>,
    /// The inputs of second and later pages.
    pub(super) further: Vec<Input>,
    /// What was found of each record, all of which were given as inputs.
    found: HashMap<String, (AssociationInput, Vec<Association>)>,
    /// The records that are left out, and why.
    unread: HashMap<String, String>,
    /// The records that HubSpot has named in a failure. Each is requested once more.
    named_before: HashSet<String>,
    /// How long the slowest response took.
    pub(super) longest: Duration,
    /// True once HubSpot has returned the associations of any record.
    has_read_any: bool,
}

impl Lookup {
    pub(super) fn new(to: ObjectType, records: Vec<AssociationInput>, has_read_any: bool) -> Self {
        let inputs: Vec<Input> = records
            .iter()
            .map(|record| Input { id: record.id.as_str().to_owned(), after: record.after.clone() })
            .collect();
        let found = records.into_iter().map(|mut record| {
            let before = std::mem::take(&mut record.before);
            (record.id.as_str().to_owned(), (record, before))
        });
        Self {
            to,
            pending: inputs.chunks(MAX_ASSOCIATION_INPUTS).map(<[Input]>::to_vec).collect(),
            further: Vec::new(),
            found: found.collect(),
            unread: HashMap::new(),
            named_before: HashSet::new(),
            longest: Duration::ZERO,
            has_read_any,
        }
    }

    /// Returns the inputs to request next. Returns `None` if nothing is left, or if there is no time to read further
    /// pages.
    pub(super) fn next(&mut self, latest: Instant) -> Option<Vec<Input>> {
        if self.pending.is_empty() && !self.further.is_empty() {
            // Queueing the rows that were read takes time, too.
            if Instant::now() + 2 * self.longest + PUBLISHING_RESERVE > latest {
                return None;
            }
            self.pending.push(std::mem::take(&mut self.further));
        }
        self.pending.pop()
    }

    /// Returns true if HubSpot returns nobody's associations. The cause is then not these records.
    pub(super) fn is_hopeless(&self) -> bool {
        self.unread.len() > MAX_SINGLE_FAILURES && !self.has_read_any
    }

    /// Requests the records that the response does not cover once more. Leaves out those that an earlier response did
    /// not cover either.
    ///
    /// # Errors
    /// HubSpot returns nobody's associations.
    pub(super) fn leave_out(&mut self, response: &Response, inputs: &[Input]) -> Result<(), HubSpotError> {
        self.has_read_any |= !response.results.is_empty() || response.errors.iter().any(Failure::means_no_associations);
        let Some(failure) = response.errors.iter().find(|failure| !failure.means_no_associations()) else {
            return Ok(());
        };
        let error = HubSpotError::Malformed(format!("its associations are left out ({})", shown(&failure.category)));
        let (named, others) = response.concerned(inputs);
        let (again, once): (Vec<Input>, Vec<Input>) =
            named.into_iter().partition(|input| !self.named_before.insert(input.id.clone()));
        self.unread.extend(again.into_iter().map(|input| (input.id, error.to_string())));
        self.pending.extend(Some(once).filter(|once| !once.is_empty()));
        self.split(others, &error);
        if self.is_hopeless() {
            let reason = format!("associations of many records cannot be read ({})", shown(&failure.category));
            return Err(HubSpotError::Transient { reason, retry_after: None });
        }
        Ok(())
    }

    /// Requests the inputs again in two halves. A single input is left out.
    pub(super) fn split(&mut self, mut inputs: Vec<Input>, error: &HubSpotError) {
        if inputs.is_empty() {
            // The failing records are not among the inputs.
        } else if inputs.len() > 1 {
            let rest = inputs.split_off(inputs.len() / 2);
            self.pending.extend([inputs, rest]);
        } else {
            self.unread.extend(inputs.into_iter().map(|input| (input.id, error.to_string())));
        }
    }

    /// Stores the associations of a response, and queues its further pages.
    pub(super) fn take(&mut self, results: Vec<Associated>, mut inputs: Vec<Input>) {
        for Associated { from, to, paging } in results {
            let Some((_, associations)) = self.found.get_mut(&from.id) else { continue };
            let next = paging.and_then(|paging| paging.next).map(|next| next.after);
            let asked = inputs.iter_mut().find(|input| input.id == from.id).and_then(|input| input.after.take());
            associations.extend(to.into_iter().filter_map(|link| link.read(self.to)));
            // A cursor that does not move would be followed forever.
            let goes_on = next.filter(|next| Some(next) != asked.as_ref());
            if let Some(after) = goes_on {
                if associations.len() >= MAX_ASSOCIATIONS {
                    tracing::warn!(record.id = from.id, "a record has too many associations; the rest is left out");
                } else {
                    self.further.push(Input { id: from.id, after: Some(after) });
                }
            }
        }
    }

    /// Returns what was found.
    pub(super) fn finish(self) -> Associations {
        let (mut all, mut unfinished) = (self.found, HashMap::new());
        for Input { id, after } in self.further {
            if let Some((input, before)) = all.remove(&id) {
                unfinished.insert(id, AssociationInput { after, before, ..input });
            }
        }
        all.retain(|id, _| !self.unread.contains_key(id));
        unfinished.retain(|id, _| !self.unread.contains_key(id));
        let found = all.into_iter().map(|(id, (_, associations))| (id, in_order(associations)));
        Associations { found: found.collect(), unfinished, unread: self.unread, took: self.longest }
    }
}

fn shown(category: &str) -> String {
    category.chars().take(60).collect()
}
