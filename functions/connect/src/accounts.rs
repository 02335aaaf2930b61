//! The accounts that a list shows: sought, sorted by how far they are behind, and cut into pages; and one of them, with
//! what happened to it.

use common::{
    account::AccountKey,
    store::{Event, Happened},
    time::DateTime,
};
use serde::Deserialize;

use crate::{
    Held,
    status::{State, Status},
};

/// The most accounts that a page has.
pub(crate) const MAX_PAGE: usize = 200;

/// How many events of an account are shown.
const EVENTS: i64 = 50;

/// Which accounts a list shows.
#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Sought {
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
pub(crate) struct Found {
    /// How many accounts there are in each state, of all.
    pub(crate) counts: Vec<(State, usize)>,
    /// How many were found.
    pub(crate) total: usize,
    /// Those of the page.
    pub(crate) accounts: Vec<Status>,
}

impl Held {
    pub(crate) async fn find(&self, sought: &Sought, limit: usize) -> Result<Found, mongodb::error::Error> {
        let (now, behind_after) = (DateTime::now(), self.config.behind_after);
        let all = self.store.statuses().await?.into_iter().map(|account| Status::of(account, behind_after, now));
        let mut found = find(all.collect(), sought, limit);
        let keys: Vec<AccountKey> = found.accounts.iter().map(|account| account.key.clone()).collect();
        let mut lately = self.store.lately(&keys).await?;
        for account in &mut found.accounts {
            if let Some(lately) = lately.remove(&account.key.to_string()) {
                account.did(lately, now);
            }
        }
        Ok(found)
    }

    pub(crate) async fn find_one(&self, account: &AccountKey) -> Result<Option<Status>, mongodb::error::Error> {
        let found = self.store.status(account).await?;
        Ok(found.map(|account| Status::of(account, self.config.behind_after, DateTime::now())))
    }

    /// The latest that happened to an account, the newest first: what was noted, and what its checkpoint tells of.
    pub(crate) async fn timeline(&self, status: &Status) -> Result<Vec<Event>, mongodb::error::Error> {
        let mut events = self.store.timeline(&status.key, EVENTS).await?;
        if let Some(at) = status.backfilled_at {
            let place = events.partition_point(|event| event.at > at);
            events.insert(place, Event { at, what: Happened::BackfillDone, detail: None, by: None });
        }
        Ok(events)
    }
}

fn find(all: Vec<Status>, sought: &Sought, limit: usize) -> Found {
    let counts = State::ALL.map(|state| (state, all.iter().filter(|account| account.state == state).count()));
    let text = sought.search.trim().to_lowercase();
    let is_sought = |account: &Status| sought.state.is_empty() || account.state.name() == sought.state;
    let mut found: Vec<Status> =
        all.into_iter().filter(|account| is_sought(account) && account.matches(&text)).collect();
    found.sort_by(|one, other| one.rank().cmp(&other.rank()));
    let total = found.len();
    let accounts = found.into_iter().skip(usize::try_from(sought.offset).unwrap_or(usize::MAX)).take(limit).collect();
    Found { counts: counts.into_iter().filter(|(_, count)| *count > 0).collect(), total, accounts }
}
