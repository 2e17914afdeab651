//! A network of an ONNX file that tells what images show.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result, bail};

use crate::backend::Placement;
use crate::commands::run::read_graph;
use crate::data::{Batch, View};
use crate::graph::{Extent, Given, Graph, Op, ValueId};
use crate::interop::onnx::metadata;
use crate::session::GraphSession;
use crate::tensor::Tensor;

/// How images become the input of a network, where its file does not say it or is not to be believed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preprocessing {
    /// Subtracted from red, green and blue of 0 to 255.
    pub mean: Option<[f32; 3]>,
    /// What they are multiplied with then.
    pub scale: Option<[f32; 3]>,
    /// Side to which images are scaled, of which the network sees a part; that of its input where absent.
    pub stored: Option<usize>,
}

/// Three numbers with commas between.
///
/// # Errors
/// That it is to be such.
pub fn colour(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|number| number.trim().parse()).collect();
    numbers.ok().and_then(|numbers| numbers.try_into().ok()).ok_or_else(|| "three numbers with commas between".into())
}

/// What a network gives for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gives {
    Scores,
    Probabilities,
    Logarithms,
}

/// A network from images to classes.
pub(super) struct Picture {
    session: GraphSession,
    input: String,
    /// Images at once.
    images: usize,
    size: usize,
    pub(super) stored: usize,
    mean: [f32; 3],
    scale: [f32; 3],
    gives: Gives,
    pub(super) classes: usize,
    /// Names of the classes, where the file has them.
    pub(super) names: Option<Vec<String>>,
}

impl Picture {
    /// Sets the network in `path` up on `devices` for `batch` images at once, or as many as it is made for.
    ///
    /// # Errors
    /// When it is none from images `[N][3][S][S]` to classes, nothing says how images become its input, or it does not
    /// fit.
    pub(super) fn open(path: &Path, said: &Preprocessing, batch: usize, devices: &Placement) -> Result<Self> {
        let graph = read_graph(path)?;
        Self::of(&graph, said, batch, devices).with_context(|| path.display().to_string())
    }

    fn of(graph: &Graph, said: &Preprocessing, batch: usize, devices: &Placement) -> Result<Self> {
        let (input, images, size) = input(graph, batch)?;
        let told = |key: &str| graph.metadata.get(key);
        let three = |said: Option<[f32; 3]>, key: &str, flag: &str| {
            let told = told(key).map(|text| colour(text).map_err(|what| anyhow::anyhow!("metadata {key}: {what}")));
            let wanted = || format!("it does not say how images become its input (metadata {key}): say {flag} R,G,B");
            said.map_or_else(|| told.with_context(wanted)?, Ok)
        };
        let mean = three(said.mean, metadata::MEAN, "--mean")?;
        let scale = three(said.scale, metadata::SCALE, "--scale")?;
        let parsed = told(metadata::STORED_SIZE).map(|text| text.parse()).transpose();
        let stored = said.stored.or(parsed.with_context(|| format!("metadata {}", metadata::STORED_SIZE))?);
        let stored = stored.unwrap_or(size);
        if stored < size {
            bail!("images of {stored} pixels a side are smaller than its input of {size}");
        }
        let names = told(metadata::CLASSES).map(|text| serde_json::from_str(text)).transpose();
        let names: Option<Vec<String>> = names.with_context(|| format!("metadata {}", metadata::CLASSES))?;
        let given = BTreeMap::from([(input.clone(), Given::Floats(vec![images, 3, size, size]))]);
        let session = GraphSession::new(graph, &given, devices)?;
        let classes = match session.outputs()[..] {
            [(_, dims)] if dims.first() == Some(&images) => dims[1..].iter().product(),
            _ => bail!("it does not give one tensor with the scores of classes for each of {images} images"),
        };
        if let Some(names) = names.as_ref().filter(|names| names.len() != classes) {
            bail!("it names {} classes and gives {classes}", names.len());
        }
        let gives = gives(graph, graph.outputs[0]);
        Ok(Self { session, input, images, size, stored, mean, scale, gives, classes, names })
    }

    pub(super) fn device(&self) -> String {
        self.session.device()
    }

