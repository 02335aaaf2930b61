//! The connect function: accounts are connected and disconnected, HubSpot tells of changes, and the status is shown.

mod accounts;
mod below;
mod contract;
mod dashboard;
mod leaving;
mod links;
mod list;
mod operate;
mod refused;
mod rights;
mod sessions;
mod status;
mod tokens;
mod webhooks;
