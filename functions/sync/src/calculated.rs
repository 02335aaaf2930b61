//! Calculated properties. HubSpot changes their values without moving a record's modification time, so that no search shows
//! it. The values of all records are compared with what was published from time to time, when a lane has nothing else to
//! read. A record that differs is read by its id, and published as any other record.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use futures::future::join_all;
use hubspot::{HubSpotError, MAX_READ_IDS, Row};
use model::{
    checkpoint::{CalculatedProperties, Lane},
    ids::RecordId,
    object::ObjectType,
    reference::{Ledger, Source},
    time::{self, DateTime},
};
use store::LedgerEntry;

use crate::{
    budget::Concurrent,
    context::SliceContext,
    error::SliceError,
    lane::{LaneReader, WindowOutcome},
    ledger::{PublishLedger, PublishTerms},
    plan::{self, Compared},
    preparation,
    set_aside::is_a_records,
    state::LaneStep,
};

/// After this many failures in a row, a record that is read alone is left out of the comparison.
const LEAVE_OUT_ATTEMPTS: u32 = 10;

/// Finds out which of the properties that are read of an object type HubSpot calculates. Their list is read from MongoDB if
/// other properties are chosen, or if HubSpot's list may have been read since. Returns true if the lane has changed.
///
/// # Errors
/// MongoDB cannot be reached.
pub(crate) async fn learn(
    slice: &SliceContext<'_>,
    object: ObjectType,
    lane: &mut Lane,
    are_chosen_anew: bool,
) -> Result<bool, SliceError> {
    let (config, candidates) = (&slice.sync.config, candidates(object, slice.properties(object)));
    let every = config.references_every.filter(|_| config.calculated_every.is_some() && !candidates.is_empty());
    let Some(every) = every else { return Ok(lane.kept.calculated.take().is_some()) };
    let listed_at = slice.leased.checkpoint.references_due_at.map(|due_at| time::before(due_at, every));
    if !are_chosen_anew && is_up_to_date(lane.kept.calculated.as_ref(), listed_at) {
        return Ok(false);
    }
    let list = slice.store().reference_ledger(slice.key, Source::Schemas(object)).await?;
    if list.read_at.is_none() && list.failure.is_none() {
        // It is read beside the lanes.
        return Ok(false);
    }
    plan::learn_calculated(lane, chosen(&list, &candidates), DateTime::now());
    Ok(true)
}

/// Returns the properties that may be compared. The usual ones of companies and contacts are not: an account that has
/// chosen nothing must not pay for it.
fn candidates(object: ObjectType, names: &[String]) -> BTreeSet<&str> {
    let usual = if object.is_default() { object.default_properties() } else { &[] };
    names.iter().map(String::as_str).filter(|name| !usual.contains(name)).collect()
}

