//! What the numbers of a model file must be, apart from those of its layers, which the builder of the graph checks.

use super::{Model, NetError};
use crate::ops::layer::MOST_PIXELS;

/// Most images in a minibatch: far more than SGD can use.
pub const MOST_IMAGES: usize = 1 << 16;

/// Most towers of a network: they are named by letters.
const MOST_TOWERS: usize = 26;

impl Model {
    /// Checks the numbers of the input, the towers and the training defaults.
    ///
    /// # Errors
    /// When one is out of its range; the message names it, its value and the range.
    pub fn check(&self) -> Result<(), NetError> {
        self.check_input().map_err(|reason| NetError::Layer { layer: "input".into(), reason })?;
        self.check_training().map_err(NetError::Training)
    }

    fn check_input(&self) -> Result<(), String> {
        let (input, stored, size) = (&self.input, self.input.stored(), self.input.size);
        if input.channels != 3 {
            return Err(format!("images have 3 channels, not {}", input.channels));
        }
        if !(1..=MOST_PIXELS).contains(&size) || stored > MOST_PIXELS {
            return Err(format!("its sizes must lie between 1 and {MOST_PIXELS} pixels"));
        }
        if input.scale.iter().chain(input.mean.iter().flatten()).any(|value| !value.is_finite()) {
            return Err("its scale and its mean are three numbers each".into());
        }
        if !(0.0..=10.0).contains(&self.train.augment.colour) {
            return Err("its colour noise in [train] has a deviation of 0 to 10".into());
        }
        if stored < size {
            return Err(format!("a crop of {size} does not fit into a stored image of {stored}"));
        }
        if !(1..=MOST_TOWERS).contains(&self.towers) {
            return Err(format!("towers = {}, but a network has 1 to {MOST_TOWERS}", self.towers));
        }
        Ok(())
    }

    fn check_training(&self) -> Result<(), String> {
        let train = &self.train;
        if !(1..=MOST_IMAGES).contains(&train.batch) {
            return Err(format!("batch {}: a minibatch has 1 to {MOST_IMAGES} images", train.batch));
        }
        let rates = [Some(train.rate), train.bias_rate].into_iter().flatten();
        let numbers = rates.map(|rate| ("lr", rate)).chain([("decay", train.decay)]);
        let hyper = train.optimizer.hyper.iter().map(|(name, value)| (*name, *value));
        for (name, value) in numbers.chain(hyper) {
            if !(value.is_finite() && value >= 0.0) {
                let what = if name == "lr" { "learning rate" } else { name };
                return Err(format!("--{name} {value}: a {what} is a number of 0 or more"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_out_of_range_is_named() {
        type Change = fn(&mut Model);
        let wrong: [(Change, &str); 11] = [
            (|model| model.input.channels = 1, "3 channels, not 1"),
            (|model| model.input.size = 0, "between 1 and 16384 pixels"),
            (|model| model.input.stored = Some(8), "a crop of 28 does not fit into a stored image of 8"),
            (|model| model.input.scale[1] = f32::NAN, "three numbers"),
            (|model| model.train.augment.colour = -1.0, "0 to 10"),
            (|model| model.towers = 27, "towers = 27"),
            (|model| model.train.batch = 65_537, "batch 65537: a minibatch has 1 to 65536 images"),
            (|model| model.train.rate = f32::NAN, "--lr NaN"),
            (|model| model.train.bias_rate = Some(-1.0), "--lr -1"),
            (|model| model.train.optimizer.set("momentum", f32::INFINITY).unwrap(), "--momentum inf"),
            (|model| model.train.decay = -0.5, "--decay -0.5"),
        ];
        for (change, wanted) in wrong {
            let mut model = Model::open("mini").unwrap();
            assert!(model.check().is_ok());
            change(&mut model);
            let message = model.check().unwrap_err().to_string();
            assert!(message.contains(wanted), "{message}");
        }
    }
}
