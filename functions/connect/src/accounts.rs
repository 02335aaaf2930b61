//! The accounts on one page of a list, in their current state, and one account with its timeline.

use std::time::Duration;

use model::{account::AccountKey, time::DateTime};
use mongodb::error::Error;
use serde::Deserialize;
use store::{Event, HourOfHealth, TimelineEvent};

use crate::{
    AppState,
    status::{State, Status, last_day},
};

/// The most accounts on a page.
pub(crate) const MAX_PAGE: usize = 200;

/// The most events shown of an account.
const MAX_EVENTS: i64 = 50;

/// Which accounts a list shows.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct AccountFilter {
    /// A part of a name or an id. Empty for all accounts.
    #[serde(default)]
    pub(crate) search: String,
    /// The name of a state. Empty for all states.
    #[serde(default)]
    pub(crate) state: String,
    /// How many accounts the pages before it have.
    #[serde(default)]
    pub(crate) offset: u32,
    /// The most accounts on the page. `None` for the default.
    pub(crate) limit: Option<usize>,
}

/// A page of accounts.
#[derive(Debug)]
pub(crate) struct AccountPage {
    /// How many of all accounts are in each state.
    pub(crate) counts: Vec<(State, usize)>,
    /// How many accounts match the filter.
    pub(crate) total: usize,
    /// The accounts on the page.
    pub(crate) accounts: Vec<Status>,
    /// The health of all accounts in the last 24 hours, by hour, the oldest first. The second field is when the newest
    /// entry was written.
    pub(crate) hours: Vec<(String, Option<HourOfHealth>)>,
    pub(crate) noted_at: Option<DateTime>,
    /// An account that was not checked for this long is behind.
    pub(crate) behind_after: Duration,
}

impl AccountFilter {
    /// Returns true if the list shows accounts in this state.
    pub(crate) fn is_of(&self, state: State) -> bool {
        self.state.is_empty() || self.state == state.name()
    }
}

impl AppState {
    /// Returns the page of up to `limit` accounts that match the filter. Fails if MongoDB cannot be reached.
    pub(crate) async fn find(&self, sought: &AccountFilter, limit: usize) -> Result<AccountPage, Error> {
        let overview = self.overview.get(&self.store, self.config.behind_after).await?;
        let (total, keys) = overview.find(sought, limit);
        let (statuses, now) = (self.store.statuses_of(&keys).await?, DateTime::now());
        let accounts = statuses.into_iter().map(|account| Status::of(account, self.config.behind_after, now));
        // An account may have changed its state since the overview was read.
        let accounts = accounts.filter(|account| sought.is_of(account.state)).collect();
        let of_hour = |hour: String| {
            let health = overview.health.hours.get(&hour).copied();
            (hour, health)
        };
        Ok(AccountPage {
            counts: overview.counts(),
            total,
            accounts,
            hours: last_day(now).into_iter().map(of_hour).collect(),
            noted_at: overview.health.at,
            behind_after: self.config.behind_after,
        })
    }

    /// Returns the status of an account. Returns `None` if it does not exist. Fails if MongoDB cannot be reached.
    pub(crate) async fn find_one(&self, account: &AccountKey) -> Result<Option<Status>, Error> {
        let found = self.store.status(account).await?;
        Ok(found.map(|account| Status::of(account, self.config.behind_after, DateTime::now())))
    }

    /// Returns the newest events of an account, the newest first, with the end of the backfill from its checkpoint.
    /// Fails if MongoDB cannot be reached.
    pub(crate) async fn timeline(&self, status: &Status) -> Result<Vec<Event>, Error> {
        let mut events = self.store.timeline(&status.key, MAX_EVENTS).await?;
        if let Some(at) = status.backfilled_at {
            let place = events.partition_point(|event| event.at > at);
            events.insert(place, Event { at, what: TimelineEvent::BackfillDone, detail: None, by: None });
        }
        Ok(events)
    }
}
