//! `alexnet run`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::options::DEVICES;
use super::output::{json, line};
use super::progress::preparing;
use alexnet::commands::run::{self, WrittenArray};
use alexnet::session::open_devices;

/// Arguments of `run`.
#[derive(Debug, Args)]
pub(super) struct Run {
    /// An ONNX file
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// An input of the network by its name, and a .npy file with it; again for more
    #[arg(long = "input", value_name = "NAME=FILE", value_parser = named_file)]
    inputs: Vec<(String, PathBuf)>,
    /// Gets each output as a .npy file of its name
    #[arg(long, value_name = "DIR")]
    output_dir: PathBuf,
    #[arg(long, value_name = "DEVICES", help = DEVICES)]
    devices: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Told {
    device: String,
    outputs: Vec<WrittenArray>,
}

fn named_file(text: &str) -> Result<(String, PathBuf), String> {
    // Names of values may have a = in them, those of files seldom.
    let (name, path) = text.rsplit_once('=').ok_or("NAME=FILE, the name of an input and a .npy file")?;
    Ok((name.into(), path.into()))
}

impl Run {
    pub(super) fn run(self) -> Result<()> {
        let inputs = run::Run::read(&self.model, &self.inputs)?;
        let devices = open_devices(self.devices.as_deref())?.watched(preparing());
        let mut session = inputs.session(&devices)?;
        let outputs = inputs.write(&mut session, &self.output_dir)?;
        let told = Told { device: session.device(), outputs };
        if self.json {
            return json(&told);
        }
        line(format_args!("on {}", told.device))?;
        told.outputs.iter().try_for_each(|WrittenArray { name, shape, file }| {
            line(format_args!("{name} {shape:?} in {}", file.display()))
        })
    }
}
