//! The state of an account, computed from its documents. Pure.

mod objects;
mod problems;

use std::{collections::BTreeMap, time::Duration};

use model::{
    account::{AccountKey, DISCONNECTED, REAUTHORIZE},
    checkpoint::{ActionCounts, Lane, LaneProblem, LastRun, ProblemKind, hour},
    object::ObjectType,
    time::{self, DateTime},
};
use serde::Serialize;
use store::AccountStatus;

pub(crate) use self::{objects::ObjectStatus, problems::Problem};

/// The state of an account, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum State {
    /// It was checked for changes lately.
    Fresh,
    /// Its history is being read, and it is checked for changes.
    Backfilling,
    /// It was connected, and has not been checked yet.
    New,
    /// It was not checked for changes for too long.
    Behind,
    /// Something fails again and again, or HubSpot denies access to a part of the account. It is tried again.
    Failing,
    /// The customer has to connect it again.
    Reauthorize,
    /// An operator has paused it.
    Paused,
    /// It was disconnected, or its Domain's integration is switched off.
    Disconnected,
}

impl State {
    pub(crate) const ALL: [Self; 8] = [
        Self::Behind,
        Self::Failing,
        Self::Reauthorize,
        Self::New,
        Self::Backfilling,
        Self::Fresh,
        Self::Paused,
        Self::Disconnected,
    ];

    /// Returns true if somebody has to do something, or at least to look.
    pub(crate) fn needs_somebody(self) -> bool {
        matches!(self, Self::Behind | Self::Failing | Self::Reauthorize)
    }

    /// Returns its name in the API.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Backfilling => "backfilling",
            Self::New => "new",
            Self::Behind => "behind",
            Self::Failing => "failing",
            Self::Reauthorize => "reauthorize",
            Self::Paused => "paused",
            Self::Disconnected => "disconnected",
        }
    }
}

/// How much of the history was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Backfill {
    pub(crate) read: i64,
    /// How many records HubSpot counts. `None` before the first count.
    pub(crate) total: Option<i64>,
}

/// The state of an account and its freshness. They decide its place in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) state: State,
    /// Up to when all lanes were checked for changes.
    pub(crate) fresh_to: Option<DateTime>,
}

impl Standing {
    /// Returns the standing of an account at `now`. The account is behind if it was not checked for `behind_after`.
    pub(crate) fn of(account: &AccountStatus, behind_after: Duration, now: DateTime) -> Self {
        let lanes: Vec<&Lane> = account.checkpoint.iter().flat_map(|checkpoint| checkpoint.live_lanes()).collect();
        // `None`, a lane that was never checked, is less than any time.
        let fresh_to = lanes.iter().map(|lane| lane.fresh.mark).min().flatten();
        // Missing permissions do not pass by themselves.
        let lasts = |problem: &LaneProblem| problem.attempts > 1 || problem.kind == ProblemKind::Forbidden;
        let is_failing = |lane: &&Lane| lane.last_error.as_ref().is_some_and(lasts);
        let state = match account.state.as_deref() {
            Some(DISCONNECTED) => State::Disconnected,
            _ if !account.is_on => State::Disconnected,
            Some(REAUTHORIZE) => State::Reauthorize,
            _ if account.paused_at.is_some() => State::Paused,
            _ if !account.has_token => State::Reauthorize,
            // HubSpot gives access to nothing that is to be read.
            _ if lanes.is_empty() && account.checkpoint.is_some() => State::Failing,
            _ if lanes.iter().any(is_failing) => State::Failing,
            _ => match fresh_to {
                None => State::New,
                Some(fresh_to) if time::between(fresh_to, now) >= behind_after => State::Behind,
                Some(_) if is_backfilling(&lanes) => State::Backfilling,
                Some(_) => State::Fresh,
            },
        };
        Self { state, fresh_to }
    }

    /// Returns the sort key of the list. Accounts that need somebody come first, and accounts that are not synced come
    /// last. Within each group, those that were not checked for longer come first.
    pub(crate) fn rank(self) -> (u8, Option<DateTime>) {
        let kind = match self.state {
            state if state.needs_somebody() => 0,
            State::Paused | State::Disconnected => 2,
            _ => 1,
        };
        (kind, self.fresh_to)
    }
}

/// The reason shown for a disconnected account whose grant is not revoked yet.
const REVOCATION_PENDING: &str = "its access could not be given back to HubSpot yet; this is tried again";

