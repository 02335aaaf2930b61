//! The collections in MongoDB, each with the few operations that the functions need.
//!
//! Everything here may run twice with the same effect; nothing here waits longer than its caller's deadline.

mod actions;
mod bulk;
mod checkpoints;
mod connections;
mod domains;
mod failures;
mod indexes;
mod keys;
mod notifications;
mod resync;
mod seen;
mod states;
mod status;
mod timeline;

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use mongodb::{
    Client, Database,
    event::{EventHandler, cmap::CmapEvent},
    options::{ClientOptions, WriteConcern},
};
use secrecy::ExposeSecret;

pub use actions::{Stored, WriteFailed};
pub use checkpoints::{Leased, Next, StoreError, Told, describe};
pub use connections::{Claim, PendingConnect};
pub use keys::{Resealed, SealedTokens};
pub use resync::Resync;
pub use seen::Seen;
pub use status::{AccountStatus, Lately};
pub use timeline::{Event, Happened};

use crate::{config::MongoConfig, telemetry::Spent};

/// The names of the collections.
pub mod collection {
    /// The customers and their HubSpot accounts; the product's own.
    pub const DOMAINS: &str = "domains";
    /// What happened, for the product's analytics.
    pub const ACTIONS: &str = "actions";
    /// Where the sync of each account stands.
    pub const CHECKPOINTS: &str = "checkpoints";
    /// What the sync has handed on: one small document a record.
    pub const SEEN: &str = "seen";
    /// Why messages were left to the dead-letter queues.
    pub const FAILURES: &str = "failures";
    /// The keys under which tokens are sealed, wrapped by KMS.
    pub const KEYS: &str = "keys";
    /// Customers who are on HubSpot's consent page.
    pub const CONNECTS: &str = "connects";
    /// Which Domain a HubSpot account was connected to.
    pub const PORTALS: &str = "portals";
    /// When HubSpot last told of an account, so that many notifications are one look.
    pub const NOTIFICATIONS: &str = "notifications";
    /// What happened to each account, for people.
    pub const TIMELINE: &str = "timeline";
    /// Where the last fan-out stopped, if it did not reach the end.
    pub const FAN_OUT: &str = "fanout";
}

/// The service's database.
#[derive(Clone, Debug)]
pub struct Store {
    database: Database,
    /// The time during which its connections were in use.
    pub spent: Spent,
}

impl Store {
    /// A store on the database that `config` names. Connections are made when they are needed.
    ///
    /// # Errors
    /// The connection string cannot be used.
    pub async fn connect(config: &MongoConfig) -> Result<Self, mongodb::error::Error> {
        let mut options = ClientOptions::parse(config.uri.expose_secret()).await?;
        options.app_name.get_or_insert_with(|| "hubspot-sync".to_owned());
        options.max_pool_size.get_or_insert(8);
        options.connect_timeout.get_or_insert(Duration::from_secs(2));
        options.server_selection_timeout.get_or_insert(Duration::from_secs(3));
        // A checkpoint that a failover takes back would be a lost lease, or a position that never was.
        options.write_concern.get_or_insert_with(WriteConcern::majority);
        let spent = Spent::default();
        options.cmap_event_handler = Some(in_use(spent.clone()));
        let client = Client::with_options(options)?;
        Ok(Self { database: client.database(&config.database), spent })
    }

    fn collection(&self, name: &str) -> mongodb::Collection<mongodb::bson::Document> {
        self.database.collection(name)
    }

    /// The database itself.
    pub fn database(&self) -> &Database {
        &self.database
    }
}

/// Adds up how long connections are in use. (The driver would also tell how long each command takes, but it makes a
/// document of every command for that, which a bulk of a thousand writes can do without.)
fn in_use(spent: Spent) -> EventHandler<CmapEvent> {
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
