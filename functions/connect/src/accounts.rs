//! The accounts that a page of a list shows, as they are now; and one of them, with what happened to it.

use std::time::Duration;

use model::{account::AccountKey, time::DateTime};
use mongodb::error::Error;
use serde::Deserialize;
use store::{Event, HourOfHealth, TimelineEvent};

use crate::{
    AppState,
    status::{State, Status, last_day},
};

/// The most accounts that a page has.
pub(crate) const MAX_PAGE: usize = 200;

/// How many events of an account are shown.
const MAX_EVENTS: i64 = 50;

/// Which accounts a list shows.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct AccountFilter {
    /// A part of a name or an id.
    #[serde(default)]
    pub(crate) search: String,
    /// The name of a state.
    #[serde(default)]
    pub(crate) state: String,
    /// How many come before.
    #[serde(default)]
    pub(crate) offset: u32,
    /// How many are shown.
    pub(crate) limit: Option<usize>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct AccountPage {
    /// How many accounts there are in each state, of all.
    pub(crate) counts: Vec<(State, usize)>,
    /// How many were found.
    pub(crate) total: usize,
    /// Those of the page.
    pub(crate) accounts: Vec<Status>,
    /// How all accounts did in the last 24 hours, the oldest first; and when that was noted.
    pub(crate) hours: Vec<(String, Option<HourOfHealth>)>,
    pub(crate) noted_at: Option<DateTime>,
    /// An account that was not looked at for so long counts as behind.
    pub(crate) behind_after: Duration,
}

impl AccountFilter {
    /// Whether accounts in that state are among those that the list shows.
    pub(crate) fn is_of(&self, state: State) -> bool {
        self.state.is_empty() || self.state == state.name()
    }
}

impl AppState {
    pub(crate) async fn find(&self, sought: &AccountFilter, limit: usize) -> Result<AccountPage, Error> {
        let overview = self.overview.get(&self.store, self.config.behind_after).await?;
        let (total, keys) = overview.find(sought, limit);
        let (statuses, now) = (self.store.statuses_of(&keys).await?, DateTime::now());
        let accounts = statuses.into_iter().map(|account| Status::of(account, self.config.behind_after, now));
        // Since the overview was read, an account may have changed its state.
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

    pub(crate) async fn find_one(&self, account: &AccountKey) -> Result<Option<Status>, Error> {
        let found = self.store.status(account).await?;
        Ok(found.map(|account| Status::of(account, self.config.behind_after, DateTime::now())))
    }

    /// The latest that happened to an account, the newest first: what was noted, and what its checkpoint tells of.
    pub(crate) async fn timeline(&self, status: &Status) -> Result<Vec<Event>, Error> {
        let mut events = self.store.timeline(&status.key, MAX_EVENTS).await?;
        if let Some(at) = status.backfilled_at {
            let place = events.partition_point(|event| event.at > at);
            events.insert(place, Event { at, what: TimelineEvent::BackfillDone, detail: None, by: None });
        }
        Ok(events)
    }
}
