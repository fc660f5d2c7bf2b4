//! A connection that breaks at some piece of a catch-up, in either direction: before a statement is
//! heard, and after it was done but not answered.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use dg_runtime::{Runtime, Settings};
use dg_tests::log::{append_all, assert_proven, parsed, settings, until_applied};
use dg_tests::proxy::{Nth, Proxy};
use dg_tests::{Database, events, skip};

/// The pieces of three workers come in another order each time, so steps pass over none for ever.
const STEP: usize = 5;

/// Small pages, so that there are several; each projection has its pieces, in any order.
fn in_small_pages() -> Settings {
    Settings { batch_size: 4, ..settings() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_catch_up_cut_at_any_piece_applies_each_event_once() {
    let (database, store) = Database::with_schema().await;
    let (mut cut_at, mut pieces) = (0, usize::MAX);
    while cut_at <= pieces {
        let tenant = format!("cut-at-{cut_at}");
        let lines = parsed(&tenant, &events::whole_trace("t"));
        append_all(&store, &tenant, &lines, lines.len()).await;
        let nth = Arc::new(Nth::new(cut_at));
        let asked = nth.clone();
        let proxy = match Proxy::start(&database, move |_, _| asked.is_it()) {
            Ok(proxy) => proxy,
            Err(why) => return skip(why),
        };
        let runtime = Runtime::start(proxy.store(), in_small_pages()).await.unwrap();
        until_applied(&store, &tenant).await;
        if cut_at == 0 {
            pieces = nth.count(); // of a catch-up that nothing disturbs
            assert!(pieces > 60, "there is something to cut: {pieces}");
        }
        runtime.stop(Duration::from_secs(10)).await;
        assert_proven(&store, &tenant).await;
        let failures = store.failures(&tenant, true).await.unwrap();
        assert!(failures.iter().all(|one| one.recoverable), "{cut_at}: {failures:?}");
        cut_at += STEP;
    }
}
