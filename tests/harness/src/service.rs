//! The service under a test's control: real bootstraps and real queues, but the test decides when, how often and in
//! which order messages are delivered, and when time passes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hubspot_sim::Object;
use serde_json::{Value, json};
use store::collection;

use crate::{
    bootstrap::{Bootstrap, Function, Invoked},
    neighbours::tick_of,
    queues::Rules,
    world::{HUB, World},
};

/// The most rounds of ticks and deliveries until everything is caught up.
const MAX_ROUNDS: usize = 60;

/// The most messages of an event, as the template sets it.
pub const MAX_MESSAGES: usize = 10;

/// The time limit of an invocation of sync.
pub const INVOCATION_LIMIT: Duration = Duration::from_secs(5);

/// A message that was received from its queue, and is not processed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its body.
    pub body: String,
    /// The number of its deliveries.
    pub received: u32,
}

/// One event for a worker.
#[derive(Debug)]
pub struct Delivery {
    /// The index of the function's worker.
    pub worker: usize,
    /// The messages of the event.
    pub messages: Vec<Message>,
    /// True if SQS delivers the messages again although they were processed.
    pub again: bool,
}

/// The service.
#[derive(Debug)]
pub struct Service {
    /// The world it works on.
    pub world: World,
    /// Its sync workers.
    pub sync: Vec<Bootstrap>,
    /// Its actions workers.
    pub actions: Vec<Bootstrap>,
    /// The messages that wait for sync.
    pub sync_messages: Vec<Message>,
    /// The messages that wait for actions.
    pub actions_messages: Vec<Message>,
    /// The messages that SQS has moved to the dead-letter queues.
    pub dead_letters: Vec<Message>,
    /// How many times a worker was killed.
    pub killed: usize,
    /// The number of invocations so far.
    pub invocations: usize,
}

impl Service {
    /// Starts the service with these numbers of workers.
    ///
    /// # Errors
    /// The workers cannot be started.
    pub async fn new(world: World, sync: usize, actions: usize) -> Result<Self> {
        let mut service = Self {
            world,
            sync: Vec::new(),
            actions: Vec::new(),
            sync_messages: Vec::new(),
            actions_messages: Vec::new(),
            dead_letters: Vec::new(),
            killed: 0,
            invocations: 0,
        };
        for _ in 0..sync {
            service.sync.push(Bootstrap::start(Function::Sync, &service.world).await?);
        }
        for _ in 0..actions {
            service.actions.push(Bootstrap::start(Function::Actions, &service.world).await?);
        }
        Ok(service)
    }

    /// Starts one worker of each function, for a new account with these numbers of records.
    ///
    /// # Errors
    /// The servers do not respond, or the workers cannot be started.
    pub async fn seeded(name: &str, companies: usize, contacts: usize) -> Result<Self> {
        let world = World::new(name).await?;
        world.hubspot.world().seed(HUB, companies, contacts, 1);
        Self::new(world, 1, 1).await
    }

    /// Adds the message of a tick.
    pub fn tick(&mut self) {
        self.sync_messages.push(Message { body: self.world.tick().to_string(), received: 0 });
    }

    /// Delivers to sync, to several workers in parallel.
    ///
    /// # Errors
    /// A worker does not respond, or exceeds the time limit of an invocation.
    pub async fn deliver_sync(&mut self, deliveries: Vec<Delivery>) -> Result<Vec<Invoked>> {
        let mut left = Vec::new();
        let mut workers: Vec<Option<&mut Bootstrap>> = self.sync.iter_mut().map(Some).collect();
        let invoked = invoke(&mut workers, &deliveries).await?;
        for (delivery, (invoked, took)) in deliveries.into_iter().zip(&invoked) {
            let worker = &self.sync[delivery.worker];
            // The limit does not apply to a process that is stopped, or waits for a processor.
            let in_time = took.saturating_sub(worker.waited) < INVOCATION_LIMIT || worker.gate.was_frozen();
            ensure!(in_time, "an invocation of sync took {took:?}: {:?}", worker.gate.effects());
            left.extend(unprocessed(delivery, invoked));
        }
        let left = self.redrive(left, "SyncQueue")?;
        self.sync_messages.extend(left);
        self.after(invoked.len()).await?;
        Ok(invoked.into_iter().map(|(invoked, _)| invoked).collect())
    }

