//! Stores the actions of several messages at once. A faulty message fails alone, and an outage of MongoDB is blamed on
//! no message.

use model::{account::AccountKey, action::Action, message::ActionsMessage};
use mongodb::error::Error;
use queue::batch::Received;
use store::{ActionFailure, Store, StoreReport, code, describe, is_away};
use tokio::time::{Instant, timeout_at};

/// The result of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// All of its actions are stored.
    Stored,
    /// It cannot be decoded, for this reason.
    Unreadable(String),
    /// MongoDB refuses one of its actions, for this reason.
    Refused(String),
    /// MongoDB is unavailable, for this reason. Some of the message's actions may be stored.
    Waits(String),
}

/// The results of the messages of an event.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// The result of each message, by its index.
    pub(crate) outcomes: Vec<Outcome>,
    /// The number of actions in the messages.
    pub(crate) actions: usize,
    /// How many of the actions were new.
    pub(crate) added: usize,
    /// How many of the actions MongoDB refuses.
    pub(crate) refused: usize,
    /// True if MongoDB is unavailable, so that the rest of the event waits.
    pub(crate) has_stopped: bool,
}

/// Stores the actions of all messages that can be decoded, until the time `ends`. Leaves out reference data.
pub(crate) async fn drain(store: &Store, messages: &[Received<ActionsMessage>], ends: Instant) -> Drained {
    let mut drained = Drained { outcomes: messages.iter().map(read).collect(), ..Drained::default() };
    let all: Vec<(usize, &AccountKey, &Action)> = (messages.iter().enumerate())
        .filter_map(|(index, message)| Some((index, message.body.as_ref().ok()?)))
        .filter_map(|(index, message)| match message {
            ActionsMessage::V1(batch) => Some((index, batch)),
            ActionsMessage::References(_) => None,
        })
        .flat_map(|(index, batch)| batch.actions.iter().map(move |action| (index, &batch.account, action)))
        .collect();
    drained.actions = all.len();
    let given: Vec<(&AccountKey, &Action)> = all.iter().map(|(_, account, action)| (*account, *action)).collect();
    let stored = match timeout_at(ends, Box::pin(isolate(store, &given))).await {
        Ok(Ok(stored)) => stored,
        Ok(Err(error)) => return waits(drained, &describe(&error)),
        Err(_) => return waits(drained, "MongoDB does not answer in time"),
    };
    drained.added = stored.added;
    drained.refused = stored.failed.len();
    for failed in &stored.failed {
        let (index, account, action) = all[failed.index];
        let record = format!("{} {} of {account}", action.object, action.record_id);
        drained.outcomes[index] = if code::is_of_the_server(failed.code) {
            Outcome::Waits(format!("MongoDB takes no writes, for the reason of code {}", failed.code))
        } else {
            Outcome::Refused(format!("MongoDB refuses the action of {record} with code {}", failed.code))
        };
        tracing::error!(
            message.id = messages[index].message_id, account.domain_id = %account.domain_id,
            account.hub_id = %account.hub_id, object = action.object.as_str(), record.id = %action.record_id,
            code = failed.code, "MongoDB does not take an action"
        );
    }
    drained
}

fn read(message: &Received<ActionsMessage>) -> Outcome {
    match &message.body {
        Ok(_) => Outcome::Stored,
        Err(error) => {
            tracing::error!(message.id = message.message_id, error = %error, "an actions message cannot be read");
            Outcome::Unreadable(error.to_string())
        }
    }
}

/// Returns the result if no message is certainly stored: all that can be decoded wait.
fn waits(mut drained: Drained, reason: &str) -> Drained {
    tracing::error!(reason, messages = drained.outcomes.len(), "MongoDB is away; the messages wait in their queue");
    let readable = drained.outcomes.iter_mut().filter(|outcome| **outcome == Outcome::Stored);
    readable.for_each(|outcome| *outcome = Outcome::Waits(reason.to_owned()));
    Drained { actions: 0, has_stopped: true, ..drained }
}

/// Stores the actions. If MongoDB refuses them as a whole, stores each half by itself, down to the single actions that
/// cause the refusal.
///
/// # Errors
/// MongoDB is unavailable.
async fn isolate(store: &Store, given: &[(&AccountKey, &Action)]) -> Result<StoreReport, Error> {
    let error = match store.store_actions(given).await {
        Err(error) if !is_away(&error) => error,
        result => return result,
    };
    if given.len() < 2 {
        return Ok(StoreReport { failed: vec![ActionFailure { index: 0, code: code::of_error(&error) }], added: 0 });
    }
    let (first, second) = given.split_at(given.len() / 2);
    let mut stored = Box::pin(isolate(store, first)).await?;
    let others = Box::pin(isolate(store, second)).await?;
    stored.added += others.added;
    let behind = |failed: ActionFailure| ActionFailure { index: failed.index + first.len(), ..failed };
    stored.failed.extend(others.failed.into_iter().map(behind));
    Ok(stored)
}
