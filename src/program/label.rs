//! Labels of runs, by which listings and profiles group their times.

use std::sync::Arc;

use serde::Serialize;

/// The row of the network that a run belongs to, and its phase.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Label {
    /// Name of the row; `input` for what comes before the first, `update` for the optimiser's work on all of them.
    pub layer: Arc<str>,
    /// Forward, backward or update.
    pub phase: Phase,
}

/// The phase of a step that a run belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// From the row's input to its output, or to the loss.
    #[default]
    Forward,
    /// From the gradient of the row's output to those of its input and weights.
    Backward,
    /// From the gradients of the row's weights to new weights.
    Update,
}
