//! Networks of ONNX files from images to scores of classes.

use std::collections::BTreeMap;
use std::path::Path;

use super::error::{ColourError, EvalError, SizeError};
use crate::backend::Placement;
use crate::data::{Batch, View};
use crate::graph::{Extent, Given, Graph, Op, ValueId};
use crate::interop::onnx::metadata;
use crate::interop::read_graph;
use crate::session::{GraphSession, SessionError};
use crate::tensor::Tensor;

/// Conversion of images to the input of a network, where its file does not have it or is wrong.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Preprocessing {
    /// Means that are subtracted from red, green and blue of 0 to 255.
    pub mean: Option<[f32; 3]>,
    /// Factors of red, green and blue after that.
    pub scale: Option<[f32; 3]>,
    /// Side in pixels to which images are scaled, of which the network sees a part; the longer one of its input where
    /// absent.
    pub stored: Option<usize>,
    /// Height and width of the input, where its file leaves them open.
    pub size: Option<[usize; 2]>,
    /// Name of the output with the scores of classes, where there are several.
    pub output: Option<String>,
}

/// Parses three finite numbers with commas between, one for each of red, green and blue; or one for all.
pub fn colour(text: &str) -> Result<[f32; 3], ColourError> {
    let number = |number: &str| number.trim().parse().ok().filter(|number: &f32| number.is_finite());
    let numbers: Option<Vec<f32>> = text.split(',').map(number).collect();
    match numbers.as_deref() {
        Some(&[all]) => Ok([all; 3]),
        Some(&[red, green, blue]) => Ok([red, green, blue]),
        _ => Err(ColourError),
    }
}

/// The longest side of images for a network.
pub(super) const MOST_SIDE: usize = 4096;

