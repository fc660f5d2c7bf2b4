//! The binary `decisiongraph`, built with the tests that run it. A daemon of theirs is stopped when its standard input
//! ends: with the test, however that ends.

use std::io::Read as _;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn main() -> std::process::ExitCode {
    if std::env::var_os("DECISIONGRAPH_TEST_LIFELINE").is_some() {
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            kill(Pid::this(), Signal::SIGTERM)
        });
    }
    dg_admin::cli::main(std::env::args_os())
}
