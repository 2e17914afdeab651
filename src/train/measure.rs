//! Statistics of the training images of a run, measured once: for a run that is stopped before its first checkpoint
//! they are kept beside it, for another run on the same files in the cache.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use super::folder::RunFolder;
use super::{Config, Observer, Phase, TrainError};
use crate::data::{Colours, Dataset, Measured, Provenance, Statistics};
use crate::files::cache_folder;

/// Time between two calls of an observer.
const INTERVAL: Duration = Duration::from_millis(50);

/// Statistics of the training images for a network, unless `stop` ends their measuring; the means are those of the
/// model file where it has them.
pub(super) fn statistics(
    config: &Config,
    dataset: &Dataset,
    folder: &RunFolder,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Option<Statistics>, TrainError> {
    let (input, augment) = (&config.network.input, config.network.train.augment);
    let fixed = input.mean.map(|mean| mean.repeat(input.stored().pow(2)));
    match fixed {
        Some(mean) if augment.colour == 0.0 => Ok(Some(Statistics { mean, colours: Colours::default() })),
        Some(mean) => Ok(measured(config, dataset, folder, stop, observer)?.map(|found| Statistics { mean, ..found })),
        None => measured(config, dataset, folder, stop, observer),
    }
}

/// Statistics that are known, else measured and kept.
fn measured(
    config: &Config,
    dataset: &Dataset,
    folder: &RunFolder,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Option<Statistics>, TrainError> {
    if let Some(known) = dataset.known_statistics() {
        return Ok(Some(known.clone()));
    }
    let key = dataset.train.fingerprint();
    let in_cache = |key: u64| Some(cache_folder()?.join("statistics").join(format!("{key:016x}.safetensors")));
    let known = |path: PathBuf| Measured::read(&path).ok().filter(|measured| measured.about.key == key);
    if let Some(found) = key.and_then(|key| folder.statistics(key).or_else(|| in_cache(key).and_then(known))) {
        return Ok(Some(found.statistics));
    }
    let Some(statistics) = watched(dataset, stop, observer)? else { return Ok(None) };
    let Some(key) = key else { return Ok(Some(statistics)) };
    let about = Provenance {
        program: concat!("alexnet ", env!("CARGO_PKG_VERSION")).into(),
        source: config.data.clone().unwrap_or_default(),
        size: dataset.train.size(),
        seed: config.seed,
        training: dataset.train.len(),
        validation: dataset.validation.len(),
        skipped: 0,
        skipped_first: Vec::new(),
        key: Some(key),
    };
    let measured = Measured { statistics, about };
    folder.keep_statistics(&measured)?;
    if let Some(path) = in_cache(key) {
        let _ = path.parent().map(fs::create_dir_all);
        // Another run will measure again; this one goes on.
        let _ = measured.save(&path).inspect_err(|error| log::warn!("the mean image is not kept: {error}"));
    }
    Ok(Some(measured.statistics))
}

/// Measures all training images on other threads, while this one tells `observer`.
fn watched(
    dataset: &Dataset,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Option<Statistics>, TrainError> {
    let done = AtomicUsize::new(0);
    observer.phase(Phase::MeanImage, dataset.train.len());
    let (ended, end) = sync_channel::<()>(0);
    thread::scope(|scope| {
        let work = scope.spawn(|| {
            let _ended = ended; // closed with the work
            dataset.measure(&done, stop)
        });
        let mut seen = 0;
        while end.recv_timeout(INTERVAL) == Err(RecvTimeoutError::Timeout) {
            let now = done.load(Ordering::Relaxed);
            observer.seen(now - seen);
            seen = now;
        }
        // Its panic is ours.
        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(TrainError::from)
    })
}
