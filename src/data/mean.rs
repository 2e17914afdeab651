//! The mean image of a training set, which every input has subtracted (section 2 of the paper).

use rayon::prelude::*;

use super::{DataError, ImageError, Split};

/// The mean image, and how many images did not go into it.
#[derive(Clone, Debug, PartialEq)]
pub struct Mean {
    /// `size` x `size` x 3 means of 0 to 255, rows outermost, red first.
    pub pixels: Vec<f32>,
    /// Images that could not be decoded.
    pub skipped: usize,
}

/// Sums over some of the images.
#[derive(Default)]
struct Sums {
    /// Empty until the first image.
    pixels: Vec<u64>,
    count: u64,
    skipped: usize,
    first_failure: Option<(usize, ImageError)>,
}

/// The mean of every pixel and channel over a split, on all threads.
///
/// The sums are integers, so the bits do not depend on the number of threads. An image that cannot be decoded is left
/// out and counted.
///
/// # Errors
/// [`DataError::NoImage`] if no image at all can be decoded.
pub fn mean_image(split: &Split) -> Result<Mean, DataError> {
    let sums = (0..split.len())
        .into_par_iter()
        .fold(Sums::default, |sums, i| sums.add(i, split.decode(i)))
        .reduce(Sums::default, Sums::merge);
    if sums.count == 0 {
        let first = sums.first_failure.map_or_else(|| "there are no images".into(), |(_, error)| error.to_string());
        return Err(DataError::NoImage { count: split.len(), first });
    }
    let mean = |sum: u64| (sum as f64 / sums.count as f64) as f32;
    Ok(Mean { pixels: sums.pixels.iter().map(|&sum| mean(sum)).collect(), skipped: sums.skipped })
}

impl Sums {
    fn add(mut self, index: usize, image: Result<Vec<u8>, ImageError>) -> Self {
        match image {
            Ok(bytes) => {
                self.pixels.resize(bytes.len(), 0);
                self.pixels.iter_mut().zip(bytes).for_each(|(sum, byte)| *sum += u64::from(byte));
                self.count += 1;
            }
            Err(error) => {
                self.skipped += 1;
                self.first_failure.get_or_insert((index, error));
            }
        }
        self
    }

    fn merge(mut self, other: Self) -> Self {
        if self.pixels.is_empty() {
            self.pixels = other.pixels;
        } else {
            self.pixels.iter_mut().zip(other.pixels).for_each(|(sum, more)| *sum += more);
        }
        self.count += other.count;
        self.skipped += other.skipped;
        self.first_failure = self.first_failure.into_iter().chain(other.first_failure).min_by_key(|&(index, _)| index);
        self
    }
}
