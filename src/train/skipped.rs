//! Images that a run left out because they cannot be decoded, and how many are too many.

use std::collections::HashSet;

use super::TrainError;

/// Largest share of broken images in percent, where none is given.
const SHARE: f64 = 1.0;

/// Number of broken images that no run stops for where no share is given: small data sets have no hundredths.
const FEW: usize = 5;

/// The images that a run left out.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    /// Why, each image once, in the order in which they were met.
    pub(super) reasons: Vec<String>,
    known: HashSet<String>,
    training: usize,
    validation: usize,
    /// Largest share in percent of a split's images.
    limit: Option<f64>,
}

/// The images that a loader reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Images {
    /// So many training images.
    Training(usize),
    /// So many validation images.
    Validation(usize),
}

impl Skipped {
    /// No images yet; more than `limit` percent are too many.
    pub(super) fn new(limit: Option<f64>) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Logs and counts images that are met for the first time.
    ///
    /// # Errors
    /// When more images of the split are broken than may be.
    pub(super) fn add(&mut self, reasons: &[String], of: Images) -> Result<(), TrainError> {
        let (count, split, images) = match of {
            Images::Training(images) => (&mut self.training, "training", images),
            Images::Validation(images) => (&mut self.validation, "validation", images),
        };
        let before = *count;
        for reason in reasons.iter().filter(|reason| !self.known.contains(*reason)) {
            log::warn!("image skipped: {reason}");
            *count += 1;
            self.reasons.push(reason.clone());
        }
        self.known.extend(reasons.iter().cloned());
        let share = self.limit.unwrap_or(SHARE);
        let most = (share / 100.0 * images as f64) as usize;
        let most = if self.limit.is_some() { most } else { most.max(FEW) };
        if *count > before && *count > most {
            let last = self.reasons.last().cloned().unwrap_or_default();
            return Err(TrainError::Broken { count: *count, images, split, share, last });
        }
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
        let mut skipped = Skipped::new(None);
        for _ in 0..3 {
            skipped.add(&reasons(0..10), Images::Training(1000)).unwrap();
        }
        skipped.add(&reasons(10..15), Images::Validation(50)).unwrap();
        let message = skipped.add(&reasons(15..16), Images::Training(1000)).unwrap_err().to_string();
        for part in ["11 of 1000 training images", "more than 1 %", "15.jpg: is empty", "--max-broken"] {
            assert!(message.contains(part), "{message}");
        }
        assert_eq!(skipped.reasons, reasons(0..16));
        assert!(skipped.add(&reasons(16..17), Images::Validation(50)).is_err());
    }

    #[test]
    fn a_share_that_is_given_holds_for_small_sets_too() {
        assert!(Skipped::new(Some(0.0)).add(&reasons(0..1), Images::Training(20)).is_err());
        let mut skipped = Skipped::new(Some(50.0));
        assert!(skipped.add(&reasons(0..10), Images::Training(20)).is_ok());
        assert!(skipped.add(&reasons(10..11), Images::Training(20)).is_err());
    }
}
