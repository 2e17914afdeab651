//! `alexnet run`: any ONNX network on numpy arrays.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::options::On;
use super::output::{Output, line};
use super::progress::Progress;
use alexnet::commands::run::{self, WrittenArray};

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Network to compute: an ONNX file
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// Name of an input and its .npy file; can be repeated
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = named_file)]
    inputs: Vec<(String, PathBuf)>,
    /// Name of an output to compute [default: all]; can be repeated
    #[arg(long = "output", value_name = "NAME")]
    outputs: Vec<String>,
    /// Folder for the outputs, a .npy file each
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    #[command(flatten)]
    on: On,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Report {
    device: String,
    outputs: Vec<WrittenArray>,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    // Names of values may contain =, names of files seldom do.
    let (name, path) = text.rsplit_once('=').ok_or("expected NAME=FILE, the name of an input and a .npy file")?;
    Ok((name.into(), path.into()))
}

impl Run {
    pub(super) fn run(self) -> Result<()> {
        let busy = Progress::busy("computing");
        let inputs = run::Run::read(&self.model, &self.inputs, &self.outputs)?;
        let mut session = inputs.session(&self.on.watched()?)?;
        let outputs = inputs.write(&mut session, &self.output_dir)?;
        drop(busy);
        self.output.tell(&Report { device: session.device(), outputs }, |report| {
            line(format_args!("on {}", report.device))?;
            report.outputs.iter().try_for_each(|WrittenArray { name, shape, file }| {
                line(format_args!("{name} {shape:?} in {}", file.display()))
            })
        })
    }
}
