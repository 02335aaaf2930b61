//! One slice of one account: lease, pull, and what comes next. Nothing in here takes longer than the budget.

use std::time::Duration;

use common::{
    account::{Account, AccountKey},
    checkpoint::{LaneProblem, Run},
    hubspot::{HubSpotError, Session},
    message::{SyncMessage, SyncRequest},
    object::ObjectType,
    queue::Queue,
    store::{Leased, Next, Store, StoreError},
    time::DateTime,
};
use secrecy::SecretString;
use tokio::time::{Instant, timeout_at};

use crate::{
    Sync, backoff,
    budget::Budget,
    chain::{self, Step},
    error::SliceError,
    lane::{self, LaneEnd},
    plan::Settings,
    tally::Tally,
    token,
};

/// How long a lease holds: longer than any invocation, and short enough that a killed slice's message finds
/// it gone when it is delivered again.
const LEASE: Duration = Duration::from_secs(20);

/// What the lanes of a slice share.
pub(crate) struct Slice<'a> {
    sync: &'a Sync,
    key: &'a AccountKey,
    pub(crate) leased: &'a Leased,
    pub(crate) session: Session,
    pub(crate) budget: &'a Budget,
    pub(crate) tally: &'a Tally,
}

impl Slice<'_> {
    pub(crate) fn store(&self) -> &Store {
        &self.sync.store
    }

    pub(crate) fn actions_queue(&self) -> &Queue {
        &self.sync.actions_queue
    }

    pub(crate) fn account(&self) -> &AccountKey {
        self.key
    }

    pub(crate) fn properties(&self, object: ObjectType) -> &[String] {
        self.sync.config.properties(object)
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings { overlap: self.sync.config.overlap, settle: self.sync.config.settle }
    }
}

/// How the lanes' work ended.
enum Outcome {
    /// The account is caught up.
    CaughtUp,
    /// There is more to do, after what HubSpot asked to wait.
    More(Duration),
    /// There is more to do, but nothing is gained by doing it at once.
    Failed(Duration),
    /// The account cannot be read until somebody does something about it.
    Stopped(String),
}

/// Does what a message asks for.
pub(crate) async fn run(sync: &Sync, request: &SyncRequest, budget: &Budget) -> Result<(), SliceError> {
    // Boxed: the future of a whole slice is deep, and large.
    match timeout_at(budget.ends(), Box::pin(within_budget(sync, request, budget))).await {
        Ok(result) => result,
        Err(_) => Err(SliceError::OutOfTime),
    }
}

async fn within_budget(sync: &Sync, request: &SyncRequest, budget: &Budget) -> Result<(), SliceError> {
    let Some(leased) = sync.store.lease(&request.account, LEASE).await? else {
        // A tick has nothing to add to the slice under way; a continuation must not get lost.
        return if request.run.is_none() { Ok(()) } else { Err(SliceError::Busy) };
    };
    match chain::step(leased.checkpoint.run.as_ref(), request, DateTime::now()) {
        Step::Work(run) => work(sync, request, leased, run, budget).await,
        Step::Resend(run) => {
            sync.store.release(&leased, Next::Unchanged).await?;
            send(sync, request, &run, request.attempt, Duration::ZERO).await
        }
        Step::Drop(reason) => {
            tracing::info!(account.domain_id = %request.account.domain_id, account.hub_id = %request.account.hub_id,
                reason, "a message has nothing to do");
            Ok(sync.store.release(&leased, Next::Unchanged).await?)
        }
    }
}

async fn work(sync: &Sync, request: &SyncRequest, leased: Leased, run: Run, budget: &Budget) -> Result<(), SliceError> {
    let began = Instant::now();
    let tally = Tally::default();
    let work = Box::pin(pull(sync, request, &leased, &run, budget, &tally));
    let outcome = match timeout_at(budget.work_ends(), work).await {
        Ok(Ok(outcome)) => outcome,
        // Whoever holds the lease now goes on with the account.
        Ok(Err(SliceError::Store(StoreError::LeaseLost))) => {
            tracing::warn!(account.domain_id = %request.account.domain_id, account.hub_id = %request.account.hub_id,
                "the lease was lost to another slice");
            return Ok(());
        }
        Ok(Err(error)) => {
            // The message is delivered again; it should not have to wait for the lease to run out.
            sync.store.release(&leased, Next::Unchanged).await.ok();
            return Err(error);
        }
        Err(_) => Outcome::More(Duration::ZERO),
    };
    let result = end(sync, request, &leased, &run, outcome, &tally).await?;
    tally.log(request, &run, began.elapsed(), &result);
    Ok(())
}

/// Reads the account, gets a token, and pulls both lanes side by side.
async fn pull(
    sync: &Sync,
    request: &SyncRequest,
    leased: &Leased,
    run: &Run,
    budget: &Budget,
    tally: &Tally,
) -> Result<Outcome, SliceError> {
    let account = match sync.store.account(&request.account).await? {
        Some(Ok(account)) => account,
        Some(Err(unusable)) => return Ok(Outcome::Stopped(unusable.to_string())),
        None => return Ok(Outcome::Stopped("there is no such live account".to_owned())),
    };
    let token = match token::access_token(&sync.store, &sync.hubspot, sync.config.app.as_ref(), &account).await {
        Ok(token) => token,
        Err(error @ (SliceError::Token(_) | SliceError::NoApp | SliceError::Reconnected)) => {
            return failed(sync, request, &account, None, &error).await;
        }
        Err(error) => return Err(error),
    };
    let session = Session::new(sync.hubspot.clone(), token.clone(), sync.config.limits, tally.hubspot.clone());
    if run.slice > 0 {
        session.assume_a_search();
    }
    let slice = Slice { sync, key: &request.account, leased, session, budget, tally };
    let mut lanes = leased.checkpoint.lanes.clone();
    for (object, lane) in lanes.iter_mut() {
        if lane.first_seen.is_none() {
            lane.taken_over_from = account.last_pulled(object);
        }
    }
    let (companies, contacts) = tokio::join!(
        lane::pull(&slice, ObjectType::Companies, &mut lanes.companies, run.started_at),
        lane::pull(&slice, ObjectType::Contacts, &mut lanes.contacts, run.started_at),
    );
    combine(&slice, request, &account, &token, [(ObjectType::Companies, companies), (ObjectType::Contacts, contacts)])
        .await
}

