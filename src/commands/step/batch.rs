//! A file with images and labels.

use std::path::Path;

use anyhow::{Context as _, Result, bail};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use crate::session::Floats;
use crate::session::layout::MOST_IMAGES;
use crate::tensor::Tensor;

/// Reads `images`, floats `[images][3][size][size]`, and `labels`, whole numbers below `classes`, from a safetensors file.
///
/// # Errors
/// When the file cannot be read, or its tensors are others.
pub(super) fn read(path: &Path, size: usize, classes: usize) -> Result<Floats> {
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    parse(&bytes, size, classes).with_context(|| path.display().to_string())
}

fn parse(bytes: &[u8], size: usize, classes: usize) -> Result<Floats> {
    let file = SafeTensors::deserialize(bytes).context("is truncated or not a safetensors file")?;
    let tensor = |name: &str, what: &str| {
        file.tensor(name).with_context(|| format!("there is no tensor {name}, which holds {what}"))
    };
    let images = tensor("images", "the images as floats, N x C x H x W")?;
    if images.dtype() != Dtype::F32 {
        bail!("tensor images holds {:?}, not 32-bit floats", images.dtype());
    }
    let labels = tensor("labels", "the class of each image")?;
    let count = images.shape().first().copied().unwrap_or(0);
    if images.shape() != [count, 3, size, size] {
        bail!("tensor images has shape {:?}, this network needs [N, 3, {size}, {size}]", images.shape());
    }
    if !(1..=MOST_IMAGES).contains(&count) {
        bail!("a batch has 1 to {MOST_IMAGES} images, not {count}");
    }
    if labels.shape() != [count] {
        bail!("tensor labels has shape {:?}, {count} images need [{count}]", labels.shape());
    }
    let labels = numbers(&labels)?;
    if let Some((image, label)) = labels.iter().enumerate().find(|(_, label)| !(0..classes as i64).contains(label)) {
        bail!("image {image} has label {label}, but the classes of this network are 0 to {}", classes - 1);
    }
    Ok(Floats {
        images: Tensor::new(images.shape(), bytemuck::pod_collect_to_vec(images.data())),
        labels: labels.into_iter().map(|label| label as u32).collect(),
    })
}

fn numbers(tensor: &TensorView) -> Result<Vec<i64>> {
    let data = tensor.data();
    Ok(match tensor.dtype() {
        Dtype::I64 => bytemuck::pod_collect_to_vec(data),
        Dtype::I32 => bytemuck::pod_collect_to_vec::<u8, i32>(data).into_iter().map(i64::from).collect(),
        Dtype::U32 => bytemuck::pod_collect_to_vec::<u8, u32>(data).into_iter().map(i64::from).collect(),
        other => bail!("tensor labels holds {other:?}, not whole numbers (I64, I32 or U32)"),
    })
}
