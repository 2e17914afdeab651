//! Mean image and principal components of colour of the training images: computed, written and read.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::eigen::eigen;
use super::{DataError, DataFault, ImageError, Split};
use crate::files::{Elements, METADATA, TensorError, TensorFile, read_at_most, serialize, write_file};

/// Name of the file of statistics in a folder of shards.
pub(super) const FILE: &str = "statistics.safetensors";

/// The most bytes a file of statistics may have: those of images of 4096 x 4096 pixels.
const MAX_FILE: u64 = 256 << 20;

/// Mean image and colours of a training set (sections 2 and 4.1 of the paper), in units of 0 to 255.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// `size` x `size` x 3 means, rows outermost, red first.
    pub mean: Vec<f32>,
    /// Principal components of colour.
    pub colours: Colours,
}

/// Principal components of red, green and blue over all pixels of a training set.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Colours {
    /// Eigenvectors of the covariance: unit rows, the strongest first.
    pub eigenvectors: [[f32; 3]; 3],
    /// Standard deviations along the eigenvectors: square roots of the eigenvalues, in units of 0 to 255.
    pub deviations: [f32; 3],
}

/// Statistics that `prepare` left beside its shards, with their provenance.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Statistics of the training images.
    pub statistics: Statistics,
    /// Origin of the statistics.
    pub about: Provenance,
}

/// The images behind [`Measured`] statistics, and the program that measured them.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Provenance {
    /// Name and version of the program that computed them.
    pub program: String,
    /// Path of the images, as the user gave it.
    pub source: String,
    /// Side of an image in pixels.
    pub size: usize,
    /// Seed of the order of the images.
    pub seed: u64,
    /// Number of training images.
    pub training: usize,
    /// Number of validation images.
    pub validation: usize,
    /// Number of images that were left out.
    pub skipped: usize,
    /// Reasons for the first 100 of those.
    pub skipped_first: Vec<String>,
    /// [`Split::fingerprint`] of the training images, of statistics that are no part of a prepared data set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<u64>,
}

impl Colours {
    /// Components from nine and three numbers; `None` for more or fewer.
    pub fn new(eigenvectors: &[f32], deviations: &[f32]) -> Option<Self> {
        let (rows, []) = eigenvectors.as_chunks() else { return None };
        Some(Self { eigenvectors: rows.try_into().ok()?, deviations: deviations.try_into().ok()? })
    }
}

impl Measured {
    /// Writes a safetensors file: `mean`, `eigenvectors`, `deviations`, and [`Provenance`] as metadata.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let bytes = self.serialize().map_err(|error| DataError::content(path, DataFault::from(error)))?;
        Ok(write_file(path, &bytes)?)
    }

    fn serialize(&self) -> Result<Vec<u8>, StatisticsError> {
        let (size, Statistics { mean, colours }) = (self.about.size, &self.statistics);
        let tensors = [
            ("mean", &[size, size, 3][..], Elements::F32(mean)),
            ("eigenvectors", &[3, 3][..], Elements::F32(colours.eigenvectors.as_flattened())),
            ("deviations", &[3][..], Elements::F32(&colours.deviations)),
        ];
        Ok(serialize(tensors, Some((METADATA, serde_json::to_string(&self.about)?)))?)
    }

    /// Reads a file that [`Measured::save`] made.
    pub fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = read_at_most(path, MAX_FILE).map_err(DataError::read(path))?;
        Self::parse(&bytes).map_err(|error| DataError::content(path, DataFault::from(error)))
    }

    fn parse(bytes: &[u8]) -> Result<Self, StatisticsError> {
        let file = TensorFile::parse(bytes)?;
        let about: Provenance = serde_json::from_str(file.metadata(METADATA).ok_or(StatisticsError::Foreign)?)?;
        let values = |name: &'static str, shape: &[usize]| {
            let tensor = file.float32(name)?;
            if tensor.shape() != shape {
                let (found, wanted) = (tensor.shape().to_vec(), shape.to_vec());
                return Err(StatisticsError::Shape { name, found, wanted });
            }
            let finite = tensor.values().iter().all(|value| value.is_finite());
            if finite { Ok(tensor.into_values()) } else { Err(StatisticsError::NotFinite(name)) }
        };
        let mean = values("mean", &[about.size, about.size, 3])?;
        let (eigenvectors, deviations) = (values("eigenvectors", &[3, 3])?, values("deviations", &[3])?);
        let colours = Colours::new(&eigenvectors, &deviations).unwrap_or_default(); // the shapes are right
        Ok(Self { statistics: Statistics { mean, colours }, about })
    }
}

