//! The lock that gives a data directory one daemon at a time.
//!
//! A `flock` on `pg/lock`, which also notes the holder's process. The system releases it with the
//! process, however that ends. Postgres does not inherit it, so an orphan does not hold it.
//!
//! A child between `fork` and `exec` shares it for a moment, so closing the file is not enough to
//! release it: dropping the lock unlocks explicitly, and taking it is patient for a moment, which
//! also covers a daemon that was just killed and is not quite gone.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::error::EmbeddedError;
use super::layout::Layout;

const PATIENCE: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// A data directory held by this process.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Takes the data directory of `layout`.
    pub(super) async fn take(layout: &Layout) -> Result<Self, EmbeddedError> {
        let path = layout.pg.join("lock");
        let mut file = layout.open(&path, 0o644)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => {
                    return Err(EmbeddedError::io("lock", &path)(error));
                }
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(POLL).await,
                Err(TryLockError::WouldBlock) => {
                    let (path, pid) = (layout.root.clone(), holder(&file));
                    return Err(EmbeddedError::InUse { path, pid });
                }
            }
        }
        let noted = file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id()));
        noted.map_err(EmbeddedError::io("write", &path))?;
        Ok(Self(file))
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::debug!(%error, "the lock of the data directory goes with its file");
        }
    }
}

/// The process that noted itself in the file.
fn holder(mut file: &File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}
