//! `alexnet step`: training steps on one given batch, with all tensors written out.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::options::{Placed, Replaced, built_in, positive, share};
use super::output::{Output, line};
use super::progress::Progress;
use alexnet::commands::step::{Inputs, without_dropout};
use alexnet::files::{FileKind, check_target, expect_other, write_tensors};
use alexnet::net::{Model, Options};
use alexnet::session::Session;

#[derive(Debug, Args)]
pub(super) struct Step {
    #[arg(long, help = format!("A model file, or a built-in network: {}", built_in()))]
    model: String,
    #[command(flatten)]
    replaced: Replaced,
    /// Weights: a run or checkpoint, or a file that `import` reads
    #[arg(long, value_name = "FILE")]
    weights: PathBuf,
    /// A safetensors file with images (floats, N x 3 x H x W, as the network sees them) and labels (integers)
    #[arg(long, value_name = "FILE")]
    batch: PathBuf,
    /// Learning rate of weights; the rate of biases scales with it [default: the model's]
    #[arg(long, value_name = "RATE", value_parser = positive, allow_negative_numbers = true)]
    lr: Option<f32>,
    /// Momentum: share of the last increment that is kept [default: the model's]
    #[arg(long, value_name = "SHARE", value_parser = share, allow_negative_numbers = true)]
    momentum: Option<f32>,
    /// Weight decay, not applied to biases [default: the model's]
    #[arg(long, value_parser = positive, allow_negative_numbers = true)]
    decay: Option<f32>,
    /// Number of steps, all on this batch
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: u64,
    /// Remove dropout from the network
    #[arg(long)]
    no_dropout: bool,
    /// Also write every layer's output
    #[arg(long)]
    features: bool,
    /// Seed of dropout masks
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    placed: Placed,
    /// File for losses, logits, gradients, weights and the optimiser's states. Behind a dropout they are those of other
    /// programs' networks, whose dropout does nothing in evaluation: weights and their increments times the share that
    /// it keeps, gradients divided by it
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    output: Output,
}

#[derive(Serialize)]
struct Report {
    device: String,
    losses: Vec<f64>,
}

impl Step {
    pub(super) fn run(self) -> Result<()> {
        check_target(&self.out, FileKind::Tensors, None)?;
        expect_other(&self.out, [&self.weights, &self.batch])?;
        let busy = Progress::busy("computing");
        let mut inputs = Inputs::read(self.network()?, &self.weights, &self.batch)?;
        inputs.features = self.features;
        let net = inputs.net()?;
        let job = inputs.job().with(Options::DEFAULT.changed(self.placed.changes()));
        let (devices, layout) = self.placed.open(&net, &job)?;
        let mut session = Session::laid_out(net, &job, layout, &devices, self.seed)?;
        let outcome = inputs.run(&mut session, self.steps)?;
        write_tensors(&self.out, &outcome.tensors, None)?;
        drop(busy);
        self.output.tell(&Report { device: session.device(), losses: outcome.losses }, |report| {
            line(format_args!("on {}", report.device))?;
            for (step, loss) in (1..).zip(&report.losses) {
                line(format_args!("step {step}: loss {loss:.6}"))?;
            }
            line(format_args!("{} tensors in {}", outcome.tensors.len(), self.out.display()))
        })
    }

    /// The network, with the training settings of the arguments.
    fn network(&self) -> Result<Model> {
        let mut model = Model::open(&self.model)?;
        self.replaced.apply(&mut model)?;
        if self.no_dropout {
            without_dropout(&mut model);
        }
        let train = &mut model.train;
        if let Some(rate) = self.lr {
            train.set_rate(rate);
        }
        if let Some(momentum) = self.momentum {
            train.optimizer.set("momentum", momentum)?;
        }
        train.decay = self.decay.unwrap_or(train.decay);
        Ok(model)
    }
}
