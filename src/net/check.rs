//! Ranges of the numbers of a model file, apart from the settings of its layers, which the builder of the graph checks.

use std::fmt::Display;
use std::ops::RangeInclusive;

use thiserror::Error;

use super::{Model, NetError};
use crate::ops::layer::MOST_PIXELS;

/// Most images in a minibatch: far more than SGD can use.
pub const MOST_IMAGES: usize = 1 << 16;

/// Most towers of a network: they are named by letters.
const MOST_TOWERS: usize = 26;

/// Range that a number of a model file must lie in.
#[derive(Clone, Copy, Debug, PartialEq, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Expected {
    #[error("a network has 1 to {MOST_TOWERS} towers")]
    Towers,
    #[error("images have 3 channels")]
    Channels,
    #[error("a size lies between 1 and {MOST_PIXELS} pixels")]
    Size,
    #[error("a crop of {size} does not fit into a stored image of {stored}")]
    Crop { size: usize, stored: usize },
    #[error("expected three finite numbers")]
    Colours,
    #[error("expected a finite number")]
    Finite,
    #[error("expected a number of 0 or more")]
    Positive,
    #[error("expected a number from 0 to 1")]
    Share,
    #[error("a deviation of 0 to 10")]
    Deviation,
    #[error("a minibatch has 1 to {MOST_IMAGES} images")]
    Batch,
    #[error("a run has 1 epoch or more")]
    Epochs,
}

impl Model {
    /// Checks the numbers of the input, the towers, the rows and the training defaults.
    ///
    /// # Errors
    /// [`NetError::Number`] when one is out of its range.
    pub fn check(&self) -> Result<(), NetError> {
        self.check_input()?;
        whole(&["towers"], self.towers, 1..=MOST_TOWERS, Expected::Towers)?;
        self.check_rows()?;
        self.check_training()
    }

    fn check_input(&self) -> Result<(), NetError> {
        let (input, stored) = (&self.input, self.input.stored());
        whole(&["input", "channels"], input.channels, 3..=3, Expected::Channels)?;
        whole(&["input", "size"], input.size, 1..=MOST_PIXELS, Expected::Size)?;
        whole(&["input", "stored"], stored, 1..=MOST_PIXELS, Expected::Size)?;
        let crop = Expected::Crop { size: input.size, stored };
        whole(&["input", "stored"], stored, input.size..=MOST_PIXELS, crop)?;
        for (key, values) in [("scale", Some(input.scale)), ("mean", input.mean)] {
            for value in values.into_iter().flatten() {
                real(&["input", key], value, f32::MIN..=f32::MAX, Expected::Colours)?;
            }
        }
        Ok(())
    }

    fn check_rows(&self) -> Result<(), NetError> {
        for (index, row) in self.layers.iter().enumerate() {
            let at = |key| ["layers".to_owned(), index.to_string(), String::from(key)];
            let numbers = [("weights", Some(row.weights)), ("decay", row.decay)];
            for (key, value) in numbers.into_iter().filter_map(|(key, value)| Some((key, value?))) {
                real(&at(key), value, 0.0..=f32::MAX, Expected::Positive)?;
            }
            real(&at("bias"), row.bias, f32::MIN..=f32::MAX, Expected::Finite)?;
        }
        Ok(())
    }

    fn check_training(&self) -> Result<(), NetError> {
        let train = &self.train;
        whole(&["train", "batch"], train.batch, 1..=MOST_IMAGES, Expected::Batch)?;
        whole(&["train", "epochs"], train.epochs, 1..=usize::MAX, Expected::Epochs)?;
        let numbers = [("rate", Some(train.rate)), ("bias_rate", train.bias_rate), ("decay", Some(train.decay))];
        for (key, value) in numbers.into_iter().filter_map(|(key, value)| Some((key, value?))) {
            real(&["train", key], value, 0.0..=f32::MAX, Expected::Positive)?;
        }
        for (key, value) in &train.optimizer.hyper {
            real(&["train", key], *value, 0.0..=1.0, Expected::Share)?;
        }
        let phases = train.schedule.phases().iter();
        let phases = phases.flat_map(|phase| phase.layers.iter()).map(|(row, factors)| ("schedule", row, factors));
        for (key, row, factors) in train.layers.iter().map(|(row, factors)| ("layers", row, factors)).chain(phases) {
            for factor in [factors.weights, factors.biases] {
                real(&["train", key, row], factor, 0.0..=f32::MAX, Expected::Positive)?;
            }
        }
        real(&["train", "augment", "colour"], train.augment.colour, 0.0..=10.0, Expected::Deviation)
    }
}

