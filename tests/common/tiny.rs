//! The smallest network of two towers.

/// A network of two towers that does thousands of steps a second; its checkpoints have some 24 KiB.
pub(crate) const TINY: &str = r#"
about = "two towers, as small as can be"
input = { channels = 3, size = 8, stored = 10, scale = [0.015625, 0.015625, 0.015625] }
towers = 2
pool = { size = 3, stride = 2 }
layers = [
  { name = "conv1", conv = { filters = 8, size = 3, pad = 1 }, weights = 0.2, then = ["relu", "pool"] },
  { name = "fc2", fc = 16, sees = "both", weights = 0.2, then = ["relu", "dropout"] },
  { name = "fc3", fc = 10, sees = "both", on = "a", weights = 0.2, then = ["softmax"] },
]

[train]
batch = 16
epochs = 2
rate = 0.01
augment = { mirror = true }
"#;
