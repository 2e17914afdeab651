//! Images that a run left out because they cannot be decoded.

use std::collections::HashSet;

use super::TrainError;
use crate::data::Broken;

/// The images that a run left out.
#[derive(Debug)]
pub(super) struct Skipped {
    /// Why, each image once, in the order in which they were met.
    pub(super) reasons: Vec<String>,
    known: HashSet<String>,
    training: Broken,
    validation: Broken,
}

/// The images that a loader reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Images {
    Training,
    Validation,
}

impl Skipped {
    /// No images yet of so many for training and for validation; more than `limit` percent of either are too many.
    pub(super) fn new([training, validation]: [usize; 2], limit: Option<f64>) -> Self {
        Self {
            reasons: Vec::new(),
            known: HashSet::new(),
            training: Broken::new("training", training, limit),
            validation: Broken::new("validation", validation, limit),
        }
    }

    /// Logs and counts images that are met for the first time.
    ///
    /// # Errors
    /// When more images of the split are broken than may be.
    pub(super) fn add(&mut self, reasons: &[String], of: Images) -> Result<(), TrainError> {
        let split = match of {
            Images::Training => &self.training,
            Images::Validation => &self.validation,
        };
        let before = self.reasons.len();
        for reason in reasons.iter().filter(|reason| !self.known.contains(*reason)) {
            log::warn!("image skipped: {reason}");
            self.reasons.push(reason.clone());
        }
        self.known.extend(reasons.iter().cloned());
        split.add(self.reasons.len() - before, || self.reasons.last().cloned().unwrap_or_default())?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reasons(numbers: std::ops::Range<usize>) -> Vec<String> {
        numbers.map(|number| format!("{number}.jpg: is empty")).collect()
    }

    #[test]
    fn an_image_counts_once_and_a_hundredth_is_the_most() {
        let mut skipped = Skipped::new([1000, 50], None);
        for _ in 0..3 {
            skipped.add(&reasons(0..10), Images::Training).unwrap();
        }
        skipped.add(&reasons(10..15), Images::Validation).unwrap();
        let message = skipped.add(&reasons(15..16), Images::Training).unwrap_err().to_string();
        for part in ["11 of 1000 training images", "more than 1 %", "15.jpg: is empty", "--max-broken"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(skipped.reasons, reasons(0..16));
        assert!(skipped.add(&reasons(16..17), Images::Validation).is_err());
    }

    #[test]
    fn a_share_that_is_given_holds_for_small_sets_too() {
        assert!(Skipped::new([20, 20], Some(0.0)).add(&reasons(0..1), Images::Training).is_err());
        let mut skipped = Skipped::new([20, 20], Some(50.0));
        assert!(skipped.add(&reasons(0..10), Images::Training).is_ok());
        assert!(skipped.add(&reasons(10..11), Images::Training).is_err());
    }
}
