#![doc = include_str!("../README.md")]

pub mod bootstrap;
pub mod crowd;
pub mod custom_domain;
pub mod deployed;
pub mod events;
pub mod extent;
pub mod front;
pub mod gate;
pub mod live_queue;
pub mod neighbours;
pub mod program;
mod proofs;
pub mod proxy;
pub mod queues;
pub mod rows;
pub mod service;
pub mod stopwatch;
mod time;
pub mod world;

use std::sync::atomic::{AtomicU32, Ordering};

/// Returns a connection string for a test's own client, and for functions that have a MongoDB. On a busy machine
/// MongoDB may respond later than a function on AWS waits.
pub(crate) fn patient(uri: &str) -> String {
    let joined = if uri.contains('?') { '&' } else { '?' };
    format!("{uri}{joined}connectTimeoutMS=60000&serverSelectionTimeoutMS=30000")
}

/// Returns a name that no other test's database or queue has in this run.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{}_{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
