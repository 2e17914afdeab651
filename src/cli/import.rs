//! `alexnet import`: other programs' weights to checkpoints.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, ValueEnum};

use super::options::built_in;
use super::output::say;
use super::progress::Progress;
use alexnet::commands::convert::Import as Request;
use alexnet::eval::colour;
use alexnet::files::{FileKind, check_target, expect_other, read_text};
use alexnet::net::Model;

#[derive(Debug, Args)]
#[command(after_long_help = SOURCES)]
pub(super) struct Import {
    /// Weights of another program: a safetensors file or a checkpoint of PyTorch (.pth), under the names that `export`
    /// writes, behind prefixes, or with the same layers in the same order; or a .caffemodel
    file: PathBuf,
    #[arg(long, help = format!("Network and preprocessing of the weights: a model file, or one of {}", built_in()))]
    model: String,
    /// Checkpoint to write, which `train --init`, `eval` and `classify` take
    #[arg(long, value_name = "CHECKPOINT")]
    out: PathBuf,
    /// Replace a file of another kind
    #[arg(long)]
    force: bool,
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
    #[arg(long, value_name = "R,G,B", value_parser = colour, allow_hyphen_values = true)]
    mean: Option<[f32; 3]>,
    /// A mean image of Caffe, .binaryproto or .npy (blue, green, red), or as .npy its means by colour
    #[arg(long, value_name = "FILE", conflicts_with = "mean")]
    mean_file: Option<PathBuf>,
    /// A network of Caffe as text (deploy.prototxt), which the model must agree with
    #[arg(long, value_name = "FILE")]
    prototxt: Option<PathBuf>,
    /// Take the weights whose names begin with this, where a file has several sets of them: state_dict_ema,
    /// model.teacher
    #[arg(long, value_name = "NAME")]
    under: Option<String>,
    /// Refuse the file unless its SHA-256 begins with these 8 or more digits
    #[arg(long, value_name = "DIGITS")]
    sha256: Option<String>,
}

/// Where weights of AlexNet are published.
const SOURCES: &str = "Published weights (nothing is downloaded by this program):
  torchvision   https://download.pytorch.org/models/alexnet-owt-7be5be79.pth
                244,408,911 bytes, SHA-256 begins with 7be5be79, --model torchvision
  bvlc-alexnet  http://dl.caffe.berkeleyvision.org/bvlc_alexnet.caffemodel
                243,862,414 bytes,
                SHA-256 4bff209a9837298157915ef50a4831a59636a6ca1a6b8ebacd990c3a5f3053e0
  bvlc-caffenet http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel
                243,862,418 bytes, SHA-1 4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46 (no SHA-256 published)
  places365     http://places2.csail.mit.edu/models_places365/alexnet_places365.pth.tar
                365 classes, no sum published, --model torchvision";

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
        check_target(&self.out, FileKind::Checkpoint, Some(self.force))?;
        expect_other(&self.out, [&self.file])?;
        let classes = self.classes.map(|path| {
            let text = read_text(&path).with_context(|| format!("--classes {}", path.display()))?;
            Ok::<_, anyhow::Error>(text.lines().map(str::to_owned).collect())
        });
        let request = Request {
            file: self.file,
            model: Model::open(&self.model)?,
            classes: classes.transpose()?,
            mean: self.mean,
            mean_file: self.mean_file,
            prototxt: self.prototxt,
            under: self.under,
            sha256: self.sha256,
            missing: (self.missing == Missing::Random).then_some(self.seed),
        };
        let busy = Progress::busy("importing");
        let imported = request.read()?;
        imported.checkpoint.save(&self.out)?;
        drop(busy);
        if !imported.drawn.is_empty() {
            say(format!("not in the file, so drawn at random: {}", imported.drawn.join(", ")));
        }
        for words in &imported.words {
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
