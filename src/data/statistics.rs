//! What is known of the training images as a whole: their mean image and how their colours vary.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::DataError;

/// Its name in a folder of shards.
pub(super) const FILE: &str = "statistics.safetensors";

/// The one metadata entry; a second one would be written in random order.
const KEY: &str = "alexnet";

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
    #[must_use]
    pub fn new(eigenvectors: &[f32], deviations: &[f32]) -> Option<Self> {
        let (rows, []) = eigenvectors.as_chunks() else { return None };
        Some(Self { eigenvectors: rows.try_into().ok()?, deviations: deviations.try_into().ok()? })
    }
}

impl Measured {
    /// The content of a safetensors file: `mean`, `eigenvectors`, `deviations`, and as metadata [`About`].
    pub(super) fn serialize(&self) -> Result<Vec<u8>, String> {
        let (size, Statistics { mean, colours }) = (self.about.size, &self.statistics);
        let view = |shape: &[usize], bytes| TensorView::new(Dtype::F32, shape.to_vec(), bytes);
        let text = |error: safetensors::SafeTensorError| error.to_string();
        let tensors = [
            ("mean", view(&[size, size, 3], bytemuck::cast_slice(mean)).map_err(text)?),
            ("eigenvectors", view(&[3, 3], bytemuck::cast_slice(&colours.eigenvectors)).map_err(text)?),
            ("deviations", view(&[3], bytemuck::cast_slice(&colours.deviations)).map_err(text)?),
        ];
        let about = serde_json::to_string(&self.about).map_err(|error| error.to_string())?;
        safetensors::serialize(tensors, Some(HashMap::from([(KEY.to_owned(), about)]))).map_err(text)
    }

    /// Reads a file that [`Measured::serialize`] made.
    pub(super) fn read(path: &Path) -> Result<Self, DataError> {
        let mut bytes = Vec::new();
        let file = File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut bytes));
        file.map_err(DataError::read(path))?;
        let damaged = |reason: String| DataError::content(path, format!("{reason}; prepare the folder anew"));
        Self::parse(&bytes).map_err(damaged)
    }

    fn parse(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |error: safetensors::SafeTensorError| format!("is truncated or not a safetensors file ({error})");
        let file = SafeTensors::deserialize(bytes).map_err(damaged)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(damaged)?;
        let about = header.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let about = about.ok_or("holds no statistics of this program (no alexnet metadata)")?;
        let about: About = serde_json::from_str(about).map_err(|error| format!("has damaged metadata ({error})"))?;
        let values = |name: &str, shape: &[usize]| -> Result<Vec<f32>, String> {
            let tensor = file.tensor(name).map_err(|error| format!("has no tensor {name} ({error})"))?;
            if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
                return Err(format!("has a tensor {name} of {:?} {:?}, not {shape:?}", tensor.dtype(), tensor.shape()));
            }
            let values: Vec<f32> = bytemuck::pod_collect_to_vec(tensor.data());
            let finite = values.iter().all(|value| value.is_finite());
            if finite { Ok(values) } else { Err(format!("has a tensor {name} that is not finite")) }
        };
        let mean = values("mean", &[about.size, about.size, 3])?;
        let colours = Colours::new(&values("eigenvectors", &[3, 3])?, &values("deviations", &[3])?);
        let colours = colours.ok_or("has colours of another shape")?;
        Ok(Self { statistics: Statistics { mean, colours }, about })
    }
}
