//! What a run is for, for people who look at its time.

use std::sync::Arc;

use serde::Serialize;

/// A row of the network, and which way it is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Label {
    /// Name of the row; `input` for what comes before the first.
    pub layer: Arc<str>,
    /// Which way.
    pub phase: Phase,
}

/// What is done in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// From its input to its output, or to the loss.
    #[default]
    Forward,
    /// From the gradient of its output to those of its input and weights.
    Backward,
    /// From the gradients of its weights to new ones.
    Update,
}