/// The status of an account.
#[derive(Clone, Debug)]
pub(crate) struct Status {
    pub(crate) key: AccountKey,
    pub(crate) company: Option<String>,
    pub(crate) hub_domain: Option<String>,
    pub(crate) state: State,
    /// Why it is in that state, if there is more to say.
    pub(crate) reason: Option<String>,
    /// Since when it is in that state, if that is known.
    pub(crate) since: Option<DateTime>,
    /// Up to when all lanes were checked for changes.
    pub(crate) fresh_to: Option<DateTime>,
    /// How long before now `fresh_to` is.
    pub(crate) behind: Option<Duration>,
    pub(crate) last_success_at: Option<DateTime>,
    pub(crate) last_run: Option<LastRun>,
    /// The progress of the backfill. `None` if the history is not being read.
    pub(crate) backfill: Option<Backfill>,
    /// When the backfill of all lanes was completed.
    pub(crate) backfilled_at: Option<DateTime>,
    /// The status of each object type.
    pub(crate) objects: Vec<ObjectStatus>,
    pub(crate) problems: Vec<Problem>,
    /// The used shares of HubSpot's search limit and of its general limit, 0 to 1. They are below 1 after refusals
    /// (429).
    pub(crate) shares: (f64, f64),
    /// The actions published in the last 24 hours.
    pub(crate) day: ActionCounts,
    /// The same by hour, the oldest first.
    pub(crate) hours: Vec<(String, ActionCounts)>,
}

impl Status {
    /// Returns the status of an account at `now`. The account is behind if it was not checked for `behind_after`.
    pub(crate) fn of(account: AccountStatus, behind_after: Duration, now: DateTime) -> Self {
        let Standing { state, fresh_to } = Standing::of(&account, behind_after, now);
        let checkpoint = *account.checkpoint.unwrap_or_default();
        let lanes: Vec<&Lane> = checkpoint.live_lanes().collect();
        let set_aside = |object| account.set_aside.get(&object).copied().unwrap_or_default();
        let problems_of =
            |object: ObjectType| problems::problems(object, checkpoint.lanes.get(object), set_aside(object));
        let problems = checkpoint.objects().iter().copied().flat_map(problems_of).collect();
        let objects = ObjectStatus::all(&checkpoint, set_aside);
        let (day, hours) = activity(&checkpoint.activity, now);
        Self {
            key: account.key,
            company: account.company,
            hub_domain: account.hub_domain,
            state,
            reason: match (state, account.revocation_at) {
                (State::Reauthorize, _) => account.state_reason,
                (State::Disconnected, Some(_)) => Some(REVOCATION_PENDING.to_owned()),
                _ => None,
            },
            since: if state == State::Paused { account.paused_at } else { account.state_at },
            fresh_to,
            behind: fresh_to.map(|fresh_to| time::between(fresh_to, now)),
            last_success_at: checkpoint.last_success_at,
            backfill: backfill(&lanes),
            backfilled_at: backfilled_at(&lanes),
            last_run: checkpoint.last_run,
            objects,
            problems,
            shares: (checkpoint.limits.search.share.min(1.0), checkpoint.limits.general.share.min(1.0)),
            day,
            hours,
        }
    }

    /// Returns the name that people know the account by.
    pub(crate) fn name(&self) -> &str {
        self.company.as_deref().unwrap_or(self.key.domain_id.as_str())
    }
}

/// Returns true if a lane's history is not read yet, and reading has begun.
fn is_backfilling(lanes: &[&Lane]) -> bool {
    let is_begun = |lane: &&Lane| lane.first_seen.is_some() || !lane.backfill.windows.is_empty();
    lanes.iter().any(|lane| lane.has_history_to_read()) && lanes.iter().any(is_begun)
}

fn backfill(lanes: &[&Lane]) -> Option<Backfill> {
    if !is_backfilling(lanes) {
        return None;
    }
    let totals: Vec<i64> = lanes.iter().filter_map(|lane| lane.backfilled.total).collect();
    let total = (totals.len() == lanes.len()).then(|| totals.iter().sum());
    let read: i64 = lanes.iter().map(|lane| lane.backfilled.read).sum();
    Some(Backfill { read: total.map_or(read, |total| read.min(total)), total })
}

fn backfilled_at(lanes: &[&Lane]) -> Option<DateTime> {
    if lanes.iter().any(|lane| lane.has_history_to_read()) {
        return None;
    }
    lanes.iter().filter_map(|lane| lane.backfill.completed_at).max()
}

/// Returns the actions published in the last 24 hours, in all and by hour.
fn activity(by_hour: &BTreeMap<String, ActionCounts>, now: DateTime) -> (ActionCounts, Vec<(String, ActionCounts)>) {
    let mut day = ActionCounts::default();
    let hours = last_day(now).into_iter().map(|hour| {
        let actions = by_hour.get(&hour).copied().unwrap_or_default();
        let ActionCounts { created, updated, deleted } = actions;
        day.created += created;
        day.updated += updated;
        day.deleted += deleted;
        (hour, actions)
    });
    let hours = hours.collect();
    (day, hours)
}

/// Returns the last 24 hours, with the current one, the oldest first.
pub(crate) fn last_day(now: DateTime) -> Vec<String> {
    (0..24).rev().map(|hours: u64| hour(time::before(now, Duration::from_secs(hours * 3600)))).collect()
}

/// Serializes a time for a program, or null.
pub(crate) fn rfc3339<S: serde::Serializer>(time: &Option<DateTime>, serializer: S) -> Result<S::Ok, S::Error> {
    time.and_then(|time| time.try_to_rfc3339_string().ok()).serialize(serializer)
}

