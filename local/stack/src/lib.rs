#![doc = include_str!("../README.md")]

pub mod accounts;
pub mod demo;
pub mod events;
pub mod lifecycle;
pub mod logs;
pub mod process;
pub mod proof;
mod relay;
pub mod samples;
pub mod servers;
pub mod simulator;
pub mod smoke;
mod summary;
