//! `alexnet export`: checkpoints to other programs' formats.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};

use super::options::named;
use super::output::say;
use super::progress::Progress;
use alexnet::checkpoint::Checkpoint;
use alexnet::commands::convert::{export, export_onnx};
use alexnet::files::{FileKind, check_target, expect_other};
use alexnet::interop::Convention;

#[derive(Debug, Args)]
pub(super) struct Export {
    /// A run folder (its best checkpoint) or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// Format of the file
    #[arg(long, default_value = "safetensors")]
    format: Format,
    /// Naming of tensors in a safetensors file [default: torchvision]
    #[arg(long, value_name = "CONVENTION", value_parser = named::<Convention>())]
    names: Option<Convention>,
    /// File to write: safetensors or ONNX
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Export a damaged checkpoint as it is
    #[arg(long)]
    no_verify: bool,
    /// Replace a file of another kind
    #[arg(long)]
    force: bool,
}

/// Format of an exported file.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// Weights alone, filters outermost
    Safetensors,
    /// The network with its weights as a graph of standard operators; it takes images as the network sees them
    Onnx,
}

impl Export {
    pub(super) fn run(self) -> Result<()> {
        let kind = match self.format {
            Format::Safetensors => FileKind::Tensors,
            Format::Onnx => FileKind::Onnx,
        };
        let other = matches!(self.format, Format::Safetensors) && self.out.extension().is_some_and(|end| end == "onnx");
        ensure!(!other, "{}: weights alone make a .safetensors file; for ONNX say --format onnx", self.out.display());
        check_target(&self.out, kind, Some(self.force))?;
        let busy = Progress::busy("exporting");
        let path = Checkpoint::locate(&self.checkpoint);
        expect_other(&self.out, [&path])?;
        let read = if self.no_verify { Checkpoint::read_unverified } else { Checkpoint::read };
        let checkpoint = read(&path)?;
        match (self.format, self.names) {
            (Format::Safetensors, names) => export(&checkpoint, names.unwrap_or(Convention::Torchvision), &self.out),
            (Format::Onnx, None) => export_onnx(&checkpoint, &self.out),
            (Format::Onnx, Some(_)) => {
                bail!("--names is for safetensors files; an ONNX file has the model's own names")
            }
        }
        .with_context(|| path.display().to_string())?;
        drop(busy);
        say(format!("{} as {}", path.display(), self.out.display()));
        Ok(())
    }
}
