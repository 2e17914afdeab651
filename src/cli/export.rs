//! `alexnet export`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};

use super::output::say;
use crate::checkpoint::Checkpoint;
use crate::commands::convert::{export, export_onnx};
use crate::interop::Names;

/// Arguments of `export`.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// A run folder (its best checkpoint) or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// What kind of file
    #[arg(long, default_value = "safetensors")]
    format: Format,
    /// What tensors of a safetensors file are called [default: torchvision]
    #[arg(long, value_name = "CONVENTION")]
    names: Option<Convention>,
    /// The file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// A kind of file.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Weights alone, filters outermost
    Safetensors,
    /// The network with its weights as a graph of standard operators; it takes images as the network sees them
    Onnx,
}

/// A convention for names of tensors.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Convention {
    /// features.0.weight, classifier.1.weight: by the places of layers in a sequence
    Torchvision,
    /// conv1.weight, fc6.weight: by the model's rows
    Caffe,
    /// conv1.a.weight, fc6.b.weight: by rows, each tower's filters by themselves
    Tower,
}

impl From<Convention> for Names {
    fn from(convention: Convention) -> Self {
        match convention {
            Convention::Torchvision => Self::Torchvision,
            Convention::Caffe => Self::Caffe,
            Convention::Tower => Self::Tower,
        }
    }
}

impl Export {
    pub(super) fn run(self) -> Result<()> {
        let path = Checkpoint::locate(&self.checkpoint);
        let checkpoint = Checkpoint::read(&path)?;
        match (self.format, self.names) {
            (Format::Safetensors, names) => {
                export(&checkpoint, names.unwrap_or(Convention::Torchvision).into(), &self.out)
            }
            (Format::Onnx, None) => export_onnx(&checkpoint, &self.out),
            (Format::Onnx, Some(_)) => bail!("--names is of safetensors files; an ONNX file has the model's own names"),
        }
        .with_context(|| path.display().to_string())?;
        say(format!("{} as {}", path.display(), self.out.display()));
        Ok(())
    }
}
