//! Every recorded scenario of Erlang's own supervisor, on ours: same replies, same events.
//!
//! What happened is told by the children and by the supervisor's parent, not by the supervisor.
//! `DECISIONGRAPH_OTP_SCENARIOS` names another file of the same format.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "otp/child.rs"]
mod child;
#[path = "otp/scenario.rs"]
mod scenario;
#[path = "otp/stage.rs"]
mod stage;

use dg_projections::json::{self, Json};

/// Scenarios that ractor makes impossible, each with the proof. There is none.
const EXCEPTED: [(&str, &str); 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn every_scenario_goes_as_it_went_on_erlang() {
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/otp_scenarios.json");
    let file = std::env::var("DECISIONGRAPH_OTP_SCENARIOS").unwrap_or_else(|_| own.to_owned());
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let recorded = json::parse(&text).unwrap();
    let scenarios = recorded.get("scenarios").and_then(Json::as_array).unwrap();
    let running: Vec<_> = scenarios
        .iter()
        .map(|scenario| {
            let scenario = scenario::Scenario::of(scenario);
            let name = scenario.name.clone();
            (name, tokio::spawn(stage::play(scenario)))
        })
        .collect();
    let (mut passed, mut differing) = (0, Vec::new());
    for (name, scenario) in running {
        match scenario.await.unwrap() {
            Ok(()) => passed += 1,
            Err(difference) => match EXCEPTED.iter().find(|(excepted, _)| *excepted == name) {
                Some((_, reason)) => println!("excepted: {name}: {reason}"),
                None => differing.push(format!("{name}: {difference}")),
            },
        }
    }
    println!("{passed} of {} scenarios passed, {} excepted", scenarios.len(), EXCEPTED.len());
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(passed > 0, "{file} has no scenario");
}
