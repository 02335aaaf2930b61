//! Messages that will never be stored because of their contents: sent to the dead-letter queue, with the reason.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use futures::future::join_all;
use model::message::ActionsMessage;
use queue::{Letter, QueueError, batch::Received};
use tokio::time::timeout;

use crate::{Actions, drain::Outcome};

/// The number of tries after which a message is sent to the dead-letter queue. With the pauses in between, that takes
/// about eight minutes: a release that can decode the message may be on its way.
const MAX_TRIES: u32 = 5;

/// The time limit for recording the reasons.
const RECORD_TIMEOUT: Duration = Duration::from_secs(1);

/// The time limit for sending.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// The result for the messages that failed because of their contents, by index.
#[derive(Debug, Default)]
pub(crate) struct SetAside {
    /// The messages that are certainly in the dead-letter queue.
    pub(crate) sent: BTreeSet<usize>,
    /// The number of tries of the others, if known.
    pub(crate) tries: BTreeMap<usize, u32>,
}

/// Records why messages failed because of their contents, and sends those that were tried often enough to the
/// dead-letter queue.
pub(crate) async fn set_aside(
    actions: &Actions,
    messages: &[Received<ActionsMessage>],
    outcomes: &[Outcome],
) -> SetAside {
    let failed: Vec<(usize, &str)> = outcomes
        .iter()
        .enumerate()
        .filter_map(|(index, outcome)| match outcome {
            Outcome::Unreadable(reason) | Outcome::Refused(reason) => Some((index, reason.as_str())),
            Outcome::Stored | Outcome::Waits(_) => None,
        })
        .collect();
    if failed.is_empty() {
        return SetAside::default();
    }
    let reasons = failed.iter().map(|(index, reason)| (messages[*index].message_id.clone(), (*reason).to_owned()));
    let refusals = match timeout(RECORD_TIMEOUT, actions.store.note_failures(reasons)).await {
        Ok(Ok(refusals)) => refusals,
        _ => {
            tracing::warn!(messages = failed.len(), "the reasons of failures could not be noted");
            HashMap::new()
        }
    };
    let tries = |(index, _): &(usize, &str)| {
        let message = &messages[*index];
        let tries = tries(&outcomes[*index], message.receives, refusals.get(&message.message_id).copied());
        (tries > 0).then_some((*index, tries))
    };
    let tries: BTreeMap<usize, u32> = failed.iter().filter_map(tries).collect();
    let send = failed.iter().filter(|(index, _)| tries.get(index).is_some_and(|tries| *tries >= MAX_TRIES));
    let sent = join_all(send.map(async |(index, reason)| (*index, letter(actions, &messages[*index], reason).await)));
    let sent = sent.await.into_iter().filter_map(|(index, sent)| sent.then_some(index)).collect();
    SetAside { sent, tries }
}

/// Returns the number of tries of a message. For a message that cannot be decoded, each delivery is a try. For a
/// message that MongoDB refuses, MongoDB counts its refusals itself, because it may have been unavailable at most
/// deliveries. If it cannot count them, the message is not the cause.
fn tries(outcome: &Outcome, receives: u32, refusals: Option<u32>) -> u32 {
    match outcome {
        Outcome::Unreadable(_) => receives,
        Outcome::Refused(_) => refusals.unwrap_or_default(),
        Outcome::Stored | Outcome::Waits(_) => 0,
    }
}

async fn letter(actions: &Actions, message: &Received<ActionsMessage>, reason: &str) -> bool {
    let letter = Letter {
        body: &message.text,
        group: message.group.as_deref().unwrap_or("unknown"),
        message_id: &message.message_id,
        reason,
    };
    let sent = timeout(SEND_TIMEOUT, actions.dead_letters.send_letter(&letter)).await;
    let error = match sent {
        Ok(Ok(())) => {
            tracing::error!(message.id = message.message_id, reason, "a message was sent to the dead-letter queue");
            return true;
        }
        Ok(Err(error)) => error,
        Err(_) => QueueError::Send("it does not answer in time".to_owned()),
    };
    tracing::error!(message.id = message.message_id, error = %error, "a message cannot be sent to the dead-letter queue");
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_mongodb_never_refused_is_not_given_up_however_often_it_came() {
        let refused = Outcome::Refused(String::new());
        assert_eq!(tries(&refused, 900, None), 0);
        assert_eq!(tries(&refused, 900, Some(1)), 1);
        assert_eq!(tries(&refused, 5, Some(5)), 5);
        assert_eq!(tries(&Outcome::Unreadable(String::new()), 5, None), 5);
        assert_eq!(tries(&Outcome::Waits(String::new()), 900, Some(900)), 0);
    }
}
