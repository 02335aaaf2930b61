#![doc = include_str!("../README.md")]

mod actions;
mod association_checks;
mod bulk;
mod checkpoints;
mod config;
mod connections;
mod domains;
mod erasures;
mod failures;
mod health;
mod indexes;
mod keys;
mod links;
mod looks;
mod marks;
mod notifications;
mod probe;
mod protection;
mod reference_ledgers;
mod reference_states;
mod resync;
mod revocations;
mod seen;
mod sessions;
mod set_aside;
mod states;
mod status;
mod timeline;
mod trouble;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use environment::{
    config::ConfigError,
    startup::{NoAnswer, wait_for},
    tls,
};
use mongodb::{
    Client, Database,
    error::ErrorKind,
    event::{EventHandler, cmap::CmapEvent},
    options::{Acknowledgment, ClientOptions, ConnectionString, ReadPreference, SelectionCriteria, WriteConcern},
};
use secrecy::{ExposeSecret, SecretString};
use telemetry::TimeSpent;
use thiserror::Error;

pub use actions::{ActionFailure, StoreReport};
pub use association_checks::{ASSOCIATIONS_SETTLE, AssociationCheck, UnfinishedAssociations};
pub use checkpoints::{Leased, RunDisposition, SliceReport, StoreError};
pub use config::MongoConfig;
pub use connections::{Claim, Connected, PendingConnect};
pub use erasures::{Erasure, ErasureReport};
pub use health::{Freshness, Health, HourOfHealth};
pub use keys::SealedTokens;
pub use probe::ProbeError;
pub use resync::{LanesResync, Resync};
pub use revocations::Revocation;
pub use seen::{LedgerEntry, PendingAssociations, PendingValues, records_of};
pub use sessions::StoredSession;
pub use set_aside::SetAside;
pub use status::AccountStatus;
pub use timeline::{Event, TimelineEvent};
pub use trouble::{code, describe, is_away};

/// The names of the collections.
pub mod collection {
    /// The customers and their HubSpot accounts. The product owns it.
    pub const DOMAINS: &str = "domains";
    /// Actions, for the product's analytics.
    pub const ACTIONS: &str = "actions";
    /// The sync position of each account.
    pub const CHECKPOINTS: &str = "checkpoints";
    /// What the sync has published: one small document for each record.
    pub const SEEN: &str = "seen";
    /// Records that could not be published, and are tried again.
    pub const SET_ASIDE: &str = "setaside";
    /// Contacts whose associations are to be read again.
    pub const ASSOCIATION_CHECKS: &str = "associationchecks";
    /// What was published of owners, pipelines and definitions of properties, and when they are read next.
    pub const REFERENCES: &str = "references";
    /// Records and accounts that were erased, or are about to be.
    pub const ERASURES: &str = "erasures";
    /// Why messages went to the dead-letter queues.
    pub const FAILURES: &str = "failures";
    /// The keys under which tokens are sealed, wrapped by KMS.
    pub const KEYS: &str = "keys";
    /// Customers who are on HubSpot's consent page.
    pub const CONNECTS: &str = "connects";
    /// The Domain to which each HubSpot account was connected.
    pub const PORTALS: &str = "portals";
    /// When HubSpot last sent a webhook about an account, so that many webhooks cause one check.
    pub const NOTIFICATIONS: &str = "notifications";
    /// The events of each account, for people.
    pub const TIMELINE: &str = "timeline";
    /// The sessions of the status page.
    pub const SESSIONS: &str = "sessions";
    /// Install links that were revoked.
    pub const LINKS: &str = "links";
    /// The accounts whose tokens HubSpot has rejected lately.
    pub const REJECTIONS: &str = "rejections";
    /// Where the last fan-out stopped, if it did not reach the end.
    pub const FAN_OUT: &str = "fanout";
    /// The health of all accounts by hour, for two days.
    pub const HEALTH: &str = "health";
}

/// The most connections of a function. One more monitors each server.
const MAX_CONNECTIONS: u32 = 8;

/// The service's database.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    /// The time during which its connections were in use.
    pub spent: TimeSpent,
}

/// MongoDB cannot be reached. The driver's message is left out: it quotes parts of the connection string.
#[derive(Debug, Error)]
pub enum ConnectError {
    /// The connection string is not valid.
    #[error("MongoDB's connection string cannot be used; is its password URL-encoded?")]
    Invalid,
    /// The connection is not protected by TLS: passwords and records could be read on the way, or another server could
    /// pose as MongoDB.
    #[error("MongoDB's connection string has no TLS, or takes invalid certificates; MONGODB_PLAIN=1 allows that")]
    Plain,
    /// Authentication by IAM. The driver's support for it would bring three more clients of AWS into each function.
    #[error(
        "MongoDB's connection string names MONGODB-AWS, which is not supported: use a user with a password, in a secret"
    )]
    Iam,
    /// The servers of a `mongodb+srv://` address cannot be found.
    #[error("DNS does not tell the servers of MongoDB's address")]
    Dns,
    /// DNS does not answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// `MONGODB_PLAIN` cannot be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

