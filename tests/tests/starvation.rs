//! A hundred workers hungry at once, with the fewest connections there may be and a disk that is slow:
//! the work goes on, and the operator is answered all the while.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::{Duration, Instant};

use dg_tests::log::{append_all, generated_lines};
use dg_tests::{Daemon, Database, Sql, Where};

/// Three workers each.
const TENANTS: u64 = 34;
/// Generous: a command that waits behind the workers takes as long as all of their work.
const BOUND: Duration = Duration::from_secs(10);
/// What the operator asks, and what asks the database for it.
const ASKED: [&[&str]; 3] = [&["status"], &["health", "-t", "t0"], &["runs"]];

#[test]
fn an_operator_is_answered_while_a_hundred_workers_share_a_slow_disk_and_few_connections() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (database, store) = runtime.block_on(Database::with_schema());
    runtime.block_on(async {
        for number in 0..TENANTS {
            let tenant = format!("t{number}");
            let lines = generated_lines(&tenant, 2, 8, number);
            append_all(&store, &tenant, &lines, 100).await;
        }
    });
    let sql = Sql::connect(&database.url().parse().unwrap());
    // Each flush waits so many microseconds.
    for set in ["commit_delay = 20000", "commit_siblings = 0"] {
        let alter = "EXECUTE format('ALTER DATABASE %I SET ";
        assert!(sql.try_run(&format!("DO $$ BEGIN {alter}{set}', current_database()); END $$")));
    }
    let daemon = Daemon::start(Where::Url(database.url()), &["--pool-size", "4"]);
    let behind = "SELECT count(*) FROM dg_tenant_heads AS h WHERE 3 > (SELECT count(*)
        FROM dg_projection_cursors AS c WHERE c.tenant_id = h.tenant_id
            AND c.last_log_seq = h.last_log_seq)";
    let is_behind = || sql.one(behind) != "0";
    assert!(is_behind(), "the disk is slow: there is work left for a while");
    let mut asked = 0;
    while is_behind() || asked < ASKED.len() {
        let started = Instant::now();
        daemon.cli(ASKED[asked % ASKED.len()]).ok();
        assert!(started.elapsed() < BOUND, "{:?}", started.elapsed());
        asked += 1;
    }
    daemon.until_current("t0");
}
