//! From disk to batches: data sets, decoding, views, mean image and colours, and the loader.
//!
//! A [`Dataset`] is opened from a path, in one of the formats that `format.rs` lists, or made of a program's own images
//! ([`ImageSet`]), and holds two [`Split`]s. A [`Loader`] decodes the images of a split on its own
//! threads, in a given order, and yields [`Batch`]es of stored images together with the [`View`] of each. The batches
//! depend on (seed, epoch, index) alone, never on the number of threads. [`prepare()`] packs images as they are
//! distributed into shards, the format that is read fastest.

mod archive;
mod batch;
mod broken;
mod budget;
mod cifar;
mod cifar100;
mod classes;
mod codec;
mod dataset;
mod decode;
mod eigen;
mod ends;
mod error;
mod flat;
mod folder;
mod fingerprint;
mod format;
mod ilsvrc;
mod kaggle;
mod jpeg;
mod listing;
mod loader;
mod loose;
mod orientation;
mod outage;
mod part;
mod prepare;
mod profiles;
mod resize;
mod sample;
mod shards;
mod speed;
mod split;
mod statistics;
mod synsets;
#[cfg(test)]
mod testing;
mod turn;
mod views;

pub use crate::tensor::NO_LABEL;
pub use batch::Batch;
pub use broken::Broken;
pub use classes::{called, described, named_by};
pub use codec::{MAX_BYTES, MAX_SIDE};
pub use dataset::{Dataset, Labelled, located};
pub use decode::{Image, decode_file};
pub use error::{
    ArchiveFault, DataError, DataFault, Found, ImageError, ImageExcess, ImageFault, IndexFault, SampleFault,
};
pub use loader::{Loader, LoaderOptions};
pub use part::{Delivery, Part, PartLoader};
pub use prepare::{PrepareObserver, Prepared, Recipe, prepare};
pub use speed::{LoaderSpeed, loader_speed};
pub use split::{ImageSet, Split, StoredImage};
pub use statistics::{Colours, Measured, Provenance, Statistics, StatisticsError};
pub use views::{Draw, Noise, View, Views, centre_view, ten_views, training_order};

/// Number of threads that decode ahead of the device: half of the cores, since a software device needs the others.
pub fn decoding_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}
