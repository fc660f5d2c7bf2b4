//! The binary `decisiongraph`, built with the tests that run it.

fn main() -> std::process::ExitCode {
    dg_admin::cli::main(std::env::args_os())
}
