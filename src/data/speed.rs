//! Throughput of the loader compared with that of the decoder alone.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::{DataError, Loader, LoaderOptions, Split, Views};

/// Number of images in a batch, as in the paper.
const BATCH: usize = 128;

/// Number of measurements of each, in turn.
const REPEATS: usize = 5;

/// Throughput of loader and decoder: medians of several measurements.
#[derive(Clone, Debug, Serialize)]
pub struct LoaderSpeed {
    /// Number of images in a measurement.
    pub images: usize,
    /// Side of an image in pixels.
    pub size: usize,
    /// Number of decoding threads.
    pub threads: usize,
    /// Images per second and thread of the decoder alone.
    pub decoder: f64,
    /// Images per second and thread of the loader.
    pub loader: f64,
    /// Throughput of the loader relative to the decoder's.
    pub share: f64,
    /// Seconds that a consumer without other work waits for a batch.
    pub wait: f64,
    /// Number of images that cannot be decoded.
    pub skipped: usize,
}

impl LoaderSpeed {
    /// Seconds in which all threads load the images of a step.
    pub fn step(&self) -> f64 {
        BATCH as f64 / (self.loader * self.threads as f64)
    }

    /// Number of threads like these that load so many images a second.
    pub fn threads_for(&self, images_per_second: f64) -> usize {
        (images_per_second / self.loader).ceil() as usize
    }
}

/// Measures the first `images` images of an epoch of `split` on `threads` threads.
pub fn loader_speed(split: &Arc<Split>, threads: usize, images: usize) -> Result<LoaderSpeed, DataError> {
    let threads = threads.max(1);
    let mut order = split.training_order(0, 0);
    order.truncate(images.max(1));
    let (mut decoder, mut loader, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    // Brings the files into memory; not measured.
    decode_all(split, &order, threads);
    let mut skipped = 0;
    for _ in 0..REPEATS {
        decoder.push(order.len() as f64 / decode_all(split, &order, threads) / threads as f64);
        let options = LoaderOptions {
            order: order.clone(),
            start: 0,
            capacity: BATCH,
            views: Views::Centre { border2: 0 },
            threads,
        };
        let begin = Instant::now();
        let batches = Loader::new(split, options)?;
        let (mut asked, mut count) = (Instant::now(), 0);
        skipped = 0;
        for batch in batches {
            let batch = batch?;
            waits.push(asked.elapsed().as_secs_f64());
            count += batch.count;
            skipped += batch.skipped.len();
            if batch.count == 0 {
                let first = batch.skipped.first().cloned().unwrap_or_default();
                return Err(DataError::NoImage { count: skipped, first });
            }
            asked = Instant::now();
        }
        loader.push(count as f64 / begin.elapsed().as_secs_f64() / threads as f64);
    }
    let (decoder, loader) = (median(decoder), median(loader));
    let (images, size, wait) = (order.len(), split.size(), median(waits));
    Ok(LoaderSpeed { images, size, threads, decoder, loader, share: loader / decoder, wait, skipped })
}

/// Measures the seconds in which `threads` threads decode the images of `order`, each an equal share.
fn decode_all(split: &Split, order: &[u32], threads: usize) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                for &i in order.iter().skip(first).step_by(threads) {
                    // An image that cannot be decoded takes time as well.
                    let _ = std::hint::black_box(split.decode(i as usize));
                }
            });
        }
    });
    begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
