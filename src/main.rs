//! `alexnet`: parse, run, exit code; an error chain is printed once.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match alexnet::cli::run(alexnet::cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