    /// Pixels by which the part that the network sees can move.
    pub(super) fn border2(&self) -> u32 {
        (self.stored - self.size) as u32
    }

    /// Class probabilities of each image of a batch of any size, image by image.
    pub(super) fn probabilities(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(batch.count * self.classes);
        let bytes = 3 * self.stored * self.stored;
        for first in (0..batch.count).step_by(self.images) {
            let real = (batch.count - first).min(self.images);
            let count = 3 * self.images * self.size * self.size;
            let mut values = Vec::with_capacity(count);
            for (image, view) in batch.images.chunks(bytes).zip(&batch.views).skip(first).take(real) {
                self.crop(image, *view, &mut values);
            }
            values.resize(count, 0.0);
            let images = Tensor::new([self.images, 3, self.size, self.size], values);
            let outputs = self.session.run(&BTreeMap::from([(self.input.clone(), images)]))?;
            for scores in outputs[0].1.values().chunks(self.classes).take(real) {
                all.extend(probabilities(scores, self.gives));
            }
        }
        Ok(all)
    }

    /// Adds what the network sees of a stored image, `[3][size][size]`.
    fn crop(&self, image: &[u8], view: View, values: &mut Vec<f32>) {
        for (colour, (mean, scale)) in self.mean.iter().zip(self.scale).enumerate() {
            for row in 0..self.size {
                for column in 0..self.size {
                    let column = if view.mirror { self.size - 1 - column } else { column };
                    let pixel = (view.y as usize + row) * self.stored + view.x as usize + column;
                    values.push((f32::from(image[3 * pixel + colour]) - mean) * scale);
                }
            }
        }
    }
}

/// The name of the only input, images at once and pixels of a side.
fn input(graph: &Graph, batch: usize) -> Result<(String, usize, usize)> {
    let [input] = &graph.inputs[..] else { bail!("it has {} inputs, not images alone", graph.inputs.len()) };
    match input.dims.as_deref() {
        Some([images, Extent::Known(3), Extent::Known(height), Extent::Known(width)]) if height == width => {
            let images = if let Extent::Known(images) = images { *images } else { batch };
            Ok((graph.name(input.value).into(), images.max(1), *height))
        }
        _ => bail!("its input {} is not declared as images, N x 3 x S x S", graph.name(input.value)),
    }
}

/// What a value is, by the node that it comes from.
fn gives(graph: &Graph, value: ValueId) -> Gives {
    let node = graph.nodes.iter().find(|node| node.outputs.contains(&Some(value)));
    match node.map(|node| (&node.op, node.inputs.first().copied().flatten())) {
        Some((Op::Softmax { log: false, .. }, _)) => Gives::Probabilities,
        Some((Op::Softmax { log: true, .. }, _)) => Gives::Logarithms,
        Some((Op::Reshape { .. } | Op::Flatten { .. } | Op::Identity, Some(from))) => gives(graph, from),
        _ => Gives::Scores,
    }
}

/// The probabilities of an image's classes.
fn probabilities(scores: &[f32], gives: Gives) -> Vec<f32> {
    if gives == Gives::Probabilities {
        return scores.to_vec();
    }
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = scores.iter().map(|&score| f64::from(score - most).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_and_logarithms_become_probabilities() {
        let wanted = [0.25_f32, 0.75];
        for (scores, gives) in [
            ([0.25, 0.75], Gives::Probabilities),
            ([0.25_f32.ln(), 0.75_f32.ln()], Gives::Logarithms),
            ([1000.0, 1000.0 + 3.0_f32.ln()], Gives::Scores),
        ] {
            let got = probabilities(&scores, gives);
            // ln 3 beside 1000 keeps four digits.
            assert!(got.iter().zip(wanted).all(|(got, want)| (got - want).abs() < 1e-4), "{gives:?}: {got:?}");
        }
    }

    #[test]
    fn colours_are_three_numbers() {
        assert_eq!(colour("1, 2.5,-3"), Ok([1.0, 2.5, -3.0]));
        assert!(["1,2", "1,2,3,4", "", "a,b,c"].iter().all(|text| colour(text).is_err()));
    }
}
