//! What the functions share: the domain model, the HubSpot client, the store, the queues,
//! telemetry and configuration. Nothing in here decides *when* something is done; that is
//! each function's own business.

pub mod account;
pub mod action;
pub mod batch;
pub mod changes;
pub mod checkpoint;
pub mod config;
pub mod giving_back;
pub mod hubspot;
pub mod ids;
pub mod message;
pub mod object;
pub mod production;
pub mod queue;
pub mod runtime;
pub mod secrets;
pub mod startup;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod tls;
pub mod traces;
pub mod vault;

/// The version of the service.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
