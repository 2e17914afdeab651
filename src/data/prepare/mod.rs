//! Preparation of a data set: images are scaled, cropped, shuffled, packed into shards and measured once.
//!
//! The images of the source are indexed without reading them, ordered, and cut into shards, which are written in
//! parallel, each whole or not at all. The content of a shard and its sums depend on the recipe alone, neither on the
//! number of threads nor on interruptions.

mod shard;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use self::shard::{ShardTask, sums_path};
use super::classes::named_by;
use super::fingerprint::Fnv;
use super::format::{self, entries};
use super::listing::exists;
use super::shards::{CLASSES, Index, MOST_SHARDS, RECIPE};
use super::statistics::{self, Measured, Provenance, Sums};
use super::{Broken, DataError, DataFault, Dataset, Split};
use crate::files::{is_partial, read_text, sweep, write_file};
use crate::random::{Purpose, Stream};

/// Tag of the random stream for the order of the images; epochs use the first tags.
const ORDER_TAG: u32 = 0x00FF_FFFF;

/// Number of reasons for skipped images that are kept with the statistics.
const REASONS: usize = 100;

/// Form in which images are stored.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Recipe {
    /// Side of a stored image in pixels.
    pub size: usize,
    /// Whether images are stored as plain pixels instead of JPEG.
    pub raw: bool,
    /// Quality of the JPEG files, 1 to 100.
    pub quality: u8,
    /// Number of images in a shard.
    pub shard_images: usize,
    /// Seed of the order of the training images.
    pub seed: u64,
}

/// Content of `prepare.json`: work in a folder is resumed only if all of it is the same.
#[derive(Debug, PartialEq, Deserialize, Serialize)]
struct Claim {
    program: String,
    source: String,
    fingerprint: String,
    training: usize,
    validation: usize,
    recipe: Recipe,
}

/// Receiver of the progress of [`prepare`], called from several threads.
pub trait PrepareObserver: Sync {
    /// Called at the start with the numbers of training and validation images, classes and shards.
    fn begin(&self, images: [usize; 2], classes: usize, shards: usize);
    /// Called for a shard that an earlier call finished, with its number of images.
    fn found(&self, images: usize);
    /// Called after each image.
    fn image(&self);
    /// Called with the reason for leaving an image out.
    fn skipped(&self, reason: &str);
}

/// Summary of a finished preparation.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// Numbers of training and validation images in the shards.
    pub images: [usize; 2],
    /// Number of shards, and number of those from earlier calls.
    pub shards: [usize; 2],
    /// Reasons for the images that were left out.
    pub skipped: Vec<String>,
    /// Standard deviations of colour along its principal components, strongest first, in units of 0 to 255.
    pub deviations: [f32; 3],
}

/// Packs the images of `source` into shards in the folder `out`, or resumes an interrupted call with the same source
/// and recipe. Images that cannot be decoded are left out and named; more of them than `max_broken` percent of a split,
/// or than 1 % and a handful, stop it. The lines of the file `names` name the classes.
///
/// # Errors
/// When a file is at fault, which the message names; shards finished before stay.
pub fn prepare(
    source: &Path,
    out: &Path,
    recipe: &Recipe,
    names: Option<&Path>,
    max_broken: Option<f64>,
    observer: &dyn PrepareObserver,
) -> Result<Prepared, DataError> {
    let Dataset { classes, train: training, validation, .. } = claim(source, out, recipe, names)?;
    write_file(&out.join(CLASSES), (classes.join("\n") + "\n").as_bytes())?;
    let shuffled = Stream::new(recipe.seed, Purpose::Shuffle, ORDER_TAG).permutation(0, training.len());
    let in_order: Vec<u32> = (0..validation.len() as u32).collect();
    let tasks = |images, order, split| tasks(source, out, recipe, images, order, split);
    let (mut tasks, others) = (tasks(&training, &shuffled, "train"), tasks(&validation, &in_order, "val"));
    let training_shards = tasks.len();
    tasks.extend(others);
    if tasks.len() > MOST_SHARDS {
        return Err(DataError::content(out, DataFault::TooManyShards(tasks.len())));
    }
    observer.begin([training.len(), validation.len()], classes.len(), tasks.len());

    let statistics_path = out.join(statistics::FILE);
    let summed = exists(&statistics_path)?;
    let found = AtomicUsize::new(0);
    let [broken, broken_validation] = [("training", &training), ("validation", &validation)]
        .map(|(split, images)| Broken::new(split, images.len(), max_broken));
    let make = |task: &ShardTask| match task.finished(summed) {
        Some(index) => {
            let broken = if task.training { &broken } else { &broken_validation };
            broken.add(index.skipped.len(), || index.skipped.last().cloned().unwrap_or_default())?;
            found.fetch_add(1, Ordering::Relaxed);
            observer.found(task.numbers.len());
            Ok(index)
        }
        None => task.write(recipe, if task.training { &broken } else { &broken_validation }, observer),
    };
    let indices: Vec<Index> = tasks.par_iter().map(make).collect::<Result<_, _>>()?;
    let count = |indices: &[Index]| indices.iter().map(|index| index.images.len()).sum();
    let images: [usize; 2] = [count(&indices[..training_shards]), count(&indices[training_shards..])];
    let skipped: Vec<String> = indices.into_iter().flat_map(|index| index.skipped).collect();
    if let Some((count, _)) = [training.len(), validation.len()].into_iter().zip(images).find(|(_, made)| *made == 0) {
        return Err(DataError::NoImage { count, first: skipped.first().cloned().unwrap_or_default() });
    }
    let statistics = if summed {
        Measured::read(&statistics_path)?.statistics
    } else {
        let mut sums = Sums::new(recipe.size);
        for task in &tasks[..training_shards] {
            sums.add_file(&sums_path(&task.path))?;
        }
        let about = Provenance {
            program: program(),
            source: source.display().to_string(),
            size: recipe.size,
            seed: recipe.seed,
            training: images[0],
            validation: images[1],
            skipped: skipped.len(),
            skipped_first: skipped[..skipped.len().min(REASONS)].to_vec(),
            key: None,
        };
        let measured = Measured { statistics: sums.statistics(), about };
        measured.save(&statistics_path)?;
        measured.statistics
    };
    for task in &tasks[..training_shards] {
        // A file of sums that cannot be removed does no harm.
        let _ = fs::remove_file(sums_path(&task.path));
    }
    let shards = [tasks.len(), found.into_inner()];
    Ok(Prepared { images, shards, skipped, deviations: statistics.colours.deviations })
}

