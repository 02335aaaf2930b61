//! What the rules depend on.

use std::time::Duration;

use model::time::DateTime;

/// The times that the rules depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// See `SYNC_OVERLAP_SECONDS`.
    pub(crate) overlap: Duration,
    /// See `SYNC_SETTLE_SECONDS`.
    pub(crate) settle: Duration,
    /// How often a fresh pass is made within a long run.
    pub(crate) fresh_every: Duration,
    /// See `SYNC_SWEEP_SECONDS`. `None` if the recycle bin is only read when HubSpot reports deletions.
    pub(crate) sweep_every: Option<Duration>,
    /// A sweep must have begun after this time, because HubSpot reported deletions then.
    pub(crate) sweep_since: Option<DateTime>,
    /// See `SYNC_ASSOCIATIONS_SECONDS`. `None` if they are not compared, or in the lane of companies.
    pub(crate) associations_every: Option<Duration>,
    /// True if there may be contacts to check for changes of their associations.
    pub(crate) has_association_checks: bool,
    /// See `SYNC_CALCULATED_SECONDS`. `None` if calculated values are not compared.
    pub(crate) calculated_every: Option<Duration>,
    /// When a change of a record of the lane was last published, by this machine's clock. `None` if the lane was never read.
    pub(crate) changed_at: Option<DateTime>,
}

#[cfg(test)]
impl Settings {
    /// Those of most tests.
    pub(crate) const USUAL: Self = Self {
        overlap: Duration::from_secs(300),
        settle: Duration::from_secs(3600),
        fresh_every: Duration::from_secs(30),
        sweep_every: Some(Duration::from_secs(600)),
        sweep_since: None,
        associations_every: None,
        has_association_checks: false,
        calculated_every: None,
        changed_at: None,
    };
}
