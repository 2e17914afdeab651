//! Networks: model text, the graph it stands for, its counts, and its lowering to a program.

mod augment;
mod backward;
mod check;
mod named;
mod graph;
mod lower;
pub mod model;
mod optimizer;
mod options;
pub mod schedule;
mod source;
mod stage;
mod text;

use thiserror::Error;

pub use self::augment::{Augment, PRESETS as AUGMENTS};
pub use self::check::MOST_IMAGES;
pub use self::graph::{Net, Node, Spread};
pub use self::lower::{Feature, Lowered, Trained, lower};
pub use self::model::Model;
pub use self::named::Named;
pub(crate) use self::named::named;
pub use self::optimizer::OptimizerConfig;
pub use self::options::{Exchange, Job, LossScale, Options, Precision};
pub use self::schedule::{Factors, Progress, Schedule, Stagnation};
pub use self::source::{Source, Stored};
pub use self::stage::{Replacement, Stage};

/// What is wrong with a network.
#[derive(Debug, Error)]
pub enum NetError {
    /// No such model.
    #[error("no model {wanted}: neither a file nor one of {known}")]
    Unknown {
        /// What was asked for.
        wanted: String,
        /// Built-in names.
        known: String,
    },
    /// The model file cannot be read.
    #[error("{path} cannot be read: {reason}")]
    Read {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The text is not a model.
    #[error("{source_name}: {reason}")]
    Parse {
        /// The file.
        source_name: String,
        /// Line, column and what was expected there.
        reason: String,
    },
    /// An optimiser, or a number of one, that is not there.
    #[error("{0}")]
    Optimizer(String),
    /// A number of the training defaults is out of its range.
    #[error("{0}")]
    Training(String),
    /// A list names a row that is not there.
    #[error("there is no layer {wanted:?}; there are {known}")]
    NoRow {
        /// The name in the list.
        wanted: String,
        /// The rows, with commas between.
        known: String,
    },
    /// A row does not fit the network.
    #[error("layer {layer}: {reason}")]
    Layer {
        /// The row.
        layer: String,
        /// What is wrong and how to mend it.
        reason: String,
    },
}
