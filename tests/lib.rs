//! What the tests and the benchmarks against real components share: a world of its own for each (MongoDB, queues,
//! the simulator over HTTP), and the functions, by their handlers or as the real bootstraps behind a gate that can
//! kill them at any effect. `make test` and `make bench` start the servers.

pub mod bootstrap;
pub mod deployed;
pub mod extent;
pub mod front;
pub mod gate;
pub mod proxy;
pub mod service;
pub mod stopwatch;
mod time;
pub mod world;
