//! The environment of a test: a database, queues and a HubSpot of its own, and the functions' handlers.

use std::{env, num::NonZeroU32, path::PathBuf, sync::Once, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use aws_lambda_events::sqs::SqsBatchResponse;
use aws_sdk_sqs::types::{Message, QueueAttributeName};
use futures::TryStreamExt;
use hubspot::{Limits, OAuthApp};
use hubspot_sim::{CLIENT_ID, CLIENT_SECRET, Fault, FaultKind, Object, Settings, Simulator};
use lambda_runtime::Diagnostic;
use model::{account::AccountKey, choice::Choice, score::ContactScore};
use mongodb::bson::{Bson, DateTime, Document, doc};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use stack::accounts;
use store::{MongoConfig, Store, collection};

pub use crate::{
    events::{assert_accepted, event, lambda, message_event},
    queues::queue,
};
use crate::{patient, queues::queue_with_dead_letters, unique};

/// The HubSpot account of a test's world.
pub const HUB: u64 = 7_000_001;
/// The Domain of the account.
pub const DOMAIN: &str = "acme";

/// One test's environment.
pub struct World {
    /// Its HubSpot.
    pub hubspot: Simulator,
    /// Its database.
    pub store: Store,
    /// The URL of its sync queue.
    pub sync_queue: String,
    /// The URL of its actions queue.
    pub actions_queue: String,
    /// The URL of its actions queue's dead-letter queue.
    pub actions_dead_letters: String,
    /// The configuration of its sync function.
    pub config: sync::Config,
    /// Its SQS.
    pub sqs: aws_sdk_sqs::Client,
    /// The file for its bootstraps' logs. Absent if they are not kept.
    pub log: Option<PathBuf>,
    /// How many accounts it has beside its own.
    pub(crate) neighbours: u64,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("World").field("database", &self.config.mongo.database).finish_non_exhaustive()
    }
}

impl World {
    /// Creates a world with one Domain, whose one account is connected by OAuth and has no records yet. Times are
    /// shortened: the search index settles within six seconds, and every run reads the recycle bin. HubSpot's limits
    /// are off.
    ///
    /// # Errors
    /// The servers do not respond.
    pub async fn new(name: &str) -> Result<Self> {
        Self::with_mongodb(name, &env::var("TEST_MONGODB_URI").context("these tests are run by `make test`")?).await
    }

    /// Creates such a world with a MongoDB of its own.
    ///
    /// # Errors
    /// The servers do not respond.
    pub async fn with_mongodb(name: &str, uri: &str) -> Result<Self> {
        Self::with(name, uri, format!("test_{name}_{}", unique()), 0).await
    }

    /// Creates such a world in this database, with a HubSpot at this port of 127.0.0.1 (0 for any).
    ///
    /// # Errors
    /// The servers do not respond.
    pub(crate) async fn with(name: &str, uri: &str, database: String, port: u16) -> Result<Self> {
        // With LOG_LEVEL set, tests show the functions' logs.
        static LOGS: Once = Once::new();
        LOGS.call_once(|| env::var_os("LOG_LEVEL").iter().for_each(|_| drop(telemetry::init())));
        let hubspot = Simulator::start(port, Settings::unlimited()).await?;
        let mongo = MongoConfig { uri: patient(uri).into(), database };
        let store = Store::connect(&mongo).await?;
        store.migrate(None).await?;
        let sqs = queue::Queue::client().await;
        let (sync_queue, _) = queue_with_dead_letters(&sqs, &format!("{name}-sync"), "SyncQueue").await?;
        let (actions_queue, actions_dead_letters) =
            queue_with_dead_letters(&sqs, &format!("{name}-actions"), "ActionsQueue").await?;
        let refresh_token = hubspot.world().portal(HUB).refresh_token.clone().context("a new portal has a grant")?;
        accounts::write_domain(store.database(), DOMAIN, "Acme", vec![accounts::oauth(HUB, &refresh_token)]).await?;
        let limit = |limit| NonZeroU32::new(limit).context("a limit is not zero");
        let config = sync::Config {
            mongo,
            hubspot_base_url: hubspot.url(),
            app: Some(OAuthApp { client_id: CLIENT_ID.to_owned(), client_secret: CLIENT_SECRET.into() }),
            token_key: None,
            sealed_only: false,
            sync_queue_url: sync_queue.clone(),
            // The same, so that a test finds an account's next message in one place.
            continuation_queue_url: sync_queue.clone(),
            actions_queue_url: actions_queue.clone(),
            overlap: Duration::from_secs(300),
            settle: Duration::from_secs(6),
            fresh_every: Duration::from_secs(30),
            sweep_every: Some(Duration::from_millis(1)),
            associations_every: Some(Duration::from_secs(86_400)),
            calculated_every: Some(Duration::from_secs(86_400)),
            references_every: None,
            quiet: Duration::ZERO,
            behind_after: Duration::from_secs(1800),
            // Tests move HubSpot's clock.
            clock_tolerance: Duration::from_secs(u32::MAX.into()),
            budget: Duration::from_secs(5),
            limits: Limits { search_rps: limit(1000)?, per_10s: limit(10_000)?, associations_per_10s: limit(10_000)? },
            search_only: false,
            choice: Choice::default(),
            contact_score: ContactScore::default(),
        };
        let log = env::var_os("TEST_LOG").map(PathBuf::from);
        Ok(Self { hubspot, store, sync_queue, actions_queue, actions_dead_letters, config, sqs, log, neighbours: 0 })
    }