fn program() -> String {
    concat!("alexnet ", env!("CARGO_PKG_VERSION")).into()
}

/// Opens the source, and checks that `out` is new, empty, or was begun with the same source and recipe.
fn claim(source: &Path, out: &Path, recipe: &Recipe, names: Option<&Path>) -> Result<Dataset, DataError> {
    let path = out.join(RECIPE);
    if !exists(&path)? && exists(out)? && entries(out)?.iter().any(|path| !is_partial(path)) {
        return Err(DataError::content(out, DataFault::Taken));
    }
    let mut opened = open(source, recipe.size)?;
    if let Some(file) = names {
        opened.classes = named_by(&opened.classes, file)?;
    }
    // They become lines of a file.
    if let Some(class) = opened.classes.iter().find(|class| class.contains(['\n', '\r']) || class.trim() != **class) {
        return Err(DataError::content(source, DataFault::NotALine(class.clone())));
    }
    let claim = Claim {
        program: program(),
        source: source.display().to_string(),
        fingerprint: format!("{:016x}", fingerprint(source, &opened)?),
        training: opened.train.len(),
        validation: opened.validation.len(),
        recipe: recipe.clone(),
    };
    fs::create_dir_all(out).map_err(DataError::write(out))?;
    sweep(out)?;
    if exists(&path)? {
        let text = read_text(&path).map_err(DataError::read(&path))?;
        let before: Claim =
            serde_json::from_str(&text).map_err(|error| DataError::content(&path, DataFault::Recipe(error)))?;
        if before != claim {
            return Err(DataError::content(out, before.differs(&claim)));
        }
    } else {
        let text = serde_json::to_string_pretty(&claim).map_err(|error| DataError::write(&path)(error.into()))?;
        write_file(&path, text.as_bytes())?;
    }
    Ok(opened)
}

impl Claim {
    /// The difference of `now` from the claim that the folder was begun with.
    fn differs(&self, now: &Self) -> DataFault {
        let (a, b) = (&self.recipe, &now.recipe);
        let options = [
            ("SOURCE", self.source != now.source, self.source.clone()),
            ("--size", a.size != b.size, a.size.to_string()),
            ("--raw", a.raw != b.raw, a.raw.to_string()),
            ("--quality", a.quality != b.quality, a.quality.to_string()),
            ("--shard-images", a.shard_images != b.shard_images, a.shard_images.to_string()),
            ("--seed", a.seed != b.seed, a.seed.to_string()),
            ("version", self.program != now.program, self.program.clone()),
        ];
        let other: Vec<String> =
            options.iter().filter(|(_, other, _)| *other).map(|(name, _, was)| format!("{name} {was}")).collect();
        match &other[..] {
            [] => DataFault::OtherFiles(self.source.clone()),
            other => DataFault::OtherOptions(other.join(", ")),
        }
    }
}

/// Cuts a split into shards, its images in this order.
fn tasks<'a>(
    source: &'a Path,
    out: &Path,
    recipe: &Recipe,
    images: &'a Split,
    order: &'a [u32],
    split: &str,
) -> Vec<ShardTask<'a>> {
    let task = |(number, numbers): (usize, &'a [u32])| ShardTask {
        path: out.join(format!("{split}-{number:06}.tar")),
        source,
        images,
        numbers,
        first: number * recipe.shard_images,
        training: split == "train",
    };
    order.chunks(recipe.shard_images.max(1)).enumerate().map(task).collect()
}

/// Opens the data set in the folder at `root`; of several formats, the one nearest to the distributed files.
fn open(root: &Path, size: usize) -> Result<Dataset, DataError> {
    format::open_distributed(root).and_then(|opened| Dataset::of(opened, size)).map_err(|error| match error {
        DataError::Unrecognised { path, found } => DataError::content(path, DataFault::NothingToPrepare { found }),
        other => other,
    })
}

/// Name of image `i` relative to the folder of the data set at `root`.
fn image_name(root: &Path, split: &Split, i: usize) -> String {
    let name = split.name(i);
    Path::new(&name).strip_prefix(root).map(|inside| inside.display().to_string()).unwrap_or(name)
}

/// A number that changes with the names, the sizes and the classes of the images.
fn fingerprint(root: &Path, dataset: &Dataset) -> Result<u64, DataError> {
    let mut hash = Fnv::new();
    for class in &dataset.classes {
        hash.add(class.as_bytes());
    }
    for split in [&dataset.train, &dataset.validation] {
        hash.add(&split.len().to_le_bytes());
        for i in 0..split.len() {
            hash.add(image_name(root, split, i).as_bytes());
            hash.add(&split.label(i).to_le_bytes());
            hash.add(&split.stored_bytes(i)?.to_le_bytes());
        }
    }
    Ok(hash.0)
}
