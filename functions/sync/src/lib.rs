//! The sync function. It takes up to ten messages at a time, and works for at most one slice of each account. If an
//! account is not caught up, it sends itself a continuation, which comes alone.

mod access;
mod action_builder;
mod all_properties;
mod association_checks;
mod associations;
mod backoff;
mod batch;
mod budget;
mod calculated;
mod chain;
mod comparison;
mod config;
mod context;
mod error;
mod fetch;
mod lane;
mod ledger;
mod looks;
mod metrics;
mod outcome;
mod own_marks;
mod plan;
mod preparation;
mod problem;
mod pull;
mod reader;
mod references;
mod set_aside;
mod slice;
mod state;
mod sweep;
mod tally;
mod token;
mod tuning;
mod turns;

use std::{cell::RefCell, collections::BTreeMap, panic::AssertUnwindSafe, time::Duration};

use aws_lambda_events::sqs::{SqsBatchResponse, SqsEvent};
use futures::{FutureExt as _, future::join_all};
use hubspot::HubSpot;
use lambda_runtime::{Diagnostic, LambdaEvent};
use model::{
    message::{SyncMessage, SyncRequest},
    object::ObjectType,
};
use queue::{
    MAX_DELAY, Queue, QueueError,
    batch::{Received, decode, respond},
};
use store::Store;
use token_vault::Vault;
use tokio::time::{Instant, timeout};

use crate::metrics::SyncMetrics;
pub use crate::{budget::Budget, config::Config};

/// What the function keeps between invocations.
#[derive(Debug)]
pub struct SyncFunction {
    config: Config,
    store: Store,
    vault: Vault,
    hubspot: HubSpot,
    sync_queue: Queue,
    continuation_queue: Queue,
    actions_queue: Queue,
}

impl SyncFunction {
    /// Sets up the clients. Connections are made on first use.
    ///
    /// # Errors
    /// The configuration names something that cannot be used.
    pub async fn new(mut config: Config) -> anyhow::Result<Self> {
        config.choice = config.choice.with_required(ObjectType::CONTACTS, config.contact_score.property());
        let sqs = Queue::client().await;
        let store = Store::connect(&config.mongo).await?;
        Ok(Self {
            vault: Vault::new(store.clone(), config.token_key.clone()).await.sealed_only(config.sealed_only),
            store,
            hubspot: HubSpot::new(&config.hubspot_base_url)?,
            sync_queue: Queue::new(sqs.clone(), config.sync_queue_url.clone()),
            continuation_queue: Queue::new(sqs.clone(), config.continuation_queue_url.clone()),
            actions_queue: Queue::new(sqs, config.actions_queue_url.clone()),
            config,
        })
    }
}

impl SyncFunction {
    /// Returns the time spent with SQS since the last call.
    fn sqs_time(&self) -> Duration {
        [&self.sync_queue, &self.continuation_queue, &self.actions_queue].map(|queue| queue.spent.take()).iter().sum()
    }

    /// Sends a copy of a message that has failed so often because MongoDB is away that SQS would move it to the
    /// dead-letter queue. The copy arrives after a quarter of an hour. Nothing is wrong with the message itself.
    ///
    /// # Errors
    /// SQS did not accept the copy, or did not answer in time.
    async fn wait_out(&self, message: String, request: &SyncRequest, left: Duration) -> Result<(), QueueError> {
        let (account, group) = (&request.account, request.account.to_string());
        let queue = if request.run.is_some() { &self.continuation_queue } else { &self.sync_queue };
        let sent =
            timeout(left.clamp(MIN_RESEND_TIMEOUT, RESEND_TIMEOUT), queue.send_text(message, &group, MAX_DELAY)).await;
        let sent = sent.unwrap_or_else(|_| Err(QueueError::Send("it does not answer in time".to_owned())));
        match &sent {
            Ok(()) => tracing::warn!(account.domain_id = %account.domain_id, account.hub_id = %account.hub_id,
                "MongoDB is away; the message waits for it"),
            Err(error) => tracing::error!(error = %error, "MongoDB is away, and the message cannot be sent again"),
        }
        sent
    }
}

