//! A file with images and labels.

use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::files::{TensorError, TensorFile, read_file};
use crate::net::MOST_IMAGES;
use crate::session::Floats;

/// Reads `images`, floats `[images][3][size][size]`, and `labels`, whole numbers below `classes`, from a safetensors file.
pub(super) fn read(path: &Path, size: usize, classes: usize) -> Result<Floats> {
    parse(&read_file(path)?, size, classes).with_context(|| path.display().to_string())
}

fn parse(bytes: &[u8], size: usize, classes: usize) -> Result<Floats> {
    let file = TensorFile::parse(bytes)?;
    let images = file.float32("images").map_err(holds("the images as floats, N x C x H x W"))?;
    let (shape, labels) = file.integers("labels").map_err(holds("the class of each image"))?;
    let count = images.shape().first().copied().unwrap_or(0);
    if images.shape() != [count, 3, size, size] {
        bail!("tensor images has shape {:?}, this network needs [N, 3, {size}, {size}]", images.shape());
    }
    if !(1..=MOST_IMAGES).contains(&count) {
        bail!("a batch has 1 to {MOST_IMAGES} images, not {count}");
    }
    if shape != [count] {
        bail!("tensor labels has shape {shape:?}, {count} images need [{count}]");
    }
    if let Some((image, label)) = labels.iter().enumerate().find(|(_, label)| !(0..classes as i64).contains(label)) {
        bail!("image {image} has label {label}, but the classes of this network are 0 to {}", classes - 1);
    }
    Ok(Floats { images, labels: labels.into_iter().map(|label| label as u32).collect() })
}

/// Adds to the error about a missing tensor what the tensor is to hold.
fn holds(what: &str) -> impl FnOnce(TensorError) -> anyhow::Error {
    move |error| match error {
        missing @ TensorError::Missing(_) => anyhow::anyhow!("{missing}, which holds {what}"),
        other => other.into(),
    }
}
