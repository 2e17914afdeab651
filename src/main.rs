//! `alexnet`: parse, run, exit code; an error chain is printed once.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    match cli::run(cli::Cli::from_process()) {
        Ok(code) => code,
        Err(error) => {
            cli::complain(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}
