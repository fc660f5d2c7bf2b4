//! What is found, judged: pure functions, held against tables.

pub(super) mod business;
pub(super) mod daemon;
pub(super) mod database;
pub(super) mod machine;