/// What the two lanes together mean for the account.
async fn combine(
    slice: &Slice<'_>,
    request: &SyncRequest,
    account: &Account,
    token: &SecretString,
    lanes: [(ObjectType, Result<LaneEnd, SliceError>); 2],
) -> Result<Outcome, SliceError> {
    let mut caught_up = Vec::new();
    let mut outcome = None;
    for (object, end) in lanes {
        let (problem, next) = match end {
            Ok(LaneEnd::CaughtUp(pulled)) => {
                caught_up.extend(pulled.map(|date| (object, date)));
                continue;
            }
            Ok(LaneEnd::OutOfTime) => (None, Outcome::More(Duration::ZERO)),
            Ok(LaneEnd::Mismatch) => {
                (Some("the rows of a window do not add up".to_owned()), Outcome::Failed(Duration::ZERO))
            }
            Err(error @ SliceError::HubSpot(_)) => {
                let next = failed(slice.sync, request, account, Some(token), &error).await?;
                (Some(error.to_string()), next)
            }
            Err(error) => return Err(error),
        };
        if let Some(reason) = problem {
            tracing::warn!(account.domain_id = %slice.key.domain_id, account.hub_id = %slice.key.hub_id,
                object = object.as_str(), reason, "a lane did not get on");
            let problem = LaneProblem { reason, at: DateTime::now() };
            slice.store().save_problem(slice.leased, object, &problem).await?;
        }
        outcome = Some(match outcome {
            Some(other) => worse(other, next),
            None => next,
        });
    }
    slice.store().write_back(slice.key, &caught_up).await?;
    Ok(outcome.unwrap_or(Outcome::CaughtUp))
}

/// Of two lanes' outcomes the one that decides: an account that cannot be read at all stops; otherwise what
/// can go on at once does, and what must wait waits beside it.
fn worse(one: Outcome, other: Outcome) -> Outcome {
    match (one, other) {
        (Outcome::Stopped(reason), _) | (_, Outcome::Stopped(reason)) => Outcome::Stopped(reason),
        (Outcome::Failed(one), Outcome::Failed(other)) => Outcome::Failed(one.max(other)),
        (Outcome::More(wait), _) | (_, Outcome::More(wait)) => Outcome::More(wait),
        (outcome, _) => outcome,
    }
}

/// What follows from a failure that concerns this account alone.
async fn failed(
    sync: &Sync,
    request: &SyncRequest,
    account: &Account,
    token: Option<&SecretString>,
    error: &SliceError,
) -> Result<Outcome, SliceError> {
    if let Some(reason) = token::must_reauthorize(error, account, request.attempt) {
        token::mark(&sync.store, account, &reason).await?;
        return Ok(Outcome::Stopped(format!("{reason}; it must be connected again")));
    }
    Ok(match (error, token) {
        (SliceError::HubSpot(HubSpotError::Unauthorized), Some(token)) => {
            token::expire(&sync.store, account, token).await?;
            Outcome::Failed(Duration::ZERO)
        }
        (SliceError::HubSpot(error), _) => Outcome::Failed(error.retry_later()),
        (SliceError::Reconnected, _) => Outcome::More(Duration::ZERO),
        (error, _) => {
            tracing::warn!(account.domain_id = %request.account.domain_id, account.hub_id = %request.account.hub_id,
                error = %error, "the account has no token for now");
            Outcome::Failed(Duration::ZERO)
        }
    })
}

/// Ends the slice: says in the checkpoint how the run goes on, and sends the message for it.
async fn end(
    sync: &Sync,
    request: &SyncRequest,
    leased: &Leased,
    run: &Run,
    outcome: Outcome,
    tally: &Tally,
) -> Result<String, SliceError> {
    let (attempt, hint) = match outcome {
        Outcome::CaughtUp => {
            sync.store.release(leased, Next::CaughtUp).await?;
            return Ok("the account is caught up".to_owned());
        }
        Outcome::Stopped(reason) => {
            sync.store.release(leased, Next::Stopped).await?;
            return Ok(format!("the account is left alone: {reason}"));
        }
        Outcome::More(hint) if tally.made_progress() => (0, hint),
        // A failure behind progress is new: it is given a moment, but the attempts begin at one again.
        Outcome::Failed(hint) if tally.made_progress() => (1, hint),
        Outcome::More(hint) | Outcome::Failed(hint) => (request.attempt.saturating_add(1), hint),
    };
    let delay = backoff::delay(attempt, hint, rand::random());
    let next = chain::next(run, DateTime::now(), delay);
    sync.store.release(leased, Next::Slice(&next)).await?;
    send(sync, request, &next, attempt, delay).await?;
    Ok(format!("there is more, after {} s", delay.as_secs()))
}

async fn send(sync: &Sync, request: &SyncRequest, run: &Run, attempt: u32, delay: Duration) -> Result<(), SliceError> {
    let message = SyncMessage::V1(chain::message(request, run, attempt));
    sync.sync_queue.send(&message, &request.account.to_string(), delay).await?;
    sync.store.continuation_sent(&request.account, run).await?;
    Ok(())
}
