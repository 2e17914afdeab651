//! The command line: one file a subcommand, arguments to configurations, no logic.

mod bench;
mod check;
mod classify;
mod describe;
mod devices;
mod eval;
mod export;
mod features;
mod filters;
mod fold;
mod help;
mod import;
mod inspect;
mod kernels;
mod live;
mod metrics;
mod observers;
mod options;
mod output;
mod picture;
mod plot;
mod predictions;
mod prepare;
mod progress;
mod ranks;
mod report;
mod reproduce;
mod run;
mod shell;
mod shown;
mod signals;
mod similar;
mod step;
mod terminal;
mod train;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

pub(crate) use self::output::complain;
use self::output::shown;
use self::signals::Signals;

/// Trains and evaluates AlexNet as it was built in 2012: one network over two towers, on any GPU.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 80)]
pub(super) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network on images, or resume a run
    Train(Box<train::Train>),
    /// Scale, crop and shuffle images into shards for training
    Prepare(prepare::Prepare),
    /// Score a checkpoint on validation images
    Eval(eval::Eval),
    /// Print the most probable classes of images
    Classify(classify::Classify),
    /// Convert a checkpoint to a file for other programs
    Export(export::Export),
    /// Convert weights of other programs to a checkpoint
    Import(import::Import),
    /// Train a few steps on given weights, images and labels and write every result, to compare engines
    Step(Box<step::Step>),
    /// Compute an ONNX network on numpy arrays
    Run(run::Run),
    /// Print the metrics of runs
    Metrics(metrics::Metrics),
    /// Draw learning curves of runs, in the terminal or as a picture
    Plot(plot::Plot),
    /// Print sizes and movements of weights, dead units, and what is unusual
    Inspect(inspect::Inspect),
    /// Write a page about a run, or one that compares several
    Report(report::Report),
    /// Test a claim of the paper: train what it compares, and print its number beside ours
    Reproduce(reproduce::Reproduce),
    /// Draw the filters of a convolution, as in the paper's Figure 3
    Filters(filters::Filters),
    /// Draw images with their most probable classes, as in the paper's Figure 4, left
    Predictions(predictions::Predictions),
    /// Find the training images that a network finds most alike, as in the paper's Figure 4, right
    Similar(similar::Similar),
    /// Write what a layer makes of images, as numbers
    Features(features::Features),
    /// List the adapters of this machine
    Devices(devices::Devices),
    /// Print a network: shapes, weights, multiply-adds, memory
    Describe(describe::Describe),
    /// List the kernels, or write their shaders
    Kernels(kernels::Kernels),
    /// Measure the kernels of a step, the step and its parts, the exchange between devices, or the loader
    Bench(bench::Bench),
    /// Compare every kernel with its CPU twin on an adapter, to test its driver
    Check(check::Check),
    /// Print a completion script for a shell
    #[command(hide = true)]
    Completions(shell::Completions),
    /// Write the manual pages of all commands
    #[command(hide = true)]
    Man(shell::Man),
}

impl Cli {
    /// The command line of this process; ends it with help, or with an error and exit code 2.
    pub(super) fn from_process() -> Self {
        let parse = |arguments: Vec<OsString>| {
            let matches = help::complete(Self::command()).try_get_matches_from(arguments)?;
            Self::from_arg_matches(&matches)
        };
        let arguments: Vec<OsString> = std::env::args_os().collect();
        parse(arguments.clone()).unwrap_or_else(|error| {
            // The error repeats arguments as they are: that of arguments that can be shown says the same.
            parse(arguments.iter().map(|argument| shown(argument.display()).into()).collect())
                .err()
                .unwrap_or(error)
                .exit()
        })
    }
}

/// Runs the command that was parsed. Exit code 0, or that of the signal that stopped it.
///
/// # Errors
/// The error of the command, for people.
pub(super) fn run(cli: Cli) -> Result<ExitCode> {
    progress::init();
    let signals = Signals::new()?;
    let result = match cli.command {
        Command::Train(command) => return command.run(&signals),
        Command::Reproduce(command) => return command.run(&signals),
        Command::Prepare(command) => command.run(),
        Command::Eval(command) => command.run(&signals),
        Command::Classify(command) => command.run(),
        Command::Export(command) => command.run(),
        Command::Import(command) => command.run(),
        Command::Step(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Metrics(command) => command.run(),
        Command::Plot(command) => command.run(),
        Command::Inspect(command) => command.run(),
        Command::Report(command) => command.run(),
        Command::Filters(command) => command.run(),
        Command::Predictions(command) => command.run(),
        Command::Similar(command) => command.run(),
        Command::Features(command) => command.run(),
        Command::Devices(command) => command.run(),
        Command::Describe(command) => command.run(),
        Command::Kernels(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Completions(command) => command.run(help::complete(Cli::command())),
        Command::Man(command) => command.run(help::complete(Cli::command())),
    };
    match result {
        Err(error) if !output::ended_by_reader(&error) => Err(error),
        _ => Ok(ExitCode::SUCCESS),
    }
}
