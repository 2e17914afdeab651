//! The smallest network of two towers.

/// Its model file.
pub(crate) const TINY: &str = include_str!("tiny.toml");