fn whole(key: &[&str], value: usize, range: RangeInclusive<usize>, expected: Expected) -> Result<(), NetError> {
    if range.contains(&value) { Ok(()) } else { Err(refused(key, value, expected)) }
}

fn real(key: &[impl AsRef<str>], value: f32, range: RangeInclusive<f32>, expected: Expected) -> Result<(), NetError> {
    if range.contains(&value) { Ok(()) } else { Err(refused(key, value, expected)) }
}

fn refused(key: &[impl AsRef<str>], found: impl Display, expected: Expected) -> NetError {
    let key = key.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(".");
    NetError::Number { key, found: found.to_string(), expected }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::LayerFactors;

    #[test]
    fn every_number_out_of_range_is_named() {
        type Change = fn(&mut Model);
        let wrong: [(Change, &str); 17] = [
            (|model| model.input.channels = 1, "input.channels = 1: images have 3 channels"),
            (|model| model.input.size = 0, "input.size = 0: a size lies between 1 and 16384 pixels"),
            (|model| model.input.stored = Some(8), "a crop of 28 does not fit into a stored image of 8"),
            (|model| model.input.scale[1] = f32::NAN, "input.scale = NaN: expected three finite numbers"),
            (|model| model.input.mean = Some([f32::INFINITY; 3]), "input.mean = inf"),
            (|model| model.layers[1].weights = -0.1, "layers.1.weights = -0.1"),
            (|model| model.layers[0].bias = f32::NAN, "layers.0.bias = NaN"),
            (|model| model.layers[0].decay = Some(f32::NAN), "layers.0.decay = NaN"),
            (|model| model.train.augment.colour = -1.0, "train.augment.colour = -1: a deviation of 0 to 10"),
            (|model| model.towers = 27, "towers = 27"),
            (|model| model.train.batch = 65_537, "train.batch = 65537: a minibatch has 1 to 65536 images"),
            (|model| model.train.epochs = 0, "train.epochs = 0"),
            (|model| model.train.rate = f32::NAN, "train.rate = NaN: expected a number of 0 or more"),
            (|model| model.train.bias_rate = Some(-1.0), "train.bias_rate = -1"),
            (
                |model| model.train.optimizer.set("momentum", 1.5).unwrap(),
                "train.momentum = 1.5: expected a number from",
            ),
            (|model| model.train.decay = -0.5, "train.decay = -0.5"),
            (
                |model| _ = model.train.layers.insert("conv1".into(), LayerFactors::both(-1.0)),
                "train.layers.conv1 = -1",
            ),
        ];
        for (change, wanted) in wrong {
            let mut model = Model::open("mini").unwrap();
            assert!(model.check().is_ok());
            change(&mut model);
            let message = model.check().unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        }
    }

    #[test]
    fn the_rate_of_biases_follows_that_of_weights() {
        let mut train = Model::open("mini").unwrap().train;
        (train.rate, train.bias_rate) = (0.5, Some(1.0));
        train.set_rate(0.25);
        assert_eq!(train.bias_rate, Some(0.5));
        train.rate = 0.0;
        train.set_rate(0.1);
        assert_eq!((train.rate, train.bias_rate), (0.1, None), "a ratio to 0 is no number");
    }

    /// Every number of a file is named by its key and line, whether tables are written out or in braces.
    #[test]
    fn a_number_in_a_file_is_named_with_its_line() {
        let text = r#"
about = "numbers out of range"
input = { channels = 3, size = 8 }
layers = [
  { name = "fc1", fc = 10 },
  { name = "fc2", fc = 10, decay = 0.1, then = ["softmax"] },
]

[train]
batch = 8
epochs = 1
rate = 0.01
momentum = 0.5
augment = { colour = 0.5 }
"#;
        assert!(Model::parse("my.toml", text).is_ok());
        for (from, to, wanted) in [
            ("size = 8", "size = 8, scale = [1, nan, 1]", "my.toml, line 3: input.scale = NaN"),
            ("decay = 0.1", "decay = -0.1", "my.toml, line 6: layers.1.decay = -0.1"),
            ("rate = 0.01", "rate = inf", "my.toml, line 12: train.rate = inf"),
            ("momentum = 0.5", "momentum = 1.5", "my.toml, line 13: train.momentum = 1.5"),
            ("colour = 0.5", "colour = 11", "my.toml, line 14: train.augment.colour = 11"),
        ] {
            assert!(text.contains(from));
            let message = Model::parse("my.toml", &text.replace(from, to)).unwrap_err().to_string();
            assert!(message.starts_with(wanted), "{message}");
        }
    }
}