/// Returns those of the candidates that the list says are calculated, in order.
fn chosen(list: &Ledger, candidates: &BTreeSet<&str>) -> Vec<String> {
    let names: BTreeSet<&str> = list.calculated().filter(|name| candidates.contains(name)).collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Returns true if the names are known, and no list was read since. `listed_at` is when the earliest of the lists that are
/// read once a day was read.
fn is_up_to_date(calculated: Option<&CalculatedProperties>, listed_at: Option<DateTime>) -> bool {
    let learned_at = calculated.and_then(|calculated| calculated.learned_at);
    learned_at.is_some_and(|learned_at| listed_at.is_none_or(|listed_at| listed_at < learned_at))
}

impl LaneReader<'_> {
    /// Compares the calculated values of these records with what was published, and publishes those that differ.
    ///
    /// # Errors
    /// HubSpot or MongoDB failed, or there is no time.
    pub(crate) async fn compare_values(
        &mut self,
        known: Vec<(RecordId, LedgerEntry)>,
    ) -> Result<WindowOutcome, SliceError> {
        let Some(calculated) = &self.state.lane.kept.calculated else { return Ok(WindowOutcome::Closed) };
        let names = calculated.names.clone();
        let live = known.iter().filter(|(_, seen)| seen.is_live()).map(|(id, _)| id.to_string()).collect();
        let Some(rows) = self.read_values(live, &names).await? else { return Ok(WindowOutcome::OutOfTime) };
        let terms = PublishTerms::of(&self.state.lane);
        let ledger = PublishLedger::new(self.object, terms, known.into_iter().collect());
        let differing = preparation::records(&rows).filter(|record| ledger.is_recalculated(record));
        let differing: Vec<String> = differing.map(|record| record.id.to_string()).collect();
        self.publish_by_ids(LaneStep::Comparison(Compared::CalculatedValues), &differing, None).await
    }

    /// Reads the values of records by their ids, in halves if that fails, down to the record that HubSpot has no answer
    /// for, which is left out. Returns `None` if there is no time.
    ///
    /// # Errors
    /// HubSpot returns nobody's, or the general limit leaves no time.
    async fn read_values(&self, ids: Vec<String>, names: &[String]) -> Result<Option<Vec<Row>>, SliceError> {
        let (slice, object, mut rows) = (self.slice, self.object, Vec::new());
        let mut parts: VecDeque<Vec<String>> = ids.chunks(MAX_READ_IDS).map(<[String]>::to_vec).collect();
        while !parts.is_empty() {
            let Some(latest) = self.tuning.pace.latest_start(Concurrent::Nothing) else { return Ok(None) };
            let (mut failure, mut took) = (None, Duration::ZERO);
            let reads = parts.drain(..).map(async |ids| {
                let read = slice.session.read_by_ids(object, &ids, names, Some(latest)).await;
                (ids, read)
            });
            let began = tokio::time::Instant::now();
            for (ids, read) in join_all(reads).await {
                match read {
                    Ok(Some(read)) => rows.extend(read.rows),
                    Ok(None) => return Err(SliceError::NoTime),
                    Err(error) if is_a_records(&error) => failure = self.divide(ids, error, &mut parts).or(failure),
                    Err(error) => return Err(error.into()),
                }
                took = began.elapsed();
            }
            self.tuning.asked();
            self.tuning.pace.page_took(took);
            // No single record is the cause, or it is not found yet.
            if let Some(error) = failure.filter(|_| rows.is_empty()) {
                return Err(error.into());
            }
        }
        Ok(Some(rows))
    }

    /// Divides records that HubSpot has no answer for into halves. Leaves out a record that is the cause by itself. Returns
    /// the failure if it may be another's.
    fn divide(
        &self,
        mut ids: Vec<String>,
        error: HubSpotError,
        parts: &mut VecDeque<Vec<String>>,
    ) -> Option<HubSpotError> {
        let attempts = self.state.lane.kept.calculated.as_ref().map_or(0, |calculated| calculated.comparison.attempts);
        if let [id] = &ids[..]
            && (error.is_about_contents() || attempts >= LEAVE_OUT_ATTEMPTS)
        {
            tracing::warn!(record.id = id, %error, "calculated values cannot be read");
            return None;
        }
        let rest = ids.split_off(ids.len() / 2);
        parts.extend([ids, rest].into_iter().filter(|part| !part.is_empty()));
        Some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_usual_properties_of_companies_and_contacts_are_not_compared() {
        let usual = ObjectType::CONTACTS.properties(Vec::new());
        assert!(candidates(ObjectType::CONTACTS, &usual).is_empty());
        let more = ObjectType::CONTACTS.properties(names(&["hubspotscore", "my_score"]));
        assert_eq!(candidates(ObjectType::CONTACTS, &more), BTreeSet::from(["my_score"]));
        let invoices = ObjectType::parse("invoices").unwrap();
        assert!(candidates(invoices, &invoices.properties(Vec::new())).contains("hs_balance_due"));
    }

    #[test]
    fn names_are_looked_up_again_after_each_reading_of_the_lists() {
        let at = |seconds: i64| DateTime::from_millis(seconds * 1000);
        let learned = CalculatedProperties { learned_at: Some(at(50)), ..CalculatedProperties::default() };
        assert!(!is_up_to_date(None, None));
        assert!(!is_up_to_date(Some(&CalculatedProperties::default()), None));
        assert!(is_up_to_date(Some(&learned), None) && is_up_to_date(Some(&learned), Some(at(49))));
        assert!(!is_up_to_date(Some(&learned), Some(at(50))));
    }
}
