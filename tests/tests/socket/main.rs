//! The admin socket as any client meets it, down to the bytes: what it answers, what it refuses, what
//! it bears.

#![allow(clippy::unwrap_used, reason = "tests")]

mod append;
mod audit;
mod crowd;
mod envelope;
mod exact;
mod hostile;
mod http;
mod limits;
mod live;
mod openapi;
mod peers;
mod refusals;
mod roles;
mod watch;
