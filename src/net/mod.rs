//! Networks: model text, the graph it stands for, its counts, and its lowering to a program.

mod augment;
mod backward;
mod check;
mod named;
mod build;
mod lower;
pub mod model;
mod optimizer;
mod options;
pub mod schedule;
mod score;
mod source;
mod stage;
mod text;

use thiserror::Error;

pub use self::augment::{Augment, PRESETS as AUGMENTS};
pub use self::build::{Net, PlacedLayer, Spread};
pub use self::check::MOST_IMAGES;
pub use self::lower::{Feature, NetProgram, Trained, lower};
pub use self::model::Model;
pub use self::named::Named;
pub(crate) use self::named::named;
pub use self::optimizer::OptimizerConfig;
pub use self::options::{Job, LossScale, Options, Precision, WireFormat};
pub use self::schedule::{Factors, Position, Schedule, Stagnation};
pub use self::score::Score;
pub use self::source::{ImageSource, StoredImageSlots};
pub use self::stage::{Replacement, Stage};

/// What is wrong with a network.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum NetError {
    #[error("no model {wanted}: neither a file nor one of {known}")]
    Unknown { wanted: String, known: String },
    #[error("{path} cannot be read: {reason}")]
    Read { path: String, reason: String },
    #[error("{source_name}: {reason}")]
    Parse { source_name: String, reason: String },
    #[error("{0}")]
    Optimizer(String),
    #[error("{key} = {reason}")]
    Number { key: String, reason: String },
    #[error("there is no layer {wanted:?}; there are {known}")]
    NoRow { wanted: String, known: String },
    #[error("layer {layer}: {reason}")]
    Layer { layer: String, reason: String },
}