    /// Returns the key of its account.
    ///
    /// # Errors
    /// Never, because its ids are valid.
    pub fn account(&self) -> Result<AccountKey> {
        Ok(AccountKey::new(DOMAIN, HUB)?)
    }

    /// Chooses the object types to read in the account's entry, and grants access to them. HubSpot has the custom ones from
    /// now on.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn choose(&self, objects: &[Object]) -> Result<()> {
        let mut names = Vec::new();
        for object in objects {
            if object.name().starts_with("2-") {
                self.hubspot.world().create_schema(HUB, object.name(), "cars", ("Car", "Cars"), Vec::new())?;
            }
            self.hubspot.world().grant_reading(HUB, *object);
            names.push(object.name().to_owned());
        }
        self.change_entry("objects", names.into()).await
    }

    /// Sets a field of the account's entry in its Domain.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn change_entry(&self, field: &str, value: Bson) -> Result<()> {
        let field = format!("integrations.hubspot.accounts.0.{field}");
        let domains = self.store.database().collection::<Document>(collection::DOMAINS);
        domains.update_one(doc! {}, doc! { "$set": { field: value } }).await?;
        Ok(())
    }

    /// Records in the Domain that the former worker has read the account until `date`.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn set_pulled_until(&self, date: DateTime) -> Result<()> {
        let dates = doc! { "integrations.hubspot.accounts.0.lastPulledDates": { "companies": date, "contacts": date } };
        let domains = self.store.database().collection::<Document>(collection::DOMAINS);
        domains.update_one(doc! {}, doc! { "$set": dates }).await?;
        Ok(())
    }

    /// Returns the sync function's state.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn sync(&self) -> Result<sync::SyncFunction> {
        sync::SyncFunction::new(self.config.clone()).await
    }

    /// Returns the actions function's state.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn actions(&self) -> Result<actions::Actions> {
        let config = actions::Config {
            mongo: self.config.mongo.clone(),
            queue_url: self.actions_queue.clone(),
            dead_letter_queue_url: self.actions_dead_letters.clone(),
        };
        actions::Actions::new(config).await
    }

    /// Returns the scheduler function's state.
    ///
    /// # Errors
    /// The configuration cannot be used.
    pub async fn scheduler(&self) -> Result<scheduler::Scheduler> {
        let config = scheduler::Config { mongo: self.config.mongo.clone(), sync_queue_url: self.sync_queue.clone() };
        scheduler::Scheduler::new(config).await
    }

    /// Returns the message of a tick for the world's account, at the current time.
    pub fn tick(&self) -> Value {
        let tick = DateTime::now().try_to_rfc3339_string().unwrap_or_default();
        json!({"type": "sync.v1", "domainId": DOMAIN, "hubId": HUB.to_string(), "tick": tick, "attempt": 0})
    }

    /// Passes a message to the sync handler, as SQS would.
    ///
    /// # Errors
    /// The handler's error.
    pub async fn slice(&self, sync: &sync::SyncFunction, body: &Value) -> Result<SqsBatchResponse, Diagnostic> {
        sync::handler(sync, lambda(event(&[body.to_string()]))).await
    }

    /// Passes messages to the actions handler, as SQS would.
    ///
    /// # Errors
    /// The handler's error.
    pub async fn store(&self, bodies: &[String]) -> Result<SqsBatchResponse, Diagnostic> {
        let none = |error: anyhow::Error| Diagnostic { error_type: String::new(), error_message: error.to_string() };
        let mut event = lambda(event(bodies));
        event.context.deadline += 20_000;
        actions::handler(&self.actions().await.map_err(none)?, event).await
    }

    /// Runs one tick until the account is caught up: slice after slice without waiting, and stores the actions after
    /// each. Returns the number of slices.
    ///
    /// # Errors
    /// A message fails until SQS stops delivering it, or the account is not caught up after 200 slices.
    pub async fn run(&self) -> Result<usize> {
        let sync = self.sync().await?;
        let mut message = self.tick();
        for slices in 1..200 {
            self.deliver(&sync, &message).await?;
            self.drain().await?;
            match self.receive(&self.sync_queue).await?.pop() {
                Some(next) => message = serde_json::from_str(&next)?,
                None => return Ok(slices),
            }
        }
        bail!("the account is not caught up after 200 slices")
    }

    /// Receives all messages of the actions queue, and stores their actions. An event that fails is delivered again, as
    /// SQS does.
    ///
    /// # Errors
    /// A message fails repeatedly.
    pub async fn drain(&self) -> Result<()> {
        const MAX_DELIVERIES: usize = 5;
        loop {
            let bodies = self.receive(&self.actions_queue).await?;
            if bodies.is_empty() {
                return Ok(());
            }
            let mut received = 1;
            while let Err(error) = assert_accepted(self.store(&bodies).await) {
                received += 1;
                ensure!(received <= MAX_DELIVERIES, "{error}");
            }
        }
    }

    /// Receives up to ten messages of a queue, including those that are delayed by some seconds.
    ///
    /// # Errors
    /// SQS does not respond.
    pub async fn receive(&self, queue: &str) -> Result<Vec<String>> {
        self.receive_within(queue, Duration::from_secs(20)).await
    }

    /// Receives up to ten messages of a queue, including those that are delayed by up to `delay`.
    ///
    /// # Errors
    /// SQS does not respond.
    pub async fn receive_within(&self, queue: &str, delay: Duration) -> Result<Vec<String>> {
        let held =
            [QueueAttributeName::ApproximateNumberOfMessages, QueueAttributeName::ApproximateNumberOfMessagesDelayed];
        let began = tokio::time::Instant::now();
        loop {
            let received = self.sqs.receive_message().queue_url(queue).max_number_of_messages(10).send().await?;
            let messages: Vec<Message> = received.messages.unwrap_or_default();
            let bodies = self.delete(queue, messages).await?;
            let asked = self.sqs.get_queue_attributes().queue_url(queue).set_attribute_names(Some(held.to_vec()));
            let attributes = asked.send().await?.attributes.unwrap_or_default();
            let waiting = held.iter().any(|name| attributes.get(name).is_some_and(|count| count != "0"));
            if !bodies.is_empty() || !waiting || began.elapsed() > delay {
                return Ok(bodies);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Returns all documents of a collection.
    ///
    /// # Errors
    /// MongoDB cannot be read.
    pub async fn all(&self, name: &str) -> Result<Vec<Document>> {
        let found = self.store.database().collection::<Document>(name).find(doc! {}).sort(doc! { "_id": 1 }).await?;
        Ok(found.try_collect().await?)
    }

    /// Returns everything that is in the database, as text.
    ///
    /// # Errors
    /// MongoDB cannot be read.
    pub async fn everything(&self) -> Result<String> {
        let mut all = String::new();
        for name in self.store.database().list_collection_names().await? {
            for document in self.all(&name).await? {
                all.push_str(&format!("{name} {document}\n"));
            }
        }
        Ok(all)
    }

    /// Returns the account's checkpoint.
    ///
    /// # Errors
    /// There is none.
    pub async fn checkpoint(&self) -> Result<Document> {
        self.all(collection::CHECKPOINTS).await?.pop().context("there is no checkpoint")
    }

    /// Returns the account's entry in its Domain.
    ///
    /// # Errors
    /// There is none.
    pub async fn entry(&self) -> Result<Document> {
        let domain = self.all(collection::DOMAINS).await?.pop().context("there is no Domain")?;
        let accounts = domain.get_document("integrations")?.get_document("hubspot")?.get_array("accounts")?;
        Ok(accounts[0].as_document().context("an account is a document")?.clone())
    }

    /// Causes a fault in the next requests to HubSpot whose path contains `path`.
    pub fn fault(&self, path: &str, times: u32, kind: FaultKind) {
        self.hubspot.world().faults.push(Fault { path: path.to_owned(), skip: 0, times, kind });
    }

    /// Receives the messages of a queue that are due.
    ///
    /// # Errors
    /// SQS does not respond.
    pub async fn take(&self, queue: &str) -> Result<Vec<String>> {
        let mut bodies = Vec::new();
        loop {
            let received = self.sqs.receive_message().queue_url(queue).max_number_of_messages(10).send().await?;
            let messages = received.messages.unwrap_or_default();
            if messages.is_empty() {
                return Ok(bodies);
            }
            bodies.extend(self.delete(queue, messages).await?);
        }
    }

    async fn delete(&self, queue: &str, messages: Vec<Message>) -> Result<Vec<String>> {
        let mut bodies = Vec::new();
        for message in messages {
            let handle = message.receipt_handle.context("a message has a receipt")?;
            self.sqs.delete_message().queue_url(queue).receipt_handle(handle).send().await?;
            bodies.push(message.body.context("a message has a body")?);
        }
        Ok(bodies)
    }

    /// Returns the address of MongoDB.
    ///
    /// # Errors
    /// Its connection string names no port.
    pub fn mongodb_address(&self) -> Result<String> {
        let uri = self.config.mongo.uri.expose_secret();
        let address = uri.strip_prefix("mongodb://").and_then(|rest| rest.split('/').next());
        Ok(address.context("a connection string of another form")?.to_owned())
    }

    /// Drops the world's database.
    ///
    /// # Errors
    /// MongoDB cannot be reached.
    pub async fn end(self) -> Result<()> {
        Ok(self.store.database().drop().await?)
    }
}

/// Creates a secret for a test in Secrets Manager, and returns its ARN.
///
/// # Errors
/// Secrets Manager does not respond.
pub async fn secret(client: &aws_sdk_secretsmanager::Client, name: &str, text: &str) -> Result<String> {
    let made = client.create_secret().name(format!("{name}-{}", unique())).secret_string(text).send().await?;
    made.arn.context("a secret has an ARN")
}