/// Parses height and width of images, `192x256`, or one number for both.
pub fn image_size(text: &str) -> Result<[usize; 2], SizeError> {
    let (height, width) = text.split_once(['x', 'X']).unwrap_or((text, text));
    let side = |text: &str| text.trim().parse().ok().filter(|side| (1..=MOST_SIDE).contains(side));
    side(height).zip(side(width)).map(|(height, width)| [height, width]).ok_or(SizeError)
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

/// Input of a network for images.
struct ImageInput {
    name: String,
    /// Images of one run.
    images: usize,
    /// Colours of a pixel: 3, or 1 where they are grey.
    colours: usize,
    /// Height and width in pixels.
    size: [usize; 2],
    /// Whether the colours of a pixel follow one another.
    colours_last: bool,
}

impl ImageInput {
    /// The only input of `graph`; `batch` and `size` stand for what it leaves open.
    fn new(graph: &Graph, batch: usize, size: Option<[usize; 2]>) -> Result<Self, EvalError> {
        let [input] = &graph.inputs[..] else { return Err(EvalError::Inputs(graph.inputs.len())) };
        let name = graph.name(input.value).to_owned();
        let Some([images, first, second, third]) = input.dims.as_deref() else { return Err(EvalError::Input(name)) };
        let colours = |extent: &Extent| match extent {
            Extent::Known(colours @ (1 | 3)) => Some(*colours),
            _ => None,
        };
        let (colours, height, width, colours_last) = match (colours(first), colours(third)) {
            (Some(colours), _) => (colours, second, third, false),
            (None, Some(colours)) => (colours, first, second, true),
            _ => return Err(EvalError::Input(name)),
        };
        let images = if let Extent::Known(images) = images { (*images).max(1) } else { batch };
        let known = |extent: &Extent, axis: usize| match (extent, size) {
            (&Extent::Known(side), Some(size)) if side != size[axis] => {
                let [height, width] = [height, width].map(ToString::to_string);
                Err(EvalError::Size { name: name.clone(), height, width })
            }
            (&Extent::Known(side), _) => Ok(side),
            (_, Some(size)) => Ok(size[axis]),
            (_, None) => Err(EvalError::NoSize(name.clone())),
        };
        let size = [known(height, 0)?, known(width, 1)?];
        Ok(Self { name, images, colours, size, colours_last })
    }

    /// Extents of the images of one run.
    fn dims(&self) -> [usize; 4] {
        let [height, width] = self.size;
        if self.colours_last {
            [self.images, height, width, self.colours]
        } else {
            [self.images, self.colours, height, width]
        }
    }
}

/// Network of an ONNX file from images to scores of classes, on its devices.
pub(super) struct OnnxClassifier {
    session: GraphSession,
    input: ImageInput,
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
        let mut graph = read_graph(path)?;
        let chosen = given.output.as_ref().map(|output| graph.keep_outputs(std::slice::from_ref(output))).transpose();
        let opened = chosen.map_err(|error| SessionError::from(error).into());
        let opened = opened.and_then(|_| Self::new(&graph, given, batch, devices));
        opened.map_err(|error: EvalError| error.within(&path.display()))
    }

    fn new(graph: &Graph, given: &Preprocessing, batch: usize, devices: &Placement) -> Result<Self, EvalError> {
        let input = ImageInput::new(graph, batch, given.size)?;
        let colours = |given: Option<[f32; 3]>, key: &'static str, option: &'static str| match given {
            Some(colours) => Ok(colours),
            None => entry(graph, key, "three numbers with commas between", |text| colour(text).ok())?
                .ok_or(EvalError::Unknown { key, option }),
        };
        let mean = colours(given.mean, metadata::MEAN, "--mean")?;
        let scale = colours(given.scale, metadata::SCALE, "--scale")?;
        if input.colours == 1 && (mean != [mean[0]; 3] || scale != [scale[0]; 3]) {
            return Err(EvalError::Grey);
        }
        let stored = entry(graph, metadata::STORED_SIZE, "a side in pixels", |text| text.parse().ok())?;
        let longest = input.size[0].max(input.size[1]);
        let stored = given.stored.or(stored).unwrap_or(longest);
        if stored < longest {
            return Err(EvalError::Stored { stored, size: input.size });
        }
        let parse_names = |text: &str| serde_json::from_str::<Vec<String>>(text).ok();
        let names = entry(graph, metadata::CLASSES, "a JSON list of names", parse_names)?;
        let shapes = BTreeMap::from([(input.name.clone(), Given::Floats(input.dims().into()))]);
        let session = GraphSession::new(graph, &shapes, devices)?;
        let classes = match (&session.outputs()[..], session.known()) {
            ([(_, dims)], []) if dims.first() == Some(&input.images) => dims[1..].iter().product(),
            (floats, known) => {
                let integers = known.iter().map(|output| (&*output.name, &output.dims[..]));
                let words = floats.iter().copied().chain(integers).map(|(name, dims)| format!("{name} {dims:?}"));
                let found = words.collect::<Vec<_>>().join(", ");
                return Err(EvalError::Outputs { images: input.images, found });
            }
        };
        if let Some(names) = names.as_ref().filter(|names| names.len() != classes) {
            return Err(EvalError::Classes { names: names.len(), outputs: classes });
        }
        let output = output_kind(graph, graph.outputs[0]);
        Ok(Self { session, input, stored, mean, scale, output, classes, names })
    }

    pub(super) fn device(&self) -> String {
        self.session.device()
    }

    /// Side of the images less the shorter one of the input, in pixels.
    pub(super) fn border2(&self) -> u32 {
        (self.stored - self.input.size[0].min(self.input.size[1])) as u32
    }

    /// Class probabilities `[images][classes]` of a batch of any size.
    pub(super) fn probabilities(&mut self, batch: &Batch) -> Result<Vec<f32>, EvalError> {
        let mut all = Vec::with_capacity(batch.count * self.classes);
        let bytes = 3 * self.stored * self.stored;
        let (images, dims) = (self.input.images, self.input.dims());
        for first in (0..batch.count).step_by(images) {
            let real = (batch.count - first).min(images);
            let mut values = vec![0.0; dims.iter().product()];
            let places = values.chunks_mut(dims[1..].iter().product());
            for ((image, view), values) in
                batch.images.chunks(bytes).zip(&batch.views).skip(first).zip(places).take(real)
            {
                self.crop(image, *view, values);
            }
            let images = Tensor::new(dims, values);
            let outputs = self.session.run(&BTreeMap::from([(self.input.name.clone(), images)]))?;
            for scores in outputs[0].1.values().chunks(self.classes).take(real) {
                all.extend(probabilities(scores, self.output));
            }
        }
        Ok(all)
    }

    /// Writes the crop of a stored image that the network reads, in the order of its input.
    fn crop(&self, image: &[u8], view: View, values: &mut [f32]) {
        let ImageInput { size: [height, width], colours, colours_last, .. } = self.input;
        // Views are placed for the shorter side; along the longer one there is less room.
        let room = |offset: u32, side: usize| match self.border2() as usize {
            0 => 0,
            border2 => offset as usize * (self.stored - side) / border2,
        };
        let (top, left) = (room(view.y, height), room(view.x, width));
        for row in 0..height {
            for column in 0..width {
                let from = if view.mirror { width - 1 - column } else { column };
                let at = 3 * ((top + row) * self.stored + left + from);
                let pixel = [image[at], image[at + 1], image[at + 2]];
                for colour in 0..colours {
                    let value = f32::from(if colours == 1 { grey(pixel) } else { pixel[colour] });
                    let at = row * width + column;
                    let at = if colours_last { at * colours + colour } else { colour * height * width + at };
                    values[at] = (value - self.mean[colour]) * self.scale[colour];
                }
            }
        }
    }
}

/// Brightness of a pixel as Pillow has it: 0.299 red, 0.587 green, 0.114 blue, in 65,536ths, rounded.
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue);
    ((sum + (1 << 15)) >> 16) as u8
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
    fn sizes_are_one_side_or_two() {
        assert_eq!((image_size("224"), image_size("192 x 256")), (Ok([224, 224]), Ok([192, 256])));
        assert!(["", "0", "4097", "1x", "x1", "1x2x3", "-1", "1x5000"].iter().all(|text| image_size(text).is_err()));
    }

    /// Numbers of Pillow's `convert("L")`.
    #[test]
    fn grey_is_brightness() {
        let pixels = [[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 200, 90]];
        assert_eq!(pixels.map(grey), [255, 76, 150, 29, 131]);
    }

    #[test]
    fn colours_are_three_numbers() {
        assert_eq!(colour("127.5"), Ok([127.5; 3]));
        assert_eq!(colour("1, 2.5,-3"), Ok([1.0, 2.5, -3.0]));
        assert!(
            ["1,2", "1,2,3,4", "", "a,b,c", "nan,0,0", "0,inf,0", "0,0,-inf", "1e39,0,0"]
                .iter()
                .all(|text| colour(text).is_err())
        );
    }
}
