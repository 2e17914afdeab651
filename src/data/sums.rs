//! Sums over the pixels of training images, in integers: they are the same in whatever order images are added.

use std::fs;
use std::ops::AddAssign;
use std::path::Path;

use super::DataError;
use super::eigen::eigen;
use super::statistics::{Colours, Statistics};

/// The pairs of channels whose products are summed: the upper triangle.
const PAIRS: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];

/// Bytes of a file of sums before the pixels.
const HEAD: usize = 8 * (1 + PAIRS.len());

/// Sums over images of one size.
pub(super) struct Sums<T> {
    /// Images.
    pub(super) count: u64,
    /// Over images: `size` x `size` x 3 sums, as the pixels.
    pixels: Vec<T>,
    /// Over images and pixels: products of the channels of [`PAIRS`].
    products: [u64; PAIRS.len()],
}

/// The sums of a shard: u32 has room for 16 million images.
pub(super) type ShardSums = Sums<u32>;

/// The sums of all shards.
pub(super) type TotalSums = Sums<u64>;

impl<T: Clone + Default> Sums<T> {
    /// No images yet, of `size` x `size` pixels.
    pub(super) fn new(size: usize) -> Self {
        Self { count: 0, pixels: vec![T::default(); size * size * 3], products: [0; PAIRS.len()] }
    }

    /// Adds an image.
    pub(super) fn add(&mut self, rgb: &[u8])
    where
        T: AddAssign + From<u8>,
    {
        /// Pixels whose products fit u32.
        const RUN: usize = 4096;
        self.count += 1;
        for (sum, &value) in self.pixels.iter_mut().zip(rgb) {
            *sum += T::from(value);
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
}

impl ShardSums {
    /// Little-endian: the count, the products, the pixels.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let head = std::iter::once(self.count).chain(self.products).flat_map(u64::to_le_bytes);
        head.chain(self.pixels.iter().flat_map(|sum| sum.to_le_bytes())).collect()
    }
}

impl TotalSums {
    /// Adds the sums in a file.
    pub(super) fn add_file(&mut self, path: &Path) -> Result<(), DataError> {
        let bytes = fs::read(path).map_err(DataError::read(path))?;
        if bytes.len() != HEAD + 4 * self.pixels.len() {
            let problem = format!("has {} bytes; delete it, and its shard is made again", bytes.len());
            return Err(DataError::content(path, problem));
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

    /// Mean image and principal components of colour; there has to be an image.
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
