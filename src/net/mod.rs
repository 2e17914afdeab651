//! Networks: model text, the graph it stands for, its counts, and its lowering to a program.

mod augment;
mod backward;
mod check;
mod factors;
mod gather;
mod hybrid;
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
mod trained;
mod words;

use thiserror::Error;

pub use self::augment::{Augment, PRESETS as AUGMENTS};
pub use self::build::{Net, PlacedLayer, Spread};
pub use self::check::{Expected, MOST_IMAGES};
pub use self::factors::{LayerFactors, is_frozen};
pub use self::hybrid::RankSlots;
pub use self::lower::{Feature, NetProgram, lower};
pub use self::model::{Model, Order};
pub(crate) use self::named::named;
pub use self::named::{Named, UnknownName, near};
pub use self::optimizer::OptimizerConfig;
pub use self::options::{Job, LossScale, OptionChanges, Options, Parallel, Precision, WireFormat};
pub use self::schedule::{Factors, Position, Schedule, Stagnation};
pub use self::score::Score;
pub use self::source::{ImageSource, StoredImageSlots};
pub use self::stage::{Replacement, Stage};
pub use self::text::Kinds;
pub use self::trained::{Cut, Trained, Updated};
pub(crate) use self::words::toml_words;
pub use crate::ops::LAYERS;
use crate::ops::layer::{Chw, LayerError};

/// Advice on a name that is not known: the one of `known` that may have been meant, or all.
fn advice(near: Option<&str>, known: &str) -> String {
    near.map_or_else(|| format!("there are {known}"), |near| format!("did you mean {near}?"))
}

/// What is wrong with a network.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum NetError {
    #[error("no model {wanted}: neither a file nor a built-in network; {}", advice(near.as_deref(), known))]
    Unknown { wanted: String, near: Option<String>, known: String },
    #[error("{path} cannot be read as a model file: {reason}")]
    Read { path: String, reason: std::io::Error },
    #[error("{source_name}: {}", toml_words(reason))]
    Parse { source_name: String, reason: Box<toml::de::Error> },
    #[error("{source_name}{}: {error}", line.map_or_else(String::new, |line| format!(", line {line}")))]
    InFile { source_name: String, line: Option<usize>, error: Box<NetError> },
    #[error("unknown optimizer {found}; known are {known}")]
    Optimizer { found: String, known: String },
    #[error("optimizer {optimizer} has no hyper-parameter {found}; it has: {known}")]
    HyperParameter { optimizer: &'static str, found: String, known: String },
    #[error("{key} = {found}: {expected}")]
    Number { key: String, found: String, expected: Expected },
    #[error("there is no layer {wanted:?}; there are {known}")]
    NoRow { wanted: String, known: String },
    #[error("layer (all): no layer has {wanted} to be replaced; there are {known}")]
    NoStage { wanted: &'static str, known: String },
    #[error("found {found:?}, expected STAGE=STAGE or STAGE=none, where the stages are {known}")]
    Replacement { found: String, known: String },
    #[error("layer {layer}: {error}")]
    Layer { layer: String, error: LayerError },
    #[error("layer {layer}: {error}")]
    Row { layer: String, error: RowError },
    #[error("the model has no layers; expected at least one in layers = [ … ]")]
    Empty,
}

/// What is wrong with a row of a model file beside its neighbours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RowError {
    #[error("there is no such layer to freeze; there are {0}")]
    NotFrozen(String),
    #[error("another layer has this name")]
    Twice,
    #[error("a name consists of letters, digits and underscores")]
    Name,
    #[error("it has rates of its own in [train] or in the schedule, but is not in the network")]
    NotRated,
    #[error("softmax is the last stage of the last layer, and only of it")]
    Softmax,
    #[error("on = \"{0}\", but only \"a\" is known, and \"both\" for the last layer")]
    Tower(String),
    #[error("the last layer needs on = \"a\", or on = \"both\" where the towers share its outputs")]
    Last,
    #[error("on one tower it can only see = \"both\"")]
    OneTower,
    #[error("what comes before it lies on one tower; it needs on = \"a\" as well")]
    Behind,
    #[error("it has no outputs")]
    NoOutputs,
    #[error("{0} outputs are more than {1}")]
    Outputs(usize, usize),
    #[error("{0} outputs do not divide over {1} towers")]
    Divide(usize, usize),
    #[error("groups are those of one tower's own maps, and it reads the image or other towers; leave groups out")]
    Groups,
    #[error("{0} has no weights")]
    NoWeights(&'static str),
    #[error("it is not fully connected, and no layer behind it is: --parallel hybrid has nothing to cut; leave it out")]
    NoTail,
    #[error("it is fully connected and the first layer: --parallel hybrid needs others in front of it; leave it out")]
    NoMaps,
    #[error(
        "--parallel hybrid cuts the {units} units of a tower among {ranks} ranks: start {units} or fewer, or leave it out"
    )]
    FewUnits { units: usize, ranks: usize },
    #[error("it is too large: {y} from {x}")]
    TooLarge { x: Chw, y: Chw },
}
