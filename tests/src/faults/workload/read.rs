//! Those who read, and wait for what was acknowledged.

use super::asker::{Asker, is_trouble, word};

impl Asker {
    /// What was acknowledged is there for whoever waits for it.
    pub(super) async fn read(mut self) {
        while !self.is_over() {
            let finished = self.ground.history.finished(&mut self.random);
            if let Some((tenant, trace)) = finished {
                self.history().asked();
                let path = format!("/v1/traces/{trace}/summary");
                let wait = [("wait_ms", Some("5000".to_owned()))];
                match self.client(&tenant).get(&path, &wait).await {
                    Ok(summary) if word(&summary, "outcome") == Some("success") => {}
                    _ if self.history().told().is_broken(&tenant, &trace) => {}
                    Ok(summary) => {
                        self.history().wrong(format!("{tenant}/{trace} has ended: {summary:?}"));
                    }
                    Err(failure) if is_trouble(&failure) => self.no_answer().await,
                    Err(failure) => {
                        self.history().wrong(format!("{tenant}/{trace}: {failure:?}"));
                    }
                }
            }
            self.rest(40).await;
        }
    }
}
