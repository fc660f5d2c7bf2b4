//! What the counters and histograms mean, and each of them at 0 from the start.

use dg_projections::Code;
use dg_projections::projection::Projection;
use dg_store::RunMode;
use metrics::{counter, describe_counter, describe_gauge, describe_histogram, histogram};

use super::{
    APPEND_BATCH, APPEND_BYTES, APPEND_SECONDS, APPENDED, APPLIED, BATCH_SECONDS, DIGEST_SECONDS,
    ERRORS, ESCALATIONS, FAILURES, INSERTED, LAST_CYCLE, Label, MISMATCHES, PHASES, READ_BATCH,
    READ_SECONDS, RESTARTS, RETRIES, REUSED, RUN_EVENTS, RUN_SECONDS, VISIBLE_SECONDS, appended,
    batch_seconds, digest_seconds, errors, escalations, failures, mismatches_of, restarts, retries,
    run_events, run_seconds, visible_seconds,
};

/// Tells a recorder what the counters and histograms mean, and makes all of them whose labels are
/// known appear at 0: `increase()` does not see the first event of a series that begins with it.
pub fn describe() {
    describe_store();
    describe_projections();
    describe_runs();
    describe_counter!(RESTARTS, "Children that ended and made their supervisor restart them.");
    describe_counter!(
        ESCALATIONS,
        "Supervisors that gave up: more restarts than their intensity allows."
    );
    for label in Label::ALL {
        restarts(label).increment(0);
        escalations(label).increment(0);
    }
}

fn describe_store() {
    describe_counter!(ERRORS, "Calls to the database that failed, by stable code.");
    describe_counter!(
        APPENDED,
        "Events of append requests by result: inserted, reused, the code of the refusal, or the code \
         of the failure. One that failed with storage is not known to be in: sent again, it counts \
         again."
    );
    describe_histogram!(APPEND_SECONDS, "Seconds that an append transaction took.");
    describe_histogram!(APPEND_BATCH, "Events of one tenant that were appended together.");
    describe_counter!(APPEND_BYTES, "Payload of inserted events, in bytes.");
    describe_histogram!(READ_SECONDS, "Seconds that a page of the log took to read.");
    describe_histogram!(READ_BATCH, "Events of a page of the log.");
    for code in Code::ALL {
        errors(code).increment(0);
        appended(code.as_str()).increment(0);
    }
    for result in [INSERTED, REUSED] {
        appended(result).increment(0);
    }
    counter!(APPEND_BYTES).increment(0);
    // A histogram that somebody holds is shown, without a sample too.
    for name in [APPEND_SECONDS, APPEND_BATCH, READ_SECONDS, READ_BATCH] {
        let _ = histogram!(name);
    }
}

fn describe_projections() {
    describe_counter!(APPLIED, "Events applied, by tenant as far as tenants have labels.");
    describe_histogram!(BATCH_SECONDS, "Seconds that each phase of an applied batch took.");
    describe_histogram!(
        VISIBLE_SECONDS,
        "Seconds from the recording of a batch's first event, the oldest, to the commit that applied \
         it."
    );
    describe_counter!(RETRIES, "Waits that workers began before another try, by stable code.");
    describe_counter!(FAILURES, "Workers that failed and wait for an operator, by stable code.");
    describe_counter!(
        MISMATCHES,
        "Times that the log and a projection at its end had different counts of events."
    );
    describe_gauge!(
        LAST_CYCLE,
        "When a worker last applied a batch or found nothing to apply, as Unix time in seconds."
    );
    describe_histogram!(DIGEST_SECONDS, "Seconds that a digest of a projection's rows took.");
    for projection in Projection::ALL {
        mismatches_of(projection).increment(0);
        for code in Code::ALL {
            retries(projection, code).increment(0);
            failures(projection, code).increment(0);
        }
        for phase in PHASES {
            let _ = batch_seconds(projection, phase);
        }
        let _ = visible_seconds(projection);
        let _ = digest_seconds(projection);
    }
}

fn describe_runs() {
    describe_histogram!(RUN_SECONDS, "Seconds that a run that has completed was at work.");
    describe_counter!(RUN_EVENTS, "Events that runs have applied.");
    for mode in RunMode::ALL {
        run_events(mode).increment(0);
        let _ = run_seconds(mode);
    }
}
