//! Proxies on 127.0.0.1 between one function's process and the servers that it uses. Every request passes the
//! process's gate, on its way there and on its way back.

pub mod http;
pub mod mongodb;
