//! The command line: arguments to commands, failures to lines and exit codes.

mod args;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ArgMatches;
use dg_projections::Code;
use dg_projections::event::DEFAULT_TENANT;

use crate::client::Client;
use crate::commands;
use crate::config::{Config, Inputs, client_socket, flags_from};
use crate::failure::{Failure, exit};
use crate::output::{Format, Output, note, pretty};

pub use args::command;

/// What every command may use.
#[derive(Debug)]
pub(crate) struct Session {
    /// The arguments of the command.
    pub(crate) args: ArgMatches,
    /// How to print.
    pub(crate) output: Output,
    /// `--tenant`, if it was given.
    tenant: Option<String>,
    config_file: Option<PathBuf>,
}

impl Session {
    pub(crate) fn new(args: ArgMatches) -> Session {
        let format = match args.get_one::<String>("output").map(String::as_str) {
            Some("json") => Format::Json,
            Some("jsonl") => Format::Jsonl,
            _ => Format::Table,
        };
        let output = Output::new(format, args.get_flag("no-color"));
        let tenant = args.get_one::<String>("tenant").cloned();
        let config_file = args.get_one::<PathBuf>("config").cloned();
        Session { args, output, tenant, config_file }
    }

    /// The tenant to ask for.
    pub(crate) fn tenant(&self) -> &str {
        self.tenant.as_deref().unwrap_or(DEFAULT_TENANT)
    }

    /// `--tenant`, if it was given.
    pub(crate) fn named_tenant(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    fn inputs(&self) -> Inputs {
        Inputs::from_process(self.config_file.clone(), flags_from(&self.args))
    }

    /// The whole configuration.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.inputs())?)
    }

    /// A way to the daemon.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(client_socket(&self.inputs())?, self.tenant.clone()))
    }

    /// A way to the daemon, asking for the tenant that is named; for all where none is, or all are.
    pub(crate) fn client_of_all_or_one(&self) -> Result<Client, Failure> {
        let client = self.client()?;
        Ok(if self.args.get_flag("all-tenants") { client.of_all() } else { client })
    }

    /// A way to the daemon, asking for this tenant.
    pub(crate) fn client_for(&self, tenant: &str) -> Result<Client, Failure> {
        Ok(Client::new(client_socket(&self.inputs())?, Some(tenant.to_owned())))
    }

    /// A text argument.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.args.get_one::<String>(name).cloned()
    }

    /// Whether the command line has a value for it.
    pub(crate) fn has_flag(&self, name: &str) -> bool {
        flags_from(&self.args).contains_key(name)
    }

    /// An argument that the command line demands.
    pub(crate) fn required(&self, name: &str) -> Result<String, Failure> {
        self.text(name)
            .ok_or_else(|| Failure::new(Code::InvalidArgument, format!("{name} is missing")))
    }

    /// A flag as a query parameter.
    pub(crate) fn flag(&self, name: &str) -> Option<String> {
        self.args.get_flag(name).then(|| "true".to_owned())
    }
}

/// Runs the command line; never panics on what it is given.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(answer) => return print_answer(&answer),
    };
    let Some((name, matches)) = matches.subcommand() else { return ExitCode::from(2) };
    let session = Session::new(matches.clone());
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = match runtime.worker_threads(worker_threads()).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return report(session.output.format, &Failure::from(error)),
    };
    let outcome = runtime.block_on(commands::run(name, &session));
    // A blocked read of standard input must not keep the process.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => report(session.output.format, &failure),
    }
}

/// Half of the cores, two at least: the others are for Postgres, which has most of the work, and a thread
/// more than there is work for costs wake-ups (a third of all appends a second on four cores).
fn worker_threads() -> usize {
    std::thread::available_parallelism().map_or(2, |cores| cores.get().div_ceil(2).max(2))
}

/// Help, the version, or what is wrong with the arguments.
fn print_answer(answer: &clap::Error) -> ExitCode {
    let exit = u8::try_from(answer.exit_code()).unwrap_or(exit::USAGE);
    match answer.print().map_err(|error| Failure::unprinted(&error)) {
        Err(failure) if !failure.is_silent => report(Format::Table, &failure),
        _ => ExitCode::from(exit),
    }
}

/// What to read where nothing better is known. Some codes need no more than their message.
fn runbook_of(code: &str) -> Option<String> {
    let code = Code::from_word(code)?;
    let says_all = [Code::InvalidArgument, Code::NotFound, Code::Conflict];
    (!says_all.contains(&code))
        .then(|| format!("`decisiongraph runbook {code}` says what to look at"))
}

fn report(format: Format, failure: &Failure) -> ExitCode {
    if failure.is_silent {
        return ExitCode::from(failure.exit);
    }
    match format {
        Format::Table => {
            note(&format!("error: {}: {}", failure.code, failure.message));
            if let Some(help) = failure.help.clone().or_else(|| runbook_of(&failure.code)) {
                note(&format!("help: {help}"));
            }
        }
        Format::Json => note(&pretty(&failure.to_json())),
        Format::Jsonl => note(&dg_projections::json::canonical(&failure.to_json())),
    }
    ExitCode::from(failure.exit)
}
