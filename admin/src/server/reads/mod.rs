//! The handlers of everything but appends.

pub(crate) mod live;
pub(crate) mod log;
pub(crate) mod operate;
pub(crate) mod projected;
