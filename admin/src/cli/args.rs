//! The commands and their arguments.

use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Arg, ArgAction, Command, value_parser};

use crate::config::serve_flags;
use crate::server::MAX_WAIT;

/// The whole command line.
pub fn command() -> Command {
    Command::new("decisiongraph")
        .version(env!("CARGO_PKG_VERSION"))
        .about("The projection runtime of DecisionGraph: keeps decisions, projects them, proves the result")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .args(globals())
        .subcommands(run_commands())
        .subcommands(log_commands())
        .subcommands(read_commands())
        .subcommands(operate_commands())
        .subcommands(replay_commands())
        .subcommands(prove_commands())
        .subcommand(bench_command())
        .subcommands(shell_commands())
}

fn globals() -> Vec<Arg> {
    let globals = [
        value("config", "FILE", "the configuration file").value_parser(value_parser!(PathBuf)),
        value("socket", "PATH", "the daemon's admin socket"),
        value("tenant", "T", "the tenant [default: default]").short('t'),
        value("output", "FORMAT", "how to print: table, json or jsonl")
            .short('o')
            .value_parser(["table", "json", "jsonl"])
            .default_value("table"),
        switch("no-color", "never colour the output"),
        switch("verbose", "say more on standard error").short('v'),
    ];
    globals.into_iter().map(|arg| arg.global(true).help_heading("Everywhere")).collect()
}

fn value(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).value_name(value_name).help(help)
}

fn path(name: &'static str, help: &'static str) -> Arg {
    value(name, "FILE", help).value_parser(value_parser!(PathBuf))
}

fn switch(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).help(help).action(ArgAction::SetTrue)
}

fn position(name: &'static str, value_name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).value_name(value_name).help(help).required(true)
}

fn number(name: &'static str, help: &'static str) -> Arg {
    value(name, "N", help).value_parser(value_parser!(u64))
}

fn run_commands() -> Vec<Command> {
    vec![
        Command::new("serve").about("run the daemon in the foreground").args(serve_flags()),
        Command::new("demo")
            .about("serve, load the sample log, show what can be asked")
            .arg(switch("keep-running", "go on serving afterwards"))
            .args(serve_flags()),
        Command::new("migrate")
            .about("bring the schema of a database up to date")
            .subcommand(Command::new("status").about("the schema's version, and drift"))
            .arg(switch("roles", "make the roles of migrations/roles.sql as well"))
            .args(on_both_sides(direct_flags())),
        Command::new("doctor")
            .about("check what can go wrong, with a remedy for each; changes nothing")
            .arg(switch(
                "recovered",
                "after an accident: whether all is well again, with the figures",
            ))
            .arg(
                switch("quick", "with --recovered: verify ten tenants rather than all")
                    .requires("recovered"),
            )
            .args(serve_flags()),
        Command::new("psql")
            .about("psql on the daemon's database")
            .arg(
                Arg::new("args")
                    .value_name("ARGS")
                    .num_args(0..)
                    .trailing_var_arg(true)
                    .allow_hyphen_values(true)
                    .help("arguments for psql"),
            )
            .args(direct_flags()),
        Command::new("config")
            .about("the effective configuration and where each value comes from")
            .subcommand(Command::new("check").about("whether it is valid, all mistakes at once"))
            .arg(switch("origin", "with the line in the file, and what each value stands before"))
            .args(on_both_sides(serve_flags())),
    ]
}

/// Flags that may stand before or after the word of a subcommand.
fn on_both_sides(flags: Vec<Arg>) -> impl Iterator<Item = Arg> {
    flags.into_iter().map(|flag| flag.global(true))
}

/// What a command needs to find the database by itself.
fn direct_flags() -> Vec<Arg> {
    let wanted = [
        "database_url",
        "database_password_file",
        "data_dir",
        "postgres_bin_dir",
        "storage_timeout_ms",
    ];
    serve_flags().into_iter().filter(|arg| wanted.contains(&arg.get_id().as_str())).collect()
}

