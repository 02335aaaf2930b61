//! The connect function: accounts are connected and disconnected, HubSpot tells of changes, and the status is shown.

mod accounts;
mod contract;
mod operate;
mod refused;
mod status;
mod tokens;
mod webhooks;
