//! The binary `decisiongraph`: the daemon and its client.

fn main() -> std::process::ExitCode {
    dg_admin::cli::main(std::env::args_os())
}
