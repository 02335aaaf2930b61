//! Integration and end-to-end tests. `make test` gives them a MongoDB and an AWS of their own.

mod actions;
mod alarms;
mod chaos;
mod connect;
mod crash;
mod data;
mod deletes;
mod documents;
mod end_to_end;
mod faults;
mod hostile;
mod hubspot_client;
mod permissions;
mod repair;
mod scheduler;
mod secrets;
mod sync;
mod telemetry;
mod template;
mod tools;
mod traces;
mod upgrades;
