//! How people drive DecisionGraph: the daemon, its admin socket, its command line.

pub mod config;
pub mod embedded;
pub mod generate;
