//! The smallest network of two towers.

/// Model file of the network.
pub(crate) const TINY: &str = include_str!("tiny.toml");
