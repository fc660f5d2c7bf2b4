//! What takes a look at each tenant: its log counted, its rows and digests held against a replay.

use std::io::IsTerminal as _;

use dg_store::{Store, StoreError, TenantHead, Verdict, Waiting};
use indicatif::{ProgressBar, ProgressStyle};

use super::line::Line;
use super::verdicts::{self, Proof};

/// Tenants of a page.
const PAGE: i64 = 200;
/// Examples that are kept.
const EXAMPLES: usize = 3;
/// Tenants that a quick look verifies, spread evenly over the names.
const SAMPLE: i64 = 10;
/// A tenant with more events is not for a quick look.
const QUICK_EVENTS: i64 = 100_000;

/// Counts the events of every log.
pub(super) async fn logs(store: &Store) -> Line {
    match counted(store).await {
        Ok(line) => line,
        Err(error) => verdicts::unanswered("logs", &error),
    }
}

async fn counted(store: &Store) -> Result<Line, StoreError> {
    let headless = store.headless_logs().await?;
    let (mut logs, mut events, mut damaged) = (0, 0, Waiting::default());
    let mut after = String::new();
    loop {
        let page = store.count_logs(&after, PAGE).await?;
        (logs, events) = (logs + page.logs, events + page.events);
        page.damaged.into_iter().for_each(|one| note(&mut damaged, one));
        let Some(last) = page.last else { break };
        after = last;
    }
    Ok(verdicts::logs((logs, events), &damaged, &headless))
}

fn note(waiting: &mut Waiting, example: (String, String)) {
    waiting.count += 1;
    if waiting.examples.len() < EXAMPLES {
        waiting.examples.push(example);
    }
}

/// Verifies every tenant, or a few with `quick`.
pub(super) async fn verified(store: &Store, tenants: i64, quick: bool) -> Line {
    let step = if quick { ((tenants + SAMPLE - 1) / SAMPLE).max(1) } else { 1 };
    let failed = match store.open_failures().await {
        Ok(open) => open.examples.into_iter().map(|(tenant, _)| tenant).collect(),
        Err(error) => return verdicts::unanswered("proof", &error),
    };
    let mut proof = Proof { of: tenants, failed, ..Proof::default() };
    let bar = bar(tenants);
    let (mut after, mut number) = (String::new(), 0);
    loop {
        let page = match store.tenants_page("", &after, PAGE).await {
            Ok(page) => page,
            Err(error) => return verdicts::unanswered("proof", &error),
        };
        let Some(last) = page.last() else { break };
        after.clone_from(&last.tenant_id);
        for head in &page {
            if number % step == 0 {
                verify(store, head, quick, &mut proof).await;
            }
            number += 1;
            bar.set_position(number as u64);
        }
    }
    bar.finish_and_clear();
    // Some may have come since they were counted.
    proof.of = proof.of.max(number);
    verdicts::proof(&proof)
}

async fn verify(store: &Store, head: &TenantHead, quick: bool, proof: &mut Proof) {
    if quick && head.event_count > QUICK_EVENTS {
        proof.skipped += 1;
        return;
    }
    let tenant = head.tenant_id.clone();
    match store.verify(&tenant, &|_, _| ()).await {
        Ok(Verdict::Proven(checked)) => {
            proof.tenants += 1;
            proof.events += checked.events as i64;
            proof.digests += checked.digests as i64;
        }
        Ok(Verdict::Different(difference)) => {
            proof.tenants += 1;
            note(&mut proof.different, (tenant, difference.to_string()));
        }
        Err(error) => note(&mut proof.unanswered, (tenant, error.message)),
    }
}

fn bar(tenants: i64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(tenants.max(0) as u64);
    match ProgressStyle::with_template(
        "{elapsed_precise} [{wide_bar}] {human_pos}/{human_len} tenants eta {eta}",
    ) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
