//! Proxies on 127.0.0.1 between one function's process and its servers. Every request and every response passes the
//! process's gate.

pub mod http;
pub mod mongodb;