/// The delivery from which on a message is sent again if MongoDB is away. It is one before the last (`maxReceiveCount`
/// in the template), after which SQS moves a message to the dead-letter queue.
pub const LAST_RECEIVE: u32 = 4;

/// How long sending a message again may take.
const RESEND_TIMEOUT: Duration = Duration::from_secs(1);

/// How long sending a message again may take if nothing of the budget is left. The budget leaves a twelfth of the five
/// seconds for the answer.
const MIN_RESEND_TIMEOUT: Duration = Duration::from_millis(300);

/// How long recording failures may take, if the budget leaves any time.
const NOTE_FAILURES_TIMEOUT: Duration = Duration::from_secs(1);

/// Handles an SQS event. Each of its messages is a slice of its own. They share one budget, and are worked on at the same
/// time: most of a slice is waiting for HubSpot.
///
/// # Errors
/// Every message failed. SQS delivers them again.
pub async fn handler(sync: &SyncFunction, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Diagnostic> {
    let budget = Budget::start(sync.config.budget, remaining(event.context.deadline));
    let messages = decode::<SyncMessage>(event.payload);
    let (count, metrics) = (messages.len(), RefCell::default());
    let handled = messages.into_iter().map(|message| async {
        let id = message.message_id.clone();
        let result = AssertUnwindSafe(handle(sync, message, &budget, &metrics)).catch_unwind().await;
        // The panic hook has logged it. The other accounts' slices are not affected.
        let result = result.unwrap_or_else(|_| Err("its slice panicked".to_owned()));
        Some((id, result.err()?))
    });
    let failed: BTreeMap<String, String> = join_all(handled).await.into_iter().flatten().collect();
    let metrics = metrics.into_inner();
    let (hubspot_time, sqs_time) = (sync.hubspot.spent.take(), sync.sqs_time());
    SyncMetrics { hubspot_time, sqs_time, mongodb_time: sync.store.spent.take(), ..metrics }.emit();
    let left = budget.ends().saturating_duration_since(Instant::now());
    note_failures(&sync.store, &failed, left.min(NOTE_FAILURES_TIMEOUT)).await;
    respond(count, failed.into_keys().collect())
}

/// Handles one message.
///
/// # Errors
/// The message must be delivered again, for this reason.
async fn handle(
    sync: &SyncFunction,
    message: Received<SyncMessage>,
    budget: &Budget,
    metrics: &RefCell<SyncMetrics>,
) -> Result<(), String> {
    let request = match message.body {
        Ok(SyncMessage::V1(request)) => request,
        Err(error) => {
            tracing::error!(message.id = message.message_id, error = %error, "a sync message is left to the dead-letter queue");
            return Err(error.to_string());
        }
    };
    match slice::run(sync, &request, message.receives, budget, metrics).await {
        Err(error) if error.is_outage() && message.receives >= LAST_RECEIVE => {
            let left = budget.ends().saturating_duration_since(Instant::now());
            sync.wait_out(message.text, &request, left).await.map_err(|_| error.to_string())
        }
        ended => ended.map_err(|error| {
            tracing::error!(account.domain_id = %request.account.domain_id, account.hub_id = %request.account.hub_id,
                error = %error, "a slice failed and will be delivered again");
            error.to_string()
        }),
    }
}

/// Records why messages failed, for people who find them in the dead-letter queue. If that takes longer than
/// `patience`, only the log has the reasons.
async fn note_failures(store: &Store, failed: &BTreeMap<String, String>, patience: Duration) {
    if !failed.is_empty() && !patience.is_zero() {
        let noted = timeout(patience, store.note_failures(failed.clone().into_iter())).await;
        if !matches!(noted, Ok(Ok(_))) {
            tracing::warn!(messages = failed.len(), "the reasons of failures could not be noted");
        }
    }
}

/// Returns how long Lambda still lets this invocation run. `deadline` is in milliseconds since the epoch.
fn remaining(deadline: u64) -> Duration {
    Duration::from_millis(deadline)
        .saturating_sub(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
}
