//! HubSpot's CRM API, simulated over HTTP: OAuth, search, list, batch read and associations, with their limits, their
//! documented errors, and the habits that have hurt other connectors (see `docs/reference/simulator.md`).
//!
//! Every change is written to a ledger, so that a test can check what should have arrived.

mod apps;
mod changes;
mod clock;
mod definitions;
mod erasure;
mod event;
mod faults;
mod limits;
mod linking;
mod links;
mod object;
pub mod odd;
mod owner;
mod owners;
mod property;
mod query;
mod relation;
mod relations;
mod routes;
mod schema;
mod schemas;
mod seed;
mod server;
mod settings;
#[cfg(test)]
mod testing;
mod webhooks;
mod world;

use std::{
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use tokio::{
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};

pub use apps::{CLIENT_ID, CLIENT_SECRET, OTHER_CLIENT_ID, OTHER_CLIENT_SECRET};
pub use faults::{Fault, FaultKind};
pub use linking::LinkChange;
pub use links::{AssociationCategory, AssociationType, Link};
pub use object::{InvalidObject, Object};
pub use owner::{Owner, Pipeline};
pub use property::Property;
pub use relation::Key;
pub use schema::Labels;
pub use seed::Changed;
pub use settings::{AssociationLimits, Distribution, IdOrder, ListForm, Settings, Tier, WebhookForm};
pub use webhooks::{Localhost, signature};
pub use world::{Change, ChangeKind, Portal, Version, World};

/// The state that all requests share.
pub type Shared = Arc<Mutex<World>>;

/// A simulator that listens until it is dropped.
#[derive(Debug)]
pub struct Simulator {
    /// The address on which it listens.
    pub address: SocketAddr,
    world: Shared,
    server: JoinHandle<std::io::Result<()>>,
    webhooks: JoinHandle<()>,
    tls: JoinSet<std::io::Result<()>>,
}

impl Simulator {
    /// Starts to listen on 127.0.0.1. Port 0 uses any free port.
    ///
    /// # Errors
    /// The port is taken.
    pub async fn start(port: u16, settings: Settings) -> std::io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let world = Arc::new(Mutex::new(World::new(settings)));
        let app = routes::app(world.clone());
        let server = tokio::spawn(server::serve(listener, app, None));
        let webhooks = tokio::spawn(webhooks::deliver_pending(world.clone()));
        Ok(Self { address, world, server, webhooks, tls: JoinSet::new() })
    }

    /// Listens on another port of 127.0.0.1 as well, with TLS, with a certificate and its key (PEM files).
    ///
    /// # Errors
    /// The port is taken, or the files cannot be used.
    pub async fn listen_tls(&mut self, port: u16, certificate: &Path, key: &Path) -> std::io::Result<()> {
        let tls = server::tls(certificate, key)?;
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        self.tls.spawn(server::serve(listener, routes::app(self.world.clone()), Some(tls)));
        Ok(())
    }

    /// Returns the base URL for HubSpot's clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Locks the simulated HubSpot for reading and changing. Requests wait while the guard exists.
    pub fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }

    /// Returns the simulated HubSpot, for use after this value is dropped.
    pub fn shared(&self) -> Shared {
        self.world.clone()
    }

    /// Waits until the server ends, which it does only if it fails.
    ///
    /// # Errors
    /// The server failed.
    pub async fn wait(mut self) -> std::io::Result<()> {
        (&mut self.server).await.map_err(std::io::Error::other)?
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
        self.webhooks.abort();
    }
}

/// Locks the state. Its invariants hold between any two statements, so a panic elsewhere does not corrupt it.
pub fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
