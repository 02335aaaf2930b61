#![doc = include_str!("../README.md")]

pub mod config;
pub mod production;
pub mod startup;
pub mod tls;
pub mod variables;
