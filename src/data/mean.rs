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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::data::testing::{folder, png};

    #[test]
    fn broken_images_are_counted_and_left_out() {
        let root = folder([
            ("train/a/1.png", png(4, 4, [10, 0, 255])),
            ("train/a/2.png", b"text".to_vec()),
            ("train/b/3.png", png(9, 5, [21, 0, 255])),
            ("val/a/1.png", b"text".to_vec()),
        ]);
        let data = Dataset::open(Some(root.path()), 4).unwrap();
        let mean = mean_image(&data.train).unwrap();
        assert_eq!(mean, Mean { pixels: [15.5, 0.0, 255.0].repeat(16), skipped: 1 });
        let error = mean_image(&data.validation).unwrap_err().to_string();
        assert!(error.contains("none of the 1 images") && error.contains("1.png: is not a JPEG"), "{error}");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let data = Dataset::open(None, 32).unwrap();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| mean_image(&data.train)).unwrap()
        };
        let one = with(1);
        assert_eq!(one, with(5));
        let overall = one.pixels.iter().sum::<f32>() / one.pixels.len() as f32;
        assert!((overall - 120.7).abs() < 3.0, "CIFAR-10's overall mean is 120.7, here {overall}");
    }
}
