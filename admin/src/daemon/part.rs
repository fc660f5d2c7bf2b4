//! A part of the daemon: a task that ends when it is told to.

use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A task that ends when it is told to.
#[derive(Debug)]
pub(super) struct Part {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Part {
    pub(super) fn start<F: Future<Output = ()> + Send + 'static>(
        task: impl FnOnce(watch::Receiver<bool>) -> F,
    ) -> Part {
        let (stop, stopped) = watch::channel(false);
        Part { stop, task: tokio::spawn(task(stopped)) }
    }

    pub(super) async fn stop(self) {
        self.stop.send_replace(true);
        if let Err(panic) = self.task.await {
            tracing::error!(%panic, "a part of the daemon ended abnormally");
        }
    }
}
