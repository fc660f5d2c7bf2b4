//! What a run that is over means for whoever waited for it: an exit code, and a word where one is due.

use dg_projections::Code;
use dg_projections::json::Json;

use super::card::{is, word};
use crate::failure::{Failure, exit};
use crate::output::{field, note, printable};
use crate::wire::difference_of;

/// The exit code, or the failure that the run is.
pub(super) fn of(run: &Json) -> Result<u8, Failure> {
    match word(run, "status") {
        Some("completed") => Ok(completed(run)),
        Some("failed") => Err(failed(run)),
        _ => Err(ended_early(run)),
    }
}

fn completed(run: &Json) -> u8 {
    let is_dry = is(run, "dry_run") == Some(true);
    match (is(run, "is_equal"), is_dry) {
        (Some(false), true) => {
            note(&format!("different: {}", first_difference(run)));
            note("help: `decisiongraph rebuild` without --dry-run mends it");
            exit::PROOF
        }
        (Some(false), false) => {
            note(&format!("WARNING: what was served was WRONG: {}", first_difference(run)));
            note("It is mended now. Whoever has read it before has read wrong rows.");
            0
        }
        (None, true) => {
            note("warning: nothing was compared, so nothing is proven");
            0
        }
        _ => 0,
    }
}

fn first_difference(run: &Json) -> String {
    let found = difference_of(run).map(|found| found.to_string());
    printable(&found.unwrap_or_else(|| "the digests part".to_owned()))
}

fn failed(run: &Json) -> Failure {
    let code = field(run, "error_code");
    let exit = Code::from_word(&code).map_or(exit::FAILED, crate::failure::exit_code);
    let failure = Failure::new(Code::Internal, field(run, "error_message")).exit(exit);
    let id = field(run, "run_id");
    Failure { code, ..failure }.help(format!(
        "after mending, `decisiongraph resume {id} --wait` lets it go on from its checkpoint"
    ))
}

/// Cancelled or interrupted.
fn ended_early(run: &Json) -> Failure {
    let (id, status) = (field(run, "run_id"), field(run, "status"));
    let failure = Failure::new(Code::Internal, format!("run {id} was {status}"));
    goes_on(run, Failure { code: status, ..failure.exit(exit::FAILED) })
}

fn goes_on(run: &Json, failure: Failure) -> Failure {
    let id = field(run, "run_id");
    failure.help(format!("`decisiongraph resume {id} --wait` lets it go on from its checkpoint"))
}

#[cfg(test)]
mod tests {
    use dg_projections::json::parse;

    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_outcome() {
        let different = r#""is_equal":false,"difference":{"table":"t","key":"k"}"#;
        for (members, exit) in [
            (r#""status":"completed","is_equal":null"#.to_owned(), 0),
            (r#""status":"completed","is_equal":true,"dry_run":true"#.to_owned(), 0),
            (format!(r#""status":"completed","dry_run":false,{different}"#), 0),
            (format!(r#""status":"completed","dry_run":true,{different}"#), 7),
            (r#""status":"failed","error_code":"storage","error_message":"x""#.to_owned(), 69),
            (r#""status":"failed","error_code":"schema_violation""#.to_owned(), 4),
            (r#""status":"cancelled""#.to_owned(), 1),
            (r#""status":"interrupted""#.to_owned(), 1),
        ] {
            let run = parse(&format!("{{{members}}}")).unwrap();
            let found = of(&run).unwrap_or_else(|failure| failure.exit);
            assert_eq!(found, exit, "{members}");
        }
    }
}
