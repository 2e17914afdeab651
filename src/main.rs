//! `alexnet`: parse, run, exit code; an error chain is printed once.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Cli::from_process()) {
        Ok(code) => code,
        Err(error) => {
            // Where nobody listens the exit code says it.
            let _ = writeln!(std::io::stderr(), "error: {}", cli::shown(format_args!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
