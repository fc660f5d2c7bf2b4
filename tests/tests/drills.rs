//! The quick drills of `ops/drills`: the commands of pages, executed. All of them: `ops/drill.sh`.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::Command;

use dg_tests::{binary, skip};

/// Runs a drill, which says itself what it lacks.
fn drill(name: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../ops/drills/{name}.sh"));
    let output = Command::new(script)
        .env("DRILL_BINARY", binary())
        .env("DRILL_LATER_BINARY", binary())
        .env("DRILL_TRACES", "50")
        .env("DRILL_FSYNC", "off")
        .output()
        .unwrap();
    let (told, log) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match told.trim().strip_prefix("SKIPPED: ") {
        Some(reason) if output.status.code() == Some(77) => skip(reason),
        _ => assert!(output.status.success() && told.starts_with("passed: "), "{told}{log}"),
    }
}

macro_rules! drills {
    ($($function:ident $name:literal,)+) => {
        $(#[test] fn $function() { drill($name); })+
    };
}

drills! {
    a_killed_node_comes_back_as_it_was "node-restart",
    a_wrong_row_is_mended_by_a_rebuild "projection-rows-differ",
    a_dump_is_restored "dump",
    a_missing_row_is_put_back "row-missing",
    a_damaged_log_is_replaced_by_its_backup "log-damage",
    a_killed_upgrade_goes_on "upgrade-interrupted",
    a_promoted_standby_is_followed "promote-standby",
}