fn log_commands() -> Vec<Command> {
    let file = || {
        Arg::new("file")
            .value_name("FILE")
            .help("JSON Lines; - is standard input")
            .default_value("-")
    };
    vec![
        Command::new("append")
            .about("append events, one JSON answer a line")
            .arg(file())
            .arg(switch("atomic", "all of them or none")),
        Command::new("import")
            .about("append many events, with a progress bar; can be repeated at any time")
            .arg(file())
            .arg(switch("keep-log-seq", "keep the numbers of an exported log (empty tenant only)")),
        Command::new("export").about("the tenant's log as JSON Lines"),
        Command::new("events").about("list events").args([
            value("trace-id", "ID", "only of this trace"),
            value("event-type", "TYPE", "only of this type"),
            number("since-log-seq", "after this number"),
            number("until-log-seq", "up to this number"),
            value("since-occurred-at", "TIME", "after this instant"),
            value("until-occurred-at", "TIME", "up to this instant"),
            number("limit", "at most so many [default: 100]"),
        ]),
        Command::new("trace")
            .about("the events of a trace")
            .arg(position("trace", "ID", "the trace"))
            .arg(number("since-trace-seq", "after this number")),
        Command::new("generate").about("a deterministic, valid log as JSON Lines").args([
            number("traces", "traces in all").default_value("1000"),
            number("events-per-trace", "events a trace").default_value("8"),
            number("payload-bytes", "bytes of each payload").default_value("510"),
            number("tenants", "tenants that share the traces").default_value("1"),
            number("seed", "another seed, another log").default_value("1"),
        ]),
    ]
}

fn node_arguments() -> [Arg; 2] {
    [
        position("kind", "KIND", "the kind of node, such as trace, entity or policy"),
        position("id", "ID", "the rest of its key, such as account:42"),
    ]
}

/// Read your own writes.
fn wait() -> Arg {
    value("wait", "SECONDS", "wait until what is in the log is visible [10 seconds at most]")
        .num_args(0..=1)
        .default_missing_value("10")
        .value_parser(value_parser!(u64).range(0..=MAX_WAIT.as_secs()))
}

fn read_commands() -> Vec<Command> {
    vec![
        Command::new("summary")
            .about("a trace at a glance")
            .arg(position("trace", "ID", "the trace"))
            .arg(wait()),
        Command::new("graph").about("the graph around a node").args(node_arguments()).args([
            number("depth", "edges away from the node, 0 to 10 [default: 1]"),
            number("max-nodes", "at most so many nodes [default: 100]"),
            number("max-edges", "at most so many edges [default: 100]"),
            value("node-type", "KIND,...", "only nodes of these kinds"),
            value("edge-type", "TYPE,...", "only edges of these types"),
            wait(),
        ]),
        Command::new("edges").about("the edges of a node").args(node_arguments()).args([
            value("direction", "WAY", "incoming, outgoing or both")
                .value_parser(["incoming", "outgoing", "both"]),
            number("limit", "at most so many [default: 100]"),
            value("cursor", "CURSOR", "where the page before ended"),
            wait(),
        ]),
        Command::new("precedents").about("finished traces that decided alike").args([
            value("policy", "ID", "that evaluated this policy"),
            value("policy-version", "VERSION", "in this version"),
            value("outcome", "OUTCOME", "that ended so").value_parser([
                "success",
                "failure",
                "abandoned",
            ]),
            value("entity-type", "TYPE", "about an entity of this type"),
            value("entity-id", "ID", "about this entity"),
            number("limit", "at most so many [default: 100]"),
            wait(),
        ]),
    ]
}

/// Again and again.
fn watch() -> Arg {
    value("watch", "SECONDS", "show it again every so many seconds, until Ctrl-C [2 if not given]")
        .num_args(0..=1)
        .default_missing_value("2")
        .value_parser(value_parser!(u64).range(1..=86_400))
}

const WORKER_STATES: [&str; 7] =
    ["starting", "catching_up", "idle", "retrying", "failed", "paused", "stopping"];

fn operate_commands() -> Vec<Command> {
    vec![
        Command::new("status")
            .about("the daemon at a glance")
            .arg(switch("tree", "the supervision tree as it stands"))
            .arg(watch()),
        Command::new("health").about("how far each projection is").args([
            switch("all-tenants", "of every tenant"),
            switch("digests", "refresh the digests first"),
            switch(
                "check",
                "answer as a monitoring plug-in: 0 current, 1 behind, 2 failed, 3 unknown",
            )
            .conflicts_with("watch"),
            watch(),
        ]),
        Command::new("workers")
            .about("the workers and what they do")
            .arg(switch("all-tenants", "of every tenant"))
            .arg(value("state", "S", "only those in this state").value_parser(WORKER_STATES))
            .arg(watch()),
        Command::new("failures")
            .about("events that could not be applied, and why; of all tenants unless --tenant names one")
            .arg(switch("all", "resolved ones too"))
            .arg(switch("all-tenants", "of every tenant, also where --tenant names one"))
            .arg(watch()),
        Command::new("top").about("the daemon at work, live on a terminal; ? there shows the keys"),
        Command::new("retry").about("let a failed worker try again now").arg(position(
            "projection",
            "PROJECTION",
            "its projection",
        )),
    ]
}

