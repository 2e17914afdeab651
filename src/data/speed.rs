//! How fast images come out of the loader, beside what the decoder alone could do.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::{DataError, Loader, LoaderOptions, Split, Views};

/// Images of a batch, as the original's.
const BATCH: usize = 128;

/// Times that both are measured, in turn.
const REPEATS: usize = 5;

/// The loader beside the decoder; medians over several turns.
#[derive(Clone, Debug, Serialize)]
pub struct LoaderSpeed {
    /// Images of a turn.
    pub images: usize,
    /// Side of an image in pixels.
    pub size: usize,
    /// Decoding threads.
    pub threads: usize,
    /// Images a second and thread that the decoder gives where nobody collects them.
    pub decoder: f64,
    /// Images a second and thread that arrive in batches.
    pub loader: f64,
    /// The second over the first.
    pub share: f64,
    /// Seconds that a consumer with nothing else to do waits for a batch.
    pub wait: f64,
    /// Images that cannot be decoded.
    pub skipped: usize,
}

/// Measures the first `images` images of an epoch of `split` on `threads` threads.
pub fn loader_speed(split: &Arc<Split>, threads: usize, images: usize) -> Result<LoaderSpeed, DataError> {
    let threads = threads.max(1);
    let mut order = split.training_order(0, 0);
    order.truncate(images.max(1));
    let (mut decoder, mut loader, mut waits) = (Vec::new(), Vec::new(), Vec::new());
    // The first turn brings the files into memory, and does not count.
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

/// Seconds in which `threads` threads decode the images of `order`, each as many.
fn decode_all(split: &Split, order: &[u32], threads: usize) -> f64 {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for first in 0..threads {
            scope.spawn(move || {
                for &i in order.iter().skip(first).step_by(threads) {
                    // What cannot be decoded takes its time as well.
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