    /// Delivers to actions, to several workers in parallel.
    ///
    /// # Errors
    /// A worker does not respond.
    pub async fn deliver_actions(&mut self, deliveries: Vec<Delivery>) -> Result<Vec<Invoked>> {
        let mut workers: Vec<Option<&mut Bootstrap>> = self.actions.iter_mut().map(Some).collect();
        let (mut left, invoked) = (Vec::new(), invoke(&mut workers, &deliveries).await?);
        for (delivery, (invoked, _)) in deliveries.into_iter().zip(&invoked) {
            left.extend(unprocessed(delivery, invoked));
        }
        let left = self.redrive(left, "ActionsQueue")?;
        self.actions_messages.extend(left);
        self.after(invoked.len()).await?;
        Ok(invoked.into_iter().map(|(invoked, _)| invoked).collect())
    }

    /// Moves messages that were delivered as often as the queue's settings allow to its dead-letter queue. Returns the
    /// others.
    fn redrive(&mut self, messages: Vec<Message>, queue: &str) -> Result<Vec<Message>> {
        let max_receives = Rules::from_template(queue)?.max_receives;
        let (left, dead) = messages.into_iter().partition(|message| message.received < max_receives);
        self.dead_letters.extend::<Vec<_>>(dead);
        Ok(left)
    }

    /// Restarts killed workers, and receives the messages sent.
    async fn after(&mut self, invocations: usize) -> Result<()> {
        self.invocations += invocations;
        let workers = [(Function::Sync, &mut self.sync), (Function::Actions, &mut self.actions)]
            .into_iter()
            .flat_map(|(function, workers)| workers.iter_mut().map(move |worker| (function, worker)));
        let mut killed = 0;
        for (function, worker) in workers {
            if !worker.is_alive() {
                *worker = Bootstrap::start(function, &self.world).await?;
                killed += 1;
            }
        }
        self.killed += killed;
        self.collect().await
    }

    /// Receives the messages on the queues.
    ///
    /// # Errors
    /// SQS does not respond.
    pub async fn collect(&mut self) -> Result<()> {
        let message = |body| Message { body, received: 0 };
        let sent = self.world.take(&self.world.sync_queue).await?;
        self.sync_messages.extend(sent.into_iter().map(message));
        let sent = self.world.take(&self.world.actions_queue).await?;
        self.actions_messages.extend(sent.into_iter().map(message));
        Ok(())
    }

    /// Delivers one message to the first sync worker, and removes the message if it was processed.
    ///
    /// # Errors
    /// There is no message, or the worker does not respond.
    pub async fn deliver_next(&mut self) -> Result<Invoked> {
        ensure!(!self.sync_messages.is_empty(), "there is no message for sync");
        let messages = vec![self.sync_messages.remove(0)];
        let delivery = Delivery { worker: 0, messages, again: false };
        self.deliver_sync(vec![delivery]).await?.pop().context("one delivery has one end")
    }

    /// Delivers one message to the first sync worker until it is processed. A slice that MongoDB, SQS or the machine
    /// delays at its end fails in time, and its message is delivered again, as SQS does.
    ///
    /// # Errors
    /// The message fails until SQS stops delivering it.
    pub async fn process_next(&mut self) -> Result<()> {
        while !self.deliver_next().await?.is_success() {
            self.world.expire_lease().await?;
        }
        Ok(())
    }

