//! Networks of ONNX files from images to scores of classes.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ColourError, EvalError};
use crate::backend::Placement;
use crate::data::{Batch, View};
use crate::graph::{Extent, Given, Graph, Op, ValueId};
use crate::interop::onnx::metadata;
use crate::interop::read_graph;
use crate::session::GraphSession;
use crate::tensor::Tensor;

/// Conversion of images to the input of a network, where its file does not have it or is wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preprocessing {
    /// Means that are subtracted from red, green and blue of 0 to 255.
    pub mean: Option<[f32; 3]>,
    /// Factors of red, green and blue after that.
    pub scale: Option<[f32; 3]>,
    /// Side in pixels to which images are scaled, of which the network sees a part; that of its input where absent.
    pub stored: Option<usize>,
}

/// Parses three finite numbers with commas between, one for each of red, green and blue.
pub fn colour(text: &str) -> Result<[f32; 3], ColourError> {
    let number = |number: &str| number.trim().parse().ok().filter(|number: &f32| number.is_finite());
    let numbers: Option<Vec<f32>> = text.split(',').map(number).collect();
    numbers.and_then(|numbers| numbers.try_into().ok()).ok_or(ColourError)
}

/// Quantity that a network gives for each class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputKind {
    /// Logits, before a softmax.
    Scores,
    Probabilities,
    /// Natural logarithms of probabilities.
    Logarithms,
}

/// Network of an ONNX file from images `[N][3][S][S]` to scores of classes, on its devices.
pub(super) struct OnnxClassifier {
    session: GraphSession,
    /// Name of the input.
    input: String,
    /// Images of one run.
    images: usize,
    /// Side of the input in pixels.
    size: usize,
    /// Side in pixels to which images are scaled.
    pub(super) stored: usize,
    mean: [f32; 3],
    scale: [f32; 3],
    output: OutputKind,
    /// Count of the classes.
    pub(super) classes: usize,
    /// Names of the classes, where the file has them.
    pub(super) names: Option<Vec<String>>,
}

impl OnnxClassifier {
    /// Sets up the network in `path` on `devices`, for runs of `batch` images, or of as many as its input declares.
    pub(super) fn open(
        path: &Path,
        given: &Preprocessing,
        batch: usize,
        devices: &Placement,
    ) -> Result<Self, EvalError> {
        let graph = read_graph(path)?;
        Self::new(&graph, given, batch, devices).map_err(|error| error.within(&path.display()))
    }

    fn new(graph: &Graph, given: &Preprocessing, batch: usize, devices: &Placement) -> Result<Self, EvalError> {
        let (input, images, size) = input(graph, batch)?;
        let colours = |given: Option<[f32; 3]>, key: &'static str, option: &'static str| match given {
            Some(colours) => Ok(colours),
            None => entry(graph, key, "three numbers with commas between", |text| colour(text).ok())?
                .ok_or(EvalError::Unknown { key, option }),
        };
        let mean = colours(given.mean, metadata::MEAN, "--mean")?;
        let scale = colours(given.scale, metadata::SCALE, "--scale")?;
        let stored = entry(graph, metadata::STORED_SIZE, "a side in pixels", |text| text.parse().ok())?;
        let stored = given.stored.or(stored).unwrap_or(size);
        if stored < size {
            return Err(EvalError::Stored { stored, size });
        }
        let parse_names = |text: &str| serde_json::from_str::<Vec<String>>(text).ok();
        let names = entry(graph, metadata::CLASSES, "a JSON list of names", parse_names)?;
        let shapes = BTreeMap::from([(input.clone(), Given::Floats(vec![images, 3, size, size]))]);
        let session = GraphSession::new(graph, &shapes, devices)?;
        let classes = match session.outputs()[..] {
            [(_, dims)] if dims.first() == Some(&images) => dims[1..].iter().product(),
            _ => return Err(EvalError::Outputs(images)),
        };
        if let Some(names) = names.as_ref().filter(|names| names.len() != classes) {
            return Err(EvalError::Classes { names: names.len(), outputs: classes });
        }
        let output = output_kind(graph, graph.outputs[0]);
        Ok(Self { session, input, images, size, stored, mean, scale, output, classes, names })
    }

    pub(super) fn device(&self) -> String {
        self.session.device()
    }

    /// Side of the images less that of the input, in pixels.
    pub(super) fn border2(&self) -> u32 {
        (self.stored - self.size) as u32
    }

    /// Class probabilities `[images][classes]` of a batch of any size.
    pub(super) fn probabilities(&mut self, batch: &Batch) -> Result<Vec<f32>, EvalError> {
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
                all.extend(probabilities(scores, self.output));
            }
        }
        Ok(all)
    }

    /// Appends the crop of a stored image that the network reads, `[3][size][size]`.
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

/// Entry of the metadata that `parse` accepts; `expected` says which text it does.
fn entry<T>(
    graph: &Graph,
    key: &'static str,
    expected: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, EvalError> {
    let Some(text) = graph.metadata.get(key) else { return Ok(None) };
    let refuse = || EvalError::Metadata { key, found: text.clone(), expected: expected.into() };
    parse(text).map(Some).ok_or_else(refuse)
}

/// Name of the only input, images of one run and side in pixels.
fn input(graph: &Graph, batch: usize) -> Result<(String, usize, usize), EvalError> {
    let [input] = &graph.inputs[..] else { return Err(EvalError::Inputs(graph.inputs.len())) };
    match input.dims.as_deref() {
        Some([images, Extent::Known(3), Extent::Known(height), Extent::Known(width)]) if height == width => {
            let images = if let Extent::Known(images) = images { *images } else { batch };
            Ok((graph.name(input.value).into(), images.max(1), *height))
        }
        _ => Err(EvalError::Input(graph.name(input.value).into())),
    }
}

/// Quantity of a value, by the node that computes it, past those that give what they read.
fn output_kind(graph: &Graph, mut value: ValueId) -> OutputKind {
    for node in graph.nodes.iter().rev() {
        if node.outputs.contains(&Some(value)) {
            match graph.passes(node) {
                Some(from) => value = from,
                None => match node.op {
                    Op::Softmax { log: false, .. } => return OutputKind::Probabilities,
                    Op::Softmax { log: true, .. } => return OutputKind::Logarithms,
                    _ => return OutputKind::Scores,
                },
            }
        }
    }
    OutputKind::Scores
}

/// Probabilities of an image's classes.
fn probabilities(scores: &[f32], kind: OutputKind) -> Vec<f32> {
    if kind == OutputKind::Probabilities {
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
        for (scores, kind) in [
            ([0.25, 0.75], OutputKind::Probabilities),
            ([0.25_f32.ln(), 0.75_f32.ln()], OutputKind::Logarithms),
            ([1000.0, 1000.0 + 3.0_f32.ln()], OutputKind::Scores),
        ] {
            let got = probabilities(&scores, kind);
            // ln 3 beside 1000 keeps four digits.
            assert!(got.iter().zip(wanted).all(|(got, want)| (got - want).abs() < 1e-4), "{kind:?}: {got:?}");
        }
    }

    #[test]
    fn colours_are_three_numbers() {
        assert_eq!(colour("1, 2.5,-3"), Ok([1.0, 2.5, -3.0]));
        assert!(
            ["1,2", "1,2,3,4", "", "a,b,c", "nan,0,0", "0,inf,0", "0,0,-inf", "1e39,0,0"]
                .iter()
                .all(|text| colour(text).is_err())
        );
    }
}
