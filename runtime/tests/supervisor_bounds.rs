//! What has an end: starts that hang, panic or leave something behind, children that will not die,
//! restarts that never succeed.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;
#[path = "bounds/loops.rs"]
mod loops;
#[path = "bounds/starts.rs"]
mod starts;
#[path = "bounds/stops.rs"]
mod stops;