#[cfg(test)]
pub(crate) mod tests {
    use model::checkpoint::{Backfilled, Checkpoint, Window};

    use super::*;

    const NOW: DateTime = DateTime::from_millis(1_800_000_000_000);
    const HOUR: Duration = Duration::from_secs(3600);

    pub(crate) fn account(checkpoint: Option<Checkpoint>) -> AccountStatus {
        AccountStatus {
            key: AccountKey::new("acme", 7).unwrap(),
            company: None,
            hub_domain: None,
            is_on: true,
            state: None,
            state_reason: None,
            state_at: None,
            revocation_at: None,
            paused_at: None,
            has_token: true,
            set_aside: BTreeMap::new(),
            checkpoint: checkpoint.map(Box::new),
        }
    }

    fn looked_at(ago: Duration) -> Checkpoint {
        let mut checkpoint = Checkpoint::default();
        for object in ObjectType::DEFAULT {
            let lane = checkpoint.lanes.get_mut(object);
            lane.first_seen = Some(time::before(NOW, 24 * HOUR));
            lane.fresh.mark = Some(time::before(NOW, ago));
        }
        checkpoint
    }

    fn state(account: AccountStatus) -> State {
        Status::of(account, HOUR, NOW).state
    }

    #[test]
    fn an_account_is_as_fresh_as_its_older_lane() {
        assert_eq!(state(account(None)), State::New);
        assert_eq!(state(account(Some(looked_at(Duration::ZERO)))), State::Fresh);
        assert_eq!(state(account(Some(looked_at(HOUR)))), State::Behind);
        let mut half = looked_at(Duration::ZERO);
        half.lanes.get_mut(ObjectType::CONTACTS).fresh.mark = Some(time::before(NOW, HOUR));
        assert_eq!(state(account(Some(half.clone()))), State::Behind);
        half.lanes.get_mut(ObjectType::CONTACTS).fresh.mark = None;
        assert_eq!(state(account(Some(half))), State::New);
    }

    #[test]
    fn what_somebody_must_do_something_about_is_said_first() {
        let fresh = || account(Some(looked_at(Duration::ZERO)));
        let with = |state: &str| AccountStatus { state: Some(state.to_owned()), ..fresh() };
        assert_eq!(state(with("reauthorize")), State::Reauthorize);
        assert_eq!(state(with("disconnected")), State::Disconnected);
        assert_eq!(state(AccountStatus { is_on: false, ..fresh() }), State::Disconnected);
        assert_eq!(state(AccountStatus { has_token: false, ..fresh() }), State::Reauthorize);
        assert_eq!(state(AccountStatus { paused_at: Some(NOW), ..fresh() }), State::Paused);
        let mut failing = looked_at(Duration::ZERO);
        let table = [
            (ProblemKind::Transient, 1, State::Fresh),
            (ProblemKind::Transient, 2, State::Failing),
            (ProblemKind::Forbidden, 1, State::Failing),
        ];
        for (kind, attempts, expected) in table {
            let reason = "why".to_owned();
            let problem = LaneProblem { kind, pass: None, reason, at: NOW, attempts, retry_at: NOW };
            failing.lanes.get_mut(ObjectType::CONTACTS).last_error = Some(problem);
            assert_eq!(state(account(Some(failing.clone()))), expected, "{kind:?} {attempts}");
        }
    }

    #[test]
    fn the_history_is_told_while_it_is_read() {
        let mut checkpoint = looked_at(Duration::ZERO);
        checkpoint.lanes.get_mut(ObjectType::CONTACTS).backfill.windows = vec![Window::new(NOW, None)];
        checkpoint.lanes.get_mut(ObjectType::CONTACTS).backfilled =
            Backfilled { read: 40, total: Some(100), from: None };
        checkpoint.lanes.get_mut(ObjectType::COMPANIES).backfilled =
            Backfilled { read: 10, total: Some(10), from: None };
        let status = Status::of(account(Some(checkpoint.clone())), HOUR, NOW);
        assert_eq!(
            (status.state, status.backfill),
            (State::Backfilling, Some(Backfill { read: 50, total: Some(110) }))
        );
        checkpoint.lanes.get_mut(ObjectType::CONTACTS).backfilled.read = 400;
        assert_eq!(Status::of(account(Some(checkpoint)), HOUR, NOW).backfill.unwrap().read, 110);
        assert_eq!(Status::of(account(None), HOUR, NOW).backfill, None);
    }

    #[test]
    fn a_day_is_24_hours() {
        let mut by_hour = BTreeMap::new();
        for (hours, created) in [(0, 1), (23, 2), (24, 4)] {
            let announced = ActionCounts { created, ..ActionCounts::default() };
            by_hour.insert(hour(time::before(NOW, hours * HOUR)), announced);
        }
        let (day, hours) = activity(&by_hour, NOW);
        let of = |place: usize| hours[place].1.total();
        assert_eq!((day.created, of(23), of(0), hours.len()), (3, 1, 2, 24));
    }
}