const RUN_STATUSES: [&str; 6] =
    ["queued", "running", "completed", "failed", "cancelled", "interrupted"];

fn replay_commands() -> Vec<Command> {
    let scope = || position("projection", "PROJECTION", "one projection, or all");
    let reason = || value("reason", "TEXT", "why, for those who read the history").required(true);
    let run = || {
        position("run", "ID", "the run, as `runs` lists it")
            .value_parser(NonEmptyStringValueParser::new())
    };
    let wait = || switch("wait", "follow it, and exit with its outcome");
    vec![
        Command::new("replay")
            .about("catch up with the log from the cursor, while the live workers pause")
            .args([scope(), reason(), number("until-log-seq", "up to this number"), wait()]),
        Command::new("rebuild")
            .about("build anew beside what is served, compare the two, and switch")
            .args([
                scope(),
                reason(),
                switch("dry-run", "only compare; serve what is served"),
                wait(),
            ]),
        Command::new("runs")
            .about(
                "replays and rebuilds, the newest first; of all tenants unless --tenant names one",
            )
            .args([
                switch("all-tenants", "of every tenant, also where --tenant names one"),
                value("status", "S", "only those in this state").value_parser(RUN_STATUSES),
                number("limit", "at most so many [default: 100]"),
                watch(),
            ]),
        Command::new("run").about("a replay or rebuild, and how it gets on").args([run(), wait()]),
        Command::new("cancel").about("end a replay or rebuild; it can be resumed").arg(run()),
        Command::new("resume")
            .about("let one that failed, was cancelled or interrupted go on from its checkpoint")
            .args([run(), wait()]),
    ]
}

fn prove_commands() -> Vec<Command> {
    vec![
        Command::new("digest")
            .about("the four digests and the cursor each stands for")
            .arg(switch("fresh", "compute them anew"))
            .arg(
                switch("log-hash", "the hash of the log, too, which is read whole for it")
                    .conflicts_with("watch"),
            )
            .arg(watch()),
        Command::new("verify")
            .about("project the whole log in memory and compare every row; changes nothing")
            .arg(path("receipt", "write down what was checked, in a file that is not there yet"))
            .arg(path("against", "compare with a receipt made elsewhere, or earlier"))
            .args(direct_flags()),
        Command::new("parity")
            .about("run bundles of scenarios through the real pipeline in a scratch database")
            .arg(Arg::new("files").value_name("FILE").num_args(1..).required(true).help("bundles"))
            .args(direct_flags()),
        Command::new("backup")
            .about("whether a backup could be restored; making and restoring is for Postgres' tools")
            .arg(
                value("check", "PATH", "a dump (custom or directory format) or a directory of pg_basebackup; without it what pgbackrest keeps")
                    .num_args(0..=1)
                    .default_missing_value("")
                    .required(true),
            )
            .arg(value(
                "restore-into",
                "URL",
                "restore the dump into a scratch database of this server, or of one of its own (the word scratch), and prove it there",
            ))
            .args(direct_flags()),
    ]
}

fn bench_command() -> Command {
    Command::new("bench")
        .about("measure against what Postgres itself gives, in a scratch database")
        .arg(
            Arg::new("what")
                .value_name("WHAT")
                .value_parser([
                    "append", "read", "project", "rebuild", "lag", "idle", "digest", "curve",
                    "tenants", "shapes", "stress", "all",
                ])
                .num_args(1..)
                .default_value("all")
                .help("what to measure"),
        )
        .args([
            number("traces", "traces of 8 events in the bulk measurements").default_value("20000"),
            number("rounds", "measurements of which the median is shown").default_value("3"),
            number("seconds", "how long a steady load lasts").default_value("60"),
            value("baseline", "FILE", "fail if a ratio is below a third of what this JSON has")
                .value_parser(value_parser!(PathBuf)),
            switch("json", "the same as -o json"),
        ])
        .args(direct_flags())
}

fn shell_commands() -> Vec<Command> {
    let shells = ["bash", "zsh", "fish", "elvish", "powershell"];
    vec![
        Command::new("completions")
            .about("completions of the command line, to be read by a shell")
            .arg(position("shell", "SHELL", "the shell").value_parser(shells)),
        Command::new("man").about("manual pages").arg(
            Arg::new("directory")
                .value_name("DIR")
                .value_parser(value_parser!(PathBuf))
                .help("write a page for each command there; else the main page is printed"),
        ),
        Command::new("runbook").about("what to do when something is wrong: a page of it").arg(
            Arg::new("name")
                .value_name("NAME")
                .help("a page, an error code or an alert; without one, all that there are"),
        ),
    ]
}