    /// Opens the gates, and runs until the account is caught up and every action is stored. Then runs once more when
    /// HubSpot's index has settled. Compares MongoDB with the ledger.
    ///
    /// # Errors
    /// The account is not caught up, or an action was lost, stored twice, or is stale.
    pub async fn finish(&mut self) -> Result<stack::proof::Proof> {
        for worker in self.sync.iter().chain(&self.actions) {
            worker.gate.open();
        }
        {
            let mut hubspot = self.world.hubspot.world();
            hubspot.faults.clear();
            let settings = &mut hubspot.settings;
            settings.ghosts.clear();
            settings.unanswerable.clear();
            settings.unshowable.clear();
            settings.companies_fail.clear();
            settings.latency_ms = 0;
            settings.without_companies.clear();
        }
        self.world.store.retry_set_aside().await?;
        let settle = i64::try_from(self.world.config.settle.as_millis())?;
        for _ in 0..2 {
            self.world.hubspot.world().settings.clock_offset_ms += 2 * settle;
            self.world.associations_are_due().await?;
            let rounds = self.catch_up().await?;
            ensure!(
                rounds < MAX_ROUNDS,
                "it is not caught up after {rounds} rounds: {:?}",
                self.world.checkpoint().await
            );
        }
        self.world.erase_what_hubspot_erased().await?;
        self.world.prove_associations().await?;
        for object in [Object::DEALS, "2-7654321".parse()?] {
            self.world.prove_associations_of(object, &[Object::COMPANIES, Object::CONTACTS]).await?;
        }
        self.world.proof().await
    }

    /// Adds a tick's message for each account.
    fn tick_for_all(&mut self) -> Result<()> {
        for account in self.world.accounts()? {
            self.sync_messages.push(Message { body: tick_of(&account)?, received: 0 });
        }
        Ok(())
    }

    async fn catch_up(&mut self) -> Result<usize> {
        self.tick_for_all()?;
        for round in 0..MAX_ROUNDS {
            while !self.actions_messages.is_empty() {
                let count = self.actions_messages.len().min(MAX_MESSAGES);
                let messages = self.actions_messages.drain(..count).collect();
                let delivery = Delivery { worker: 0, messages, again: false };
                let invoked = self.deliver_actions(vec![delivery]).await?;
                ensure!(invoked.iter().all(Invoked::is_success), "an action cannot be stored: {invoked:?}");
            }
            if self.sync_messages.is_empty() {
                // A lost message is replaced by the next tick.
                let checkpoints = self.world.all(collection::CHECKPOINTS).await?;
                if checkpoints.iter().all(|checkpoint| checkpoint.get_document("run").is_err()) {
                    return Ok(round);
                }
                self.world.expire_run().await?;
                self.tick_for_all()?;
            }
            self.world.time_passes().await?;
            let count = self.sync_messages.len().min(MAX_MESSAGES);
            let messages = self.sync_messages.drain(..count).collect();
            self.deliver_sync(vec![Delivery { worker: 0, messages, again: false }]).await?;
        }
        Ok(MAX_ROUNDS)
    }
}

async fn invoke(workers: &mut [Option<&mut Bootstrap>], deliveries: &[Delivery]) -> Result<Vec<(Invoked, Duration)>> {
    let mut under_way = Vec::new();
    for delivery in deliveries {
        let worker = workers.get_mut(delivery.worker).and_then(Option::take);
        let worker = worker.context("a worker can do one thing at a time")?;
        let event = event(&delivery.messages);
        under_way.push(async move { worker.invoke(&event).await });
    }
    futures::future::try_join_all(under_way).await
}

/// Returns the messages in the form of Lambda's event. They are named `m0`, `m1` and so on.
fn event(messages: &[Message]) -> Value {
    let record = |(index, message): (usize, &Message)| {
        let receives = (message.received + 1).to_string();
        json!({"messageId": format!("m{index}"), "body": message.body, "attributes": {"ApproximateReceiveCount": receives}})
    };
    json!({ "Records": messages.iter().enumerate().map(record).collect::<Vec<_>>() })
}

fn unprocessed(delivery: Delivery, invoked: &Invoked) -> Vec<Message> {
    let failed = invoked.failures();
    let whole = !matches!(invoked, Invoked::Answered(_));
    let messages = delivery.messages.into_iter().enumerate();
    let left = messages.filter(|(index, _)| delivery.again || whole || failed.contains(&format!("m{index}")));
    left.map(|(_, message)| Message { received: message.received + 1, ..message }).collect()
}
