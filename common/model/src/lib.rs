#![doc = include_str!("../README.md")]

pub mod account;
pub mod action;
pub mod association;
pub mod calculated;
pub mod catalogue;
pub mod changes;
pub mod checkpoint;
pub mod choice;
pub mod ids;
pub mod looks;
pub mod message;
pub mod object;
pub mod reference;
pub mod score;
pub mod time;
