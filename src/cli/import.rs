//! `alexnet import`.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use super::options::built_in;
use super::output::say;
use alexnet::commands::convert::Import as Request;
use alexnet::eval::colour;
use alexnet::net::Model;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// Weights of another program: a safetensors file or a state dict of PyTorch (.pth) under any of the names
    /// that `export` writes, or a .caffemodel
    file: PathBuf,
    #[arg(long, help = format!("Network and preprocessing of the weights: a model file, or one of {}", built_in()))]
    model: String,
    /// Checkpoint to write
    #[arg(long, value_name = "CHECKPOINT")]
    out: PathBuf,
    /// How to treat missing tensors
    #[arg(long, value_name = "HOW", default_value = "refuse")]
    missing: Missing,
    /// Seed of initialised tensors
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Names of the classes, one a line, in the order of the outputs [default: those in the file, or numbers]
    #[arg(long, value_name = "FILE")]
    classes: Option<PathBuf>,
    /// Subtracted from pixels of 0 to 255 [default: the model's means, or the mean image in the file]
    #[arg(long, value_name = "R,G,B", value_parser = colour)]
    mean: Option<[f32; 3]>,
    /// A mean image of Caffe, .binaryproto or .npy (blue, green, red), or as .npy its means by colour
    #[arg(long, value_name = "FILE", conflicts_with = "mean")]
    mean_file: Option<PathBuf>,
    /// A network of Caffe as text (deploy.prototxt), which the model must agree with
    #[arg(long, value_name = "FILE")]
    prototxt: Option<PathBuf>,
}

/// Treatment of missing tensors.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Missing {
    /// Name them and write nothing
    Refuse,
    /// Initialise them as for training
    Random,
}

impl Import {
    pub(super) fn run(self) -> Result<()> {
        let classes = self.classes.map(|path| {
            let text = std::fs::read_to_string(&path).with_context(|| format!("--classes {}", path.display()))?;
            Ok::<_, anyhow::Error>(text.lines().map(str::to_owned).collect())
        });
        let request = Request {
            file: self.file,
            model: Model::open(&self.model)?,
            classes: classes.transpose()?,
            mean: self.mean,
            mean_file: self.mean_file,
            prototxt: self.prototxt,
            missing: (self.missing == Missing::Random).then_some(self.seed),
        };
        let imported = request.read()?;
        imported.checkpoint.save(&self.out)?;
        if !imported.drawn.is_empty() {
            say(format!("not in the file, so drawn at random: {}", imported.drawn.join(", ")));
        }
        if let Some(words) = &imported.words {
            say(words);
        }
        if !imported.unused.is_empty() {
            say(format!("not of this network, so left out: {}", some(&imported.unused)));
        }
        say(format!("{} as {}", self.model, self.out.display()));
        Ok(())
    }
}

/// Names for a line of text: all of a few, else the first and how many more there are.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 8;
    match names.get(..SHOWN) {
        Some(first) if names.len() > SHOWN => format!("{} and {} more", first.join(", "), names.len() - SHOWN),
        _ => names.join(", "),
    }
}