impl From<mongodb::error::Error> for ConnectError {
    fn from(error: mongodb::error::Error) -> Self {
        match *error.kind {
            ErrorKind::DnsResolve { .. } | ErrorKind::Io(_) => Self::Dns,
            _ => Self::Invalid,
        }
    }
}

/// Parses a connection string. Makes sure that its connections are protected, or need not be.
///
/// # Errors
/// The connection string is not valid, has no TLS, or asks for authentication by IAM. The error does not show it.
pub fn connection_string(uri: &SecretString) -> Result<ConnectionString, ConnectError> {
    if uri.expose_secret().to_ascii_lowercase().contains("authmechanism=mongodb-aws") {
        return Err(ConnectError::Iam);
    }
    let parsed = ConnectionString::parse(uri.expose_secret())?;
    match tls::is_plain_mongodb_allowed()? || protection::is_protected(&parsed) {
        true => Ok(parsed),
        false => Err(ConnectError::Plain),
    }
}

impl Store {
    /// Returns a store for the database that `config` names. Connections are made when they are needed.
    ///
    /// # Errors
    /// The connection string cannot be used, or DNS does not resolve it in time.
    pub async fn connect(config: &MongoConfig) -> Result<Self, ConnectError> {
        Self::connect_with(config, MAX_CONNECTIONS).await
    }

    /// Does the same with at most `connections` concurrent connections, unless the connection string sets a limit.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_with(config: &MongoConfig, connections: u32) -> Result<Self, ConnectError> {
        // For `mongodb+srv://` this asks DNS for the servers.
        let parsed = ClientOptions::parse(connection_string(&config.uri)?).into_future();
        let mut options = wait_for("MongoDB's address (DNS)", parsed).await??;
        options.app_name.get_or_insert_with(|| "hubspot-sync".to_owned());
        options.max_pool_size.get_or_insert(connections);
        options.connect_timeout.get_or_insert(Duration::from_secs(2));
        options.server_selection_timeout.get_or_insert(Duration::from_secs(3));
        // A checkpoint that a failover rolls back would be a lost lease, or a position that was never reached. Read
        // from a secondary, it would be old. So the connection string does not decide these options.
        let timeout = options.write_concern.take().and_then(|concern| concern.w_timeout);
        options.write_concern = Some(WriteConcern::builder().w(Acknowledgment::Majority).w_timeout(timeout).build());
        options.selection_criteria = Some(SelectionCriteria::ReadPreference(ReadPreference::Primary));
        let spent = TimeSpent::default();
        options.cmap_event_handler = Some(in_use(spent.clone()));
        let client = Client::with_options(options)?;
        Ok(Self { database: client.database(&config.database), spent })
    }

    fn collection(&self, name: &str) -> mongodb::Collection<mongodb::bson::Document> {
        self.database.collection(name)
    }

    /// Returns the database itself.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

/// Returns a handler that adds up how long connections are in use. (The driver also reports the duration of each
/// command, but it builds a document of every command for that, which would be too expensive for a bulk of a thousand
/// writes.)
fn in_use(spent: TimeSpent) -> EventHandler<CmapEvent> {
    let since: Mutex<HashMap<u32, Instant>> = Mutex::default();
    EventHandler::callback(move |event| {
        let mut since = since.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            CmapEvent::ConnectionCheckedOut(out) => {
                since.insert(out.connection_id, Instant::now());
            }
            CmapEvent::ConnectionCheckedIn(back) => {
                since.remove(&back.connection_id).into_iter().for_each(|since| spent.add(since.elapsed()));
            }
            _ => {}
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_string_that_cannot_be_used_is_not_quoted() {
        let uris = [
            "mongodb://user:geheim?x@host/",
            "mongodb+srv://user:geheim?x@host/",
            "mongodb://user:ge/heim@host",
            "mongodb://host/?geheim",
            "geheim",
        ];
        for uri in uris {
            let config = MongoConfig { uri: uri.into(), database: "any".to_owned() };
            let error = Store::connect(&config).await.unwrap_err();
            let direct = format!("{error} {error:?}");
            let told = format!("{direct} {:#}", anyhow::Error::from(error));
            assert!(!told.contains("heim"), "{uri}: {told}");
        }
    }

    #[test]
    fn authentication_by_iam_is_refused_by_name() {
        let uri = "mongodb+srv://c.example.net/?authSource=%24external&authMechanism=MONGODB-AWS";
        let error = connection_string(&uri.into()).unwrap_err().to_string();
        assert!(error.contains("MONGODB-AWS") && !error.contains("example"), "{error}");
    }

    #[tokio::test]
    async fn a_mongodb_that_is_reached_without_tls_is_refused() {
        for (uri, is_refused) in [("mongodb://u:geheim@10.0.0.1/", true), ("mongodb://10.0.0.1/?tls=true", false)] {
            let config = MongoConfig { uri: uri.into(), database: "any".to_owned() };
            let error = Store::connect(&config).await.err().map(|error| error.to_string()).unwrap_or_default();
            assert_eq!(error.contains("MONGODB_PLAIN=1"), is_refused, "{uri}: {error}");
            assert!(!error.contains("geheim"), "{error}");
        }
    }
}
