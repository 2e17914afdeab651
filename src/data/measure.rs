//! Mean image and colours of a training set, for which every image is decoded once (sections 2 and 4.1 of the paper).

use rayon::prelude::*;

use super::sums::TotalSums;
use super::{DataError, ImageError, Split, Statistics};

/// What some of the images add up to.
struct PartialSums {
    sums: TotalSums,
    first_failure: Option<(usize, ImageError)>,
}

/// The statistics of all images of a split, on all threads.
///
/// The sums are integers, so the bits do not depend on the number of threads. An image that cannot be decoded is left
/// out.
pub(super) fn measure(split: &Split) -> Result<Statistics, DataError> {
    let nothing = || PartialSums { sums: TotalSums::new(split.size()), first_failure: None };
    let all = (0..split.len())
        .into_par_iter()
        .fold(nothing, |part, i| part.add(i, split.decode(i)))
        .reduce(nothing, PartialSums::merge);
    if all.sums.count == 0 {
        let first = all.first_failure.map_or_else(|| "there are no images".into(), |(_, error)| error.to_string());
        return Err(DataError::NoImage { count: split.len(), first });
    }
    Ok(all.sums.statistics())
}

impl PartialSums {
    fn add(mut self, index: usize, image: Result<Vec<u8>, ImageError>) -> Self {
        match image {
            Ok(bytes) => self.sums.add(&bytes),
            Err(error) => {
                self.first_failure.get_or_insert((index, error));
            }
        }
        self
    }

    fn merge(self, other: Self) -> Self {
        let failures = self.first_failure.into_iter().chain(other.first_failure);
        Self { sums: self.sums.merge(other.sums), first_failure: failures.min_by_key(|&(index, _)| index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::data::testing::{folder, png};

    #[test]
    fn broken_images_are_left_out() {
        let root = folder([
            ("train/a/1.png", png(4, 4, [10, 0, 255])),
            ("train/a/2.png", b"text".to_vec()),
            ("train/b/3.png", png(9, 5, [21, 0, 255])),
            ("val/a/1.png", b"text".to_vec()),
        ]);
        let data = Dataset::open(Some(root.path()), 4).unwrap();
        let statistics = measure(&data.train).unwrap();
        assert_eq!(statistics.mean, [15.5, 0.0, 255.0].repeat(16));
        // Red alone varies, by 5.5 both ways.
        assert_eq!(statistics.colours.deviations, [5.5, 0.0, 0.0]);
        assert_eq!(statistics.colours.eigenvectors[0], [1.0, 0.0, 0.0]);
        let error = measure(&data.validation).unwrap_err().to_string();
        assert!(error.contains("none of the 1 images") && error.contains("1.png: is not a JPEG"), "{error}");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let data = Dataset::open(None, 32).unwrap();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| measure(&data.train)).unwrap()
        };
        let one = with(1);
        assert_eq!(one, with(5));
        let overall = one.mean.iter().sum::<f32>() / one.mean.len() as f32;
        assert!((overall - 120.7).abs() < 3.0, "CIFAR-10's overall mean is 120.7, here {overall}");
    }
}
