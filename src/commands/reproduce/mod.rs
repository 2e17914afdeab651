//! Claims of the paper, measured: each is a declaration in [`REPRODUCTIONS`], its runs are trained in folders of their
//! own, of which those that are done are not done again, and the outcome stands beside the paper's number.

mod arm;
mod campaign;
mod list;
mod outcome;

use std::path::PathBuf;

use thiserror::Error;

pub use self::campaign::{Campaign, Progress};
pub use self::list::REPRODUCTIONS;
pub use self::outcome::{ArmOutcome, EpochErrors, Ours, Outcome, RunOutcome, Trace};
use crate::eval::EvalError;
use crate::files::FileError;
use crate::net::NetError;
use crate::runs::RunError;
use crate::session::SessionError;
use crate::train::{ConfigError, TrainError};

/// A claim and the runs that test it.
#[derive(Debug)]
pub struct Reproduction {
    /// Name on the command line.
    pub name: &'static str,
    /// What is claimed, and where.
    pub claim: Claim,
    /// Networks that are compared, the one with what is claimed to help first.
    pub arms: &'static [Arm],
    /// What is measured of the runs.
    pub measure: Measure,
    /// Runs of each arm, with the same seeds in all arms.
    pub seeds: u64,
}

/// A claim of the paper or of its author's notes.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// The claim in words.
    pub text: &'static str,
    /// Section of the paper, or the page, that makes the claim.
    pub source: &'static str,
    /// Its number, in the unit of [`Measure::unit`]; `None` for a claim without one.
    pub number: Option<f64>,
}

/// One of the networks that are compared.
#[derive(Clone, Copy, Debug)]
pub struct Arm {
    /// Name of the network in tables and folders.
    pub name: &'static str,
    /// Network for images of 32 pixels.
    pub small: Recipe,
    /// Network of the claim itself, for ImageNet, where it is another.
    pub full: Option<Recipe>,
    /// Random changes of training images, where they are not the network's own.
    pub augment: Option<&'static str>,
}

/// A built-in network, and what is changed in it.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    /// Name of the network.
    pub model: &'static str,
    /// Stages that are replaced in all layers: `relu=tanh`.
    pub replace: &'static [&'static str],
    /// TOML that takes the place of keys of the model file.
    pub change: &'static str,
}

/// A number that is made of runs.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// Epochs to a training error, at the best of some rates; the second arm's over the first's, or a number that it is
    /// larger than, where the second does not get there.
    EpochsTo {
        /// Training error, 0 to 1.
        error: f64,
        /// Learning rates that are tried.
        rates: &'static [f32],
        /// Epochs after which the rate with the least training error goes on alone.
        trial: usize,
        /// Epochs after which a run ends that does not get there.
        most: usize,
    },
    /// Validation error in the end; the further arms' less the first's, seed by seed.
    Error,
    /// Validation error by the centre less that by ten views.
    Views,
    /// Mean validation error of the runs less that of their average.
    Ensemble,
    /// Validation error of each arm beside a published one.
    Published {
        /// Published error of each arm, in percent.
        errors: &'static [f64],
        /// Views of a test image for each arm.
        views: &'static [usize],
    },
}

impl Measure {
    /// Training error at which a run ends, 0 to 1.
    pub fn until(&self) -> Option<f64> {
        if let Self::EpochsTo { error, .. } = self { Some(*error) } else { None }
    }

    /// Unit of the number.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::EpochsTo { .. } => "times the epochs",
            Self::Error | Self::Views | Self::Ensemble => "points of top-1 error",
            Self::Published { .. } => "% top-1 error",
        }
    }

    /// The number in words.
    pub fn words(&self) -> &'static str {
        match self {
            Self::EpochsTo { .. } => "epochs of the second over those of the first, each at its best rate",
            Self::Error => "validation error of the last less that of the first, seed by seed",
            Self::Views => "validation error by one view less that by ten",
            Self::Ensemble => "mean validation error of the networks less that of their average",
            Self::Published { .. } => "validation errors beside the published test errors",
        }
    }
}

/// Why a claim could not be tested.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ReproduceError {
    #[error("{run}: {error}")]
    Train { run: String, error: Box<TrainError> },
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error("the change of {model} is not TOML ({error})")]
    Change { model: &'static str, error: String },
    #[error("{path} was begun with {before}; this is {now}: choose another --out, or the settings of before")]
    Begun { path: PathBuf, before: String, now: String },
    #[error(
        "{path} is damaged ({reason}), so that nothing says what its folder was begun for: choose another --out, or a copy of it"
    )]
    Settings { path: PathBuf, reason: serde_json::Error },
    #[error("{path} has files, but no config.toml, so that its run cannot go on: remove the folder")]
    NoConfig { path: PathBuf },
    #[error("{path} holds something else than a reproduction: choose an empty or new folder by --out")]
    Foreign { path: PathBuf },
    #[error("{run}: no rate on the grid trained: {rates}")]
    NoRate { run: String, rates: String },
}