/// Error about the content of a file of statistics.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StatisticsError {
    #[error(transparent)]
    Tensors(#[from] TensorError),
    #[error("holds no statistics of this program (no alexnet metadata)")]
    Foreign,
    #[error("has damaged metadata ({0})")]
    About(#[from] serde_json::Error),
    #[error("has a tensor {name} of shape {found:?}, not {wanted:?}")]
    Shape { name: &'static str, found: Vec<usize>, wanted: Vec<usize> },
    #[error("has a tensor {0} that is not finite")]
    NotFinite(&'static str),
}

/// Computes the statistics of all images of a split on all threads; an image that cannot be decoded is left out, one
/// that cannot be read is an error. Counts the images in `done`; without a result if `stop` was raised.
///
/// The sums are integers, so the bits do not depend on the number of threads.
pub(super) fn measure(split: &Split, done: &AtomicUsize, stop: &AtomicBool) -> Result<Option<Statistics>, DataError> {
    let nothing = || Sums::new(split.size());
    let add = |mut sums: Sums, i| {
        match split.decode_patiently(i, stop) {
            Ok(rgb) => sums.add(&rgb),
            Err(ImageError::Read(..)) if stop.load(Ordering::Relaxed) => return Err(None),
            Err(error @ ImageError::Read(..)) => return Err(Some(DataError::from(error))),
            Err(_) => {}
        }
        done.fetch_add(1, Ordering::Relaxed);
        if stop.load(Ordering::Relaxed) { Err(None) } else { Ok(sums) }
    };
    let parts = (0..split.len()).into_par_iter().try_fold(nothing, add);
    let sums = match parts.try_reduce(nothing, |a, b| Ok(a.merge(b))) {
        Ok(sums) => sums,
        Err(None) => return Ok(None),
        Err(Some(error)) => return Err(error),
    };
    if sums.count > 0 {
        return Ok(Some(sums.statistics()));
    }
    // No image can be decoded, so that the first cannot either.
    let first = split.decode(0).err().map_or_else(String::new, |error| error.to_string());
    Err(DataError::NoImage { count: split.len(), first })
}

/// Pairs of channels whose products are summed: the upper triangle.
const PAIRS: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];

/// Bytes of a file of sums before the pixels.
const HEAD: usize = 8 * (1 + PAIRS.len());

/// Sums over the images of one size, in integers: the same in whatever order images are added.
pub(super) struct Sums {
    /// Images that were added up.
    count: u64,
    /// `size` x `size` x 3 sums over the images, laid out like their pixels.
    pixels: Vec<u64>,
    /// Products of the channels of [`PAIRS`], summed over images and pixels.
    products: [u64; PAIRS.len()],
}

impl Sums {
    /// Sums of no images yet, of `size` x `size` pixels.
    pub(super) fn new(size: usize) -> Self {
        Self { count: 0, pixels: vec![0; size * size * 3], products: [0; PAIRS.len()] }
    }

    /// Adds an image of `size` x `size` x 3 bytes.
    pub(super) fn add(&mut self, rgb: &[u8]) {
        /// Pixels whose products fit u32.
        const RUN: usize = 4096;
        self.count += 1;
        for (sum, &value) in self.pixels.iter_mut().zip(rgb) {
            *sum += u64::from(value);
        }
        for run in rgb.chunks(3 * RUN) {
            let mut products = [0_u32; PAIRS.len()];
            for pixel in run.chunks_exact(3) {
                for (sum, (a, b)) in products.iter_mut().zip(PAIRS) {
                    *sum += u32::from(pixel[a]) * u32::from(pixel[b]);
                }
            }
            for (sum, product) in self.products.iter_mut().zip(products) {
                *sum += u64::from(product);
            }
        }
    }

    /// The file of a shard's sums, little-endian: the count, the products, the pixels in 32 bits, which have room for
    /// 16 million images.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let head = std::iter::once(self.count).chain(self.products).flat_map(u64::to_le_bytes);
        head.chain(self.pixels.iter().flat_map(|&sum| (sum as u32).to_le_bytes())).collect()
    }

    /// Adds the sums in the file of a shard.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), DataError> {
        let bytes = read_at_most(path, MAX_FILE).map_err(DataError::read(path))?;
        if bytes.len() != HEAD + 4 * self.pixels.len() {
            return Err(DataError::content(path, DataFault::Sums(bytes.len())));
        }
        let (head, pixels) = bytes.split_at(HEAD);
        let (head, _) = head.as_chunks();
        self.count += u64::from_le_bytes(head[0]);
        for (sum, &bytes) in self.products.iter_mut().zip(&head[1..]) {
            *sum += u64::from_le_bytes(bytes);
        }
        for (sum, &bytes) in self.pixels.iter_mut().zip(pixels.as_chunks().0) {
            *sum += u64::from(u32::from_le_bytes(bytes));
        }
        Ok(())
    }

    /// The sums of the images of both.
    pub(super) fn merge(mut self, other: Self) -> Self {
        self.count += other.count;
        self.products.iter_mut().zip(other.products).for_each(|(sum, more)| *sum += more);
        self.pixels.iter_mut().zip(other.pixels).for_each(|(sum, more)| *sum += more);
        self
    }

    /// Mean image and principal components of colour of at least one image.
    pub(super) fn statistics(&self) -> Statistics {
        let mean = |&sum: &u64| (sum as f64 / self.count as f64) as f32;
        let pixels = i128::from(self.count) * (self.pixels.len() / 3) as i128;
        let channel = |c: usize| self.pixels.iter().skip(c).step_by(3).map(|&sum| i128::from(sum)).sum::<i128>();
        let channels = [0, 1, 2].map(channel);
        let mut covariance = [[0.0; 3]; 3];
        for (&product, (a, b)) in self.products.iter().zip(PAIRS) {
            // Exact up to the division: the two terms are large and nearly equal.
            let numerator = pixels * i128::from(product) - channels[a] * channels[b];
            covariance[a][b] = numerator as f64 / (pixels * pixels) as f64;
            covariance[b][a] = covariance[a][b];
        }
        let (variances, vectors) = eigen(covariance);
        let colours = Colours {
            eigenvectors: vectors.map(|vector| vector.map(|x| x as f32)),
            // Rounding may leave a variance of nothing a little below it.
            deviations: variances.map(|variance| variance.max(0.0).sqrt() as f32),
        };
        Statistics { mean: self.pixels.iter().map(mean).collect(), colours }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Dataset;
    use crate::data::testing::{folder, png};

    fn whole(split: &Split) -> Result<Statistics, DataError> {
        let done = AtomicUsize::new(0);
        let measured = measure(split, &done, &AtomicBool::new(false))?;
        assert_eq!(done.into_inner(), split.len());
        Ok(measured.unwrap())
    }

    #[test]
    fn broken_images_are_left_out() {
        let root = folder([
            ("train/a/1.png", png(4, 4, [10, 0, 255])),
            ("train/a/2.png", b"text".to_vec()),
            ("train/b/3.png", png(9, 5, [21, 0, 255])),
            ("val/a/1.png", b"text".to_vec()),
        ]);
        let data = Dataset::open(Some(root.path()), 4).unwrap();
        let statistics = whole(&data.train).unwrap();
        assert_eq!(statistics.mean, [15.5, 0.0, 255.0].repeat(16));
        // Red alone varies, by 5.5 both ways.
        assert_eq!(statistics.colours.deviations, [5.5, 0.0, 0.0]);
        assert_eq!(statistics.colours.eigenvectors[0], [1.0, 0.0, 0.0]);
        assert_eq!(measure(&data.train, &AtomicUsize::new(0), &AtomicBool::new(true)).unwrap(), None, "stopped");
        let error = whole(&data.validation).unwrap_err().to_string();
        assert!(error.contains("none of the 1 images") && error.contains("1.png: is not a JPEG"), "{error}");
    }

    #[test]
    fn the_bits_do_not_depend_on_the_number_of_threads() {
        let data = Dataset::open(None, 32).unwrap();
        let with = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| whole(&data.train)).unwrap()
        };
        let one = with(1);
        assert_eq!(one, with(5));
        let overall = one.mean.iter().sum::<f32>() / one.mean.len() as f32;
        assert!((overall - 120.7).abs() < 3.0, "CIFAR-10's overall mean is 120.7, here {overall}");
    }
}
