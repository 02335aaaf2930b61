//! The service on one machine: MongoDB, MiniStack (AWS in one process) and the HubSpot simulator, with the
//! service deployed on them by SAM, from the very template that goes to AWS.

pub mod accounts;
pub mod aws;
pub mod cloudformation;
pub mod connect;
pub mod cost;
pub mod dead_letters;
pub mod demo;
pub mod deploy;
mod env_file;
pub mod events;
pub mod halt;
pub mod hubspot_app;
pub mod layout;
pub mod logs;
pub mod own;
pub mod parameters;
pub mod process;
pub mod proof;
mod relay;
pub mod repair;
pub mod rollback;
pub mod sam;
pub mod samples;
pub mod servers;
pub mod settings;
pub mod simulator;
pub mod smoke;
pub mod stack;
mod summary;
mod template;
