//! What is known of the training images as a whole: their mean image and how their colours vary.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::DataError;
use crate::files::{Elements, METADATA, TensorError, TensorFile, serialize};

/// Its name in a folder of shards.
pub(super) const FILE: &str = "statistics.safetensors";

/// The most bytes a file of statistics may have: those of images of 4096 x 4096 pixels.
const MAX_FILE: u64 = 256 << 20;

/// Mean image and colours of a training set (sections 2 and 4.1 of the paper), in units of 0 to 255.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statistics {
    /// `size` x `size` x 3 means, rows outermost, red first.
    pub mean: Vec<f32>,
    /// How colours vary.
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

/// Statistics that `prepare` left beside its shards, and where they come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// Of the training images.
    pub statistics: Statistics,
    /// The images behind them.
    pub about: About,
}

/// The images behind [`Measured`] statistics.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct About {
    /// Name and version of the program that computed them.
    pub program: String,
    /// The path that the images came from, as it was given.
    pub source: String,
    /// Side of an image in pixels.
    pub size: usize,
    /// The seed of the order of the images.
    pub seed: u64,
    /// Training images.
    pub training: usize,
    /// Validation images.
    pub validation: usize,
    /// Images that were left out.
    pub skipped: usize,
    /// The first of them, each with its reason.
    pub skipped_first: Vec<String>,
}

impl Colours {
    /// From nine and three numbers; `None` where there are more or fewer.
    pub fn new(eigenvectors: &[f32], deviations: &[f32]) -> Option<Self> {
        let (rows, []) = eigenvectors.as_chunks() else { return None };
        Some(Self { eigenvectors: rows.try_into().ok()?, deviations: deviations.try_into().ok()? })
    }
}

impl Measured {
    /// The content of a safetensors file: `mean`, `eigenvectors`, `deviations`, and as metadata [`About`].
    pub(super) fn serialize(&self) -> Result<Vec<u8>, StatisticsError> {
        let (size, Statistics { mean, colours }) = (self.about.size, &self.statistics);
        let tensors = [
            ("mean", &[size, size, 3][..], Elements::F32(mean)),
            ("eigenvectors", &[3, 3][..], Elements::F32(colours.eigenvectors.as_flattened())),
            ("deviations", &[3][..], Elements::F32(&colours.deviations)),
        ];
        Ok(serialize(tensors, Some((METADATA, serde_json::to_string(&self.about)?)))?)
    }

    /// Reads a file that [`Measured::serialize`] made.
    pub(super) fn read(path: &Path) -> Result<Self, DataError> {
        let mut bytes = Vec::new();
        let file = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        file.map_err(DataError::read(path))?;
        Self::parse(&bytes).map_err(|error| DataError::content(path, format!("{error}; prepare the folder anew")))
    }

    fn parse(bytes: &[u8]) -> Result<Self, StatisticsError> {
        let file = TensorFile::parse(bytes)?;
        let about: About = serde_json::from_str(file.metadata(METADATA).ok_or(StatisticsError::Foreign)?)?;
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

/// What is wrong with a file of statistics.
#[derive(Debug, Error)]
pub(super) enum StatisticsError {
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
