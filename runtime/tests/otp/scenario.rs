//! The recorded scenarios, read.

use std::time::Duration;

use dg_projections::json::Json;
use dg_runtime::supervisor::{
    AutoShutdown, ChildSpec, ChildType, Flags, Restart, Shutdown, Strategy,
};

/// How a child begins and ends.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) spec: ChildSpec<String>,
    /// The outcome of each start; the last repeats.
    pub(crate) starts: Vec<String>,
    /// Whether it ignores the request to end.
    pub(crate) hangs: bool,
}

#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) name: String,
    pub(crate) flags: Flags,
    pub(crate) children: Vec<Script>,
    pub(crate) template: Option<Script>,
    pub(crate) steps: Vec<Json>,
    /// Reply and events: of the start, then of each step.
    pub(crate) observed: Vec<(Json, Vec<String>)>,
}

pub(crate) fn text(value: &Json, key: &str) -> String {
    value.get(key).and_then(Json::as_str).unwrap_or_else(|| panic!("{key} of {value:?}")).to_owned()
}

fn millis(value: &Json) -> Duration {
    Duration::from_millis(value.as_i64().unwrap() as u64)
}

fn texts(value: Option<&Json>) -> Vec<String> {
    let items = value.and_then(Json::as_array).unwrap_or_default();
    items.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
}

impl Script {
    pub(crate) fn of(child: &Json) -> Script {
        let restart = match text(child, "restart").as_str() {
            "permanent" => Restart::Permanent,
            "transient" => Restart::Transient,
            "temporary" => Restart::Temporary,
            other => panic!("restart {other}"),
        };
        let shutdown = match child.get("shutdown").unwrap() {
            Json::String(word) if word == "brutal_kill" => Shutdown::BrutalKill,
            Json::String(word) if word == "infinity" => Shutdown::Infinity,
            patience => Shutdown::Timeout(millis(patience)),
        };
        let child_type = match text(child, "type").as_str() {
            "worker" => ChildType::Worker,
            "supervisor" => ChildType::Supervisor,
            other => panic!("type {other}"),
        };
        let significant = child.get("significant").and_then(Json::as_bool).unwrap();
        let spec = ChildSpec { id: text(child, "id"), restart, shutdown, significant, child_type };
        Script {
            spec,
            starts: texts(child.get("starts")),
            hangs: text(child, "on_shutdown") == "hang",
        }
    }
}

fn flags(flags: &Json) -> Flags {
    let strategy = match text(flags, "strategy").as_str() {
        "one_for_one" => Strategy::OneForOne,
        "one_for_all" => Strategy::OneForAll,
        "rest_for_one" => Strategy::RestForOne,
        "simple_one_for_one" => Strategy::SimpleOneForOne,
        other => panic!("strategy {other}"),
    };
    let auto_shutdown = match text(flags, "auto_shutdown").as_str() {
        "never" => AutoShutdown::Never,
        "any_significant" => AutoShutdown::AnySignificant,
        "all_significant" => AutoShutdown::AllSignificant,
        other => panic!("auto_shutdown {other}"),
    };
    let number = |key| flags.get(key).and_then(Json::as_i64).unwrap() as u64;
    Flags {
        strategy,
        intensity: number("intensity") as usize,
        period: Duration::from_secs(number("period")),
        auto_shutdown,
        ..Flags::default()
    }
}

impl Scenario {
    pub(crate) fn of(scenario: &Json) -> Scenario {
        let list = |key| scenario.get(key).and_then(Json::as_array).unwrap();
        let is_template =
            |child: &&Json| child.get("template").and_then(Json::as_bool) == Some(true);
        let observed = |one: &Json| (one.get("reply").unwrap().clone(), texts(one.get("events")));
        Scenario {
            name: text(scenario, "name"),
            flags: flags(scenario.get("flags").unwrap()),
            children: list("children")
                .iter()
                .filter(|child| !is_template(child))
                .map(Script::of)
                .collect(),
            template: list("children").iter().find(is_template).map(Script::of),
            steps: list("steps").to_vec(),
            observed: list("observed").iter().map(observed).collect(),
        }
    }
}
