//! Decides when the recycle bin is read, because search never shows deleted records, and when all associations and the
//! values of calculated properties are compared, because a change of them may not show in search either.

use std::time::Duration;

use hubspot::{MAX_ASSOCIATION_INPUTS, MAX_READ_IDS};
use model::checkpoint::Sweep;

use super::{DateTime, Lane, Settings, time};

/// The pause after a page of the recycle bin could not be read. It doubles each time, up to the longest.
const FIRST_SWEEP_PAUSE: Duration = Duration::from_secs(60);
const LONGEST_SWEEP_PAUSE: Duration = Duration::from_secs(6 * 3600);

/// After this many failures the sweep begins again from the start, because HubSpot may reject the cursor.
const RESTART_SWEEP_ATTEMPTS: u32 = 3;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Compared {
    /// The associations of records.
    Associations,
    /// The values of their calculated properties.
    CalculatedValues,
}

impl Compared {
    /// Returns how many records are compared at once.
    pub(crate) fn most(self) -> usize {
        match self {
            Self::Associations => MAX_ASSOCIATION_INPUTS,
            // They are read by as many requests at the same time as that takes.
            Self::CalculatedValues => 5 * MAX_READ_IDS,
        }
    }

    /// Returns the state of this comparison in a lane. Returns `None` if nothing is compared.
    pub(crate) fn of(self, lane: &mut Lane) -> Option<&mut Sweep> {
        match self {
            Self::Associations => Some(&mut lane.kept.associations),
            Self::CalculatedValues => lane.kept.calculated.as_mut().map(|calculated| &mut calculated.comparison),
        }
    }
}

/// Returns true if a page of the recycle bin is to be read, in a lane that has nothing else to read.
pub(crate) fn sweep_is_due(lane: &Lane, settings: Settings, now: DateTime, look_since: DateTime) -> bool {
    is_due(&lane.sweep, settings.sweep_every, settings.sweep_since, now, look_since)
}

/// Returns true if the associations of further records are to be compared, in a lane that has nothing else to read.
pub(crate) fn comparison_is_due(lane: &Lane, settings: Settings, now: DateTime, look_since: DateTime) -> bool {
    is_due(&lane.kept.associations, settings.associations_every, None, now, look_since)
}

/// Returns true if the calculated values of further records are to be compared, in a lane that has nothing else to read.
pub(crate) fn calculated_is_due(lane: &Lane, settings: Settings, now: DateTime, look_since: DateTime) -> bool {
    let calculated = lane.kept.calculated.as_ref().filter(|calculated| !calculated.names.is_empty());
    calculated.is_some_and(|of| is_due(&of.comparison, settings.calculated_every, None, now, look_since))
}

fn is_due(
    sweep: &Sweep,
    every: Option<Duration>,
    since: Option<DateTime>,
    now: DateTime,
    look_since: DateTime,
) -> bool {
    if let Some(retry_at) = sweep.retry_at {
        return retry_at <= now;
    }
    let is_old = |at, every| at > now || (at < look_since && time::between(at, now) >= every);
    let is_due = |every| sweep.ended_at.is_none_or(|at| is_old(at, every));
    let is_asked = since.is_some_and(|since| sweep.began_at.is_none_or(|began| began < since));
    sweep.after.is_some() || every.is_some_and(is_due) || is_asked
}

/// Records that a page was published. `next` is where the next page begins, or `None` at the end.
pub(crate) fn sweep_page_done(sweep: &mut Sweep, next: Option<String>, now: DateTime) {
    let ended_at = if next.is_some() { sweep.ended_at } else { Some(now) };
    // The page that could not be read may come later.
    let attempts = if next.is_some() { sweep.attempts } else { 0 };
    *sweep = Sweep { after: next, ended_at, began_at: sweep.began_at, attempts, ..Sweep::default() };
}

/// Records that the associations or values of some records were compared. `next` is the last of them, or `None` at the end. The
/// next step is as large as this one, or twice as large.
pub(crate) fn comparison_step_done(comparison: &mut Sweep, next: Option<String>, now: DateTime) {
    let attempts = comparison.attempts.saturating_sub(1);
    sweep_page_done(comparison, next, now);
    comparison.attempts = attempts;
}

/// Postpones the comparison, because records could not be read. It continues from the same one, with fewer of them.
pub(crate) fn postpone_comparison(comparison: &mut Sweep, reason: String, now: DateTime) {
    let after = comparison.after.clone();
    postpone_sweep(comparison, reason, now);
    comparison.after = after;
}

/// Postpones the sweep, because a page could not be read. After some failures, it begins again from the start.
pub(crate) fn postpone_sweep(sweep: &mut Sweep, reason: String, now: DateTime) {
    let pause = time::doubled(FIRST_SWEEP_PAUSE, sweep.attempts, LONGEST_SWEEP_PAUSE);
    sweep.attempts = sweep.attempts.saturating_add(1);
    sweep.retry_at = Some(time::after(now, pause));
    sweep.last_error = Some(reason);
    if sweep.attempts >= RESTART_SWEEP_ATTEMPTS {
        sweep.after = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime {
        DateTime::from_millis(seconds * 1000)
    }

    #[test]
    fn a_comparison_that_fails_continues_where_it_stopped_with_fewer_contacts() {
        let mut comparison = Sweep { after: Some("300".to_owned()), ..Sweep::default() };
        for attempts in 1..=5 {
            postpone_comparison(&mut comparison, "why".to_owned(), at(10_000));
            assert_eq!((comparison.after.as_deref(), comparison.attempts), (Some("300"), attempts));
        }
        assert_eq!(comparison.retry_at, Some(at(10_000 + 16 * 60)));
        comparison_step_done(&mut comparison, Some("310".to_owned()), at(11_000));
        assert_eq!((comparison.after.as_deref(), comparison.attempts, comparison.retry_at), (Some("310"), 4, None));
        comparison_step_done(&mut comparison, None, at(11_001));
        assert_eq!((comparison.after, comparison.ended_at), (None, Some(at(11_001))));
    }
}
