//! What the functions share: the domain model, the HubSpot client, the store, the queues,
//! telemetry and configuration. Nothing in here decides *when* something is done; that is
//! each function's own business.

pub mod account;
pub mod action;
pub mod batch;
pub mod changes;
pub mod checkpoint;
pub mod config;
pub mod hubspot;
pub mod ids;
pub mod message;
pub mod object;
pub mod queue;
pub mod secrets;
pub mod store;
pub mod telemetry;
pub mod time;
pub mod traces;
pub mod vault;
