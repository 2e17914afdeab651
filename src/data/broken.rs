//! Broken images of a split: how many there may be before the data set is taken for a damaged one.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::DataError;

/// Largest share of broken images in percent, where none is given.
const SHARE: f64 = 1.0;

/// Number of broken images that nothing stops for where no share is given: small data sets have no hundredths.
const FEW: usize = 5;

/// The broken images of a split, counted by any number of threads.
#[derive(Debug)]
pub struct Broken {
    split: &'static str,
    /// Images of the split.
    images: usize,
    /// Largest share of them in percent that may be broken.
    limit: Option<f64>,
    count: AtomicUsize,
}

impl Broken {
    /// None yet of so many images of a split, which messages call `split`.
    pub fn new(split: &'static str, images: usize, limit: Option<f64>) -> Self {
        Self { split, images, limit, count: AtomicUsize::new(0) }
    }

    /// Counts `more` broken images; `last` is what is wrong with the last of them.
    ///
    /// # Errors
    /// When there are more than may be.
    pub fn add(&self, more: usize, last: impl FnOnce() -> String) -> Result<(), DataError> {
        let count = self.count.fetch_add(more, Ordering::Relaxed) + more;
        let share = self.limit.unwrap_or(SHARE);
        let most = (share / 100.0 * self.images as f64) as usize;
        let most = if self.limit.is_some() { most } else { most.max(FEW) };
        if more > 0 && count > most {
            return Err(DataError::Broken { count, images: self.images, split: self.split, share, last: last() });
        }
        Ok(())
    }
}
