//! All accounts in the order of the list, each with only what is needed to find it. Reading them is expensive for
//! MongoDB, so they are cached for a few seconds, but never beyond an operator's next action on an account.

use std::{sync::Arc, time::Duration};

use futures::{TryStreamExt, future::ready};
use model::{
    account::AccountKey,
    time::{self, DateTime},
};
use mongodb::error::Error;
use store::{AccountStatus, Health, Store};
use tokio::sync::Mutex;

use crate::{
    accounts::AccountFilter,
    status::{Standing, State},
};

/// How long an overview is cached.
const OVERVIEW_TTL: Duration = Duration::from_secs(5);

/// The most by which the clocks of two instances of the function differ.
const MAX_CLOCK_SKEW: Duration = Duration::from_secs(1);

/// All accounts at one time.
#[derive(Debug)]
pub(crate) struct Overview {
    /// When reading began, and when it ended.
    began_at: DateTime,
    ended_at: DateTime,
    rows: Vec<Row>,
    /// The health of all accounts in the last two days, by hour.
    pub(crate) health: Health,
}

/// What is needed to find an account.
#[derive(Debug)]
struct Row {
    key: AccountKey,
    standing: Standing,
    /// Its names and ids in lower case, one a line. The name that people know it by comes first.
    text: Box<str>,
}

impl Row {
    fn of(account: AccountStatus, standing: Standing) -> Self {
        let (domain, hub) = (account.key.domain_id.as_str(), account.key.hub_id.as_str());
        let company = account.company.as_deref().unwrap_or(domain);
        let text = [company, account.hub_domain.as_deref().unwrap_or_default(), domain, hub].join("\n");
        Self { text: text.to_lowercase().into(), key: account.key, standing }
    }
}

impl Overview {
    async fn read(store: &Store, behind_after: Duration) -> Result<Self, Error> {
        let began_at = DateTime::now();
        let mut rows: Vec<Row> = Vec::new();
        let accounts = store.statuses().await?;
        accounts
            .try_for_each(|account| {
                let standing = Standing::of(&account, behind_after, began_at);
                rows.push(Row::of(account, standing));
                ready(Ok(()))
            })
            .await?;
        let health = store.health().await?;
        Ok(Self::new(rows, health, began_at, DateTime::now()))
    }

    fn new(mut rows: Vec<Row>, health: Health, began_at: DateTime, ended_at: DateTime) -> Self {
        rows.sort_unstable_by(|one, other| (one.standing.rank(), &one.text).cmp(&(other.standing.rank(), &other.text)));
        Self { began_at, ended_at, rows, health }
    }

    /// Returns how many accounts are in each state. States without accounts are omitted.
    pub(crate) fn counts(&self) -> Vec<(State, usize)> {
        let count = |state| self.rows.iter().filter(|row| row.standing.state == state).count();
        State::ALL.into_iter().map(|state| (state, count(state))).filter(|(_, count)| *count > 0).collect()
    }

    /// Returns how many accounts match the filter, and the keys of up to `limit` accounts on its page.
    pub(crate) fn find(&self, sought: &AccountFilter, limit: usize) -> (usize, Vec<AccountKey>) {
        let text = sought.search.trim().to_lowercase();
        let is_found = |row: &&Row| sought.is_of(row.standing.state) && row.text.contains(&text);
        let found: Vec<&Row> = self.rows.iter().filter(is_found).collect();
        let page = found.iter().skip(usize::try_from(sought.offset).unwrap_or(usize::MAX)).take(limit);
        (found.len(), page.map(|row| row.key.clone()).collect())
    }
}

/// The overview that this instance of the function has read last.
#[derive(Debug, Default)]
pub(crate) struct OverviewCache(Mutex<Option<Arc<Overview>>>);

impl OverviewCache {
    /// Returns an overview that is at most [`OVERVIEW_TTL`] old, and newer than the last operation of any operator on
    /// any instance. Concurrent requests share one read. Fails if MongoDB cannot be reached.
    pub(crate) async fn get(&self, store: &Store, behind_after: Duration) -> Result<Arc<Overview>, Error> {
        let mut kept = self.0.lock().await;
        if let Some(overview) = &*kept
            && time::between(overview.ended_at, DateTime::now()) < OVERVIEW_TTL
            && !store.has_operator_acted_since(time::before(overview.began_at, MAX_CLOCK_SKEW)).await?
        {
            return Ok(overview.clone());
        }
        let overview = Arc::new(Overview::read(store, behind_after).await?);
        *kept = Some(overview.clone());
        Ok(overview)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::account;

    fn row(company: &str, hub: u32, state: State, fresh_to: Option<i64>) -> Row {
        let standing = Standing { state, fresh_to: fresh_to.map(DateTime::from_millis) };
        let key = serde_json::json!({"domainId": format!("Domain-{hub}"), "hubId": hub.to_string()});
        let account = AccountStatus {
            key: serde_json::from_value(key).unwrap(),
            company: (!company.is_empty()).then(|| company.to_owned()),
            hub_domain: Some(format!("Hub-{hub}.example")),
            ..account(None)
        };
        Row::of(account, standing)
    }

    fn overview() -> Overview {
        let rows = vec![
            row("Fresh", 1, State::Fresh, Some(9)),
            row("Paused", 2, State::Paused, None),
            row("beta", 3, State::New, None),
            row("Alpha", 4, State::New, None),
            row("", 5, State::Behind, Some(1)),
            row("Gone", 6, State::Disconnected, Some(0)),
            row("Rejected", 7, State::Reauthorize, Some(2)),
        ];
        Overview::new(rows, Health::default(), DateTime::MIN, DateTime::MIN)
    }

    fn found(search: &str, state: &str, offset: u32, limit: usize) -> (usize, Vec<String>) {
        let sought = AccountFilter { search: search.to_owned(), state: state.to_owned(), offset, limit: None };
        let (total, keys) = overview().find(&sought, limit);
        (total, keys.into_iter().map(|key| key.hub_id.to_string()).collect())
    }

    #[test]
    fn those_that_need_somebody_come_first_and_those_that_nobody_works_for_last() {
        let (total, hubs) = found("", "", 0, 200);
        assert_eq!((total, hubs.join("")), (7, "5743126".to_owned()));
    }

    #[test]
    fn a_page_is_a_part_of_what_is_found() {
        assert_eq!(found("", "", 2, 3), (7, ["4", "3", "1"].map(str::to_owned).to_vec()));
        assert_eq!(found("", "", 7, 3), (7, Vec::new()));
        assert_eq!(found("", "new", 1, 3), (2, vec!["3".to_owned()]));
    }

    #[test]
    fn accounts_are_found_by_each_of_their_names_and_ids() {
        for search in ["ALPHA", " alpha ", "hub-4", "domain-4", "4"] {
            assert_eq!(found(search, "", 0, 9), (1, vec!["4".to_owned()]), "{search}");
        }
        assert_eq!(found("alpha", "fresh", 0, 9).0, 0);
        assert_eq!(found("nobody", "", 0, 9).0, 0);
    }

    #[test]
    fn states_that_no_account_is_in_are_not_counted() {
        let counts = overview().counts();
        assert_eq!(counts[..3], [(State::Behind, 1), (State::Reauthorize, 1), (State::New, 2)]);
        assert_eq!(counts.len(), 6);
    }
}
