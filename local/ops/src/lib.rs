#![doc = include_str!("../README.md")]

pub mod architecture;
pub mod aws;
pub mod cloudformation;
mod confirm;
pub mod connect;
pub mod cost;
pub mod dead_letters;
pub mod deploy;
pub mod deployed;
pub mod env_file;
pub mod erase;
pub mod halt;
pub mod hubspot_app;
pub mod layout;
pub mod local;
pub mod own;
pub mod parameters;
pub mod reference;
pub mod repair;
pub mod rollback;
pub mod sam;
pub mod settings;
pub mod smoke;
mod template;
pub mod tick;
pub mod variables;
