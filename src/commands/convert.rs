//! Conversion of checkpoints to files of other programs and back: weights by [`crate::interop`], the mean image as the
//! tensor `mean`, `[3][size][size]`, class names as metadata. Fixed means and scales belong to the model.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::CommandError;
use crate::checkpoint::{Checkpoint, MEAN, State};
use crate::data::centre_view;
use crate::files::{sha256, write_file, write_tensors};
use crate::interop::caffe::Network;
use crate::interop::onnx::{self, ImageMetadata};
use crate::interop::{
    CLASSES, CONVENTIONS, Convention, FileTensor, InteropError, Naming, Quantity, WeightsFile, file_tensors,
    fit_classes, read_layers, read_mean, read_weights,
};
use crate::net::{Job, LAYERS, Model, Net, lower};
use crate::tensor::Tensor;

/// Writes the weights of `checkpoint` to a safetensors file at `path`, under these names.
pub fn export(checkpoint: &Checkpoint, names: Convention, path: &Path) -> Result<(), CommandError> {
    let net = net(checkpoint)?;
    let mut tensors = BTreeMap::new();
    for whole in file_tensors(&net, &Naming::new(&net.model, names))? {
        let tensor = whole.join(|name| checkpoint.tensors.get(name), Quantity::Weights);
        tensors.insert(whole.name, tensor.map_err(CommandError::Checkpoint)?);
    }
    if net.model.input.mean.is_none() {
        let size = net.model.input.stored();
        let mean = shaped(checkpoint.tensors.get(MEAN).ok_or(CommandError::NoMean)?, [size, size, 3])?;
        tensors.insert(MEAN.into(), planes(mean.values(), size));
    }
    let classes = serde_json::to_string(&checkpoint.state.classes)?;
    Ok(write_tensors(path, &tensors, Some((CLASSES, classes)))?)
}

/// Writes the network of `checkpoint` to an ONNX file at `path`. Its input is images as the network sees them, before
/// the mean image, if there is one, is subtracted: the graph does that, as of the central crop.
pub fn export_onnx(checkpoint: &Checkpoint, path: &Path) -> Result<(), CommandError> {
    let net = net(checkpoint)?;
    let (mean, mean_image) = if let Some(mean) = net.model.input.mean {
        (mean, None)
    } else {
        let image = checkpoint.tensors.get(MEAN).ok_or(CommandError::NoMean)?;
        if let Some(means) = means_of(image.values()) {
            (means, None)
        } else {
            let (stored, view) = (net.model.input.stored(), centre_view(net.model.input.border2()));
            let mean = planes(shaped(image, [stored, stored, 3])?.values(), stored);
            ([0.0; 3], Some((mean, [view.y as usize, view.x as usize])))
        }
    };
    let facts = ImageMetadata { mean, mean_image, classes: serde_json::to_string(&checkpoint.state.classes)? };
    let file = onnx::write(&net, |name| checkpoint.tensors.get(name), &facts).map_err(CommandError::Checkpoint)?;
    Ok(write_file(path, &file)?)
}

fn net(checkpoint: &Checkpoint) -> Result<Net, CommandError> {
    checkpoint.expect_finite()?;
    Ok(Net::new(checkpoint.state.model(LAYERS)?)?)
}

/// The mean image, which must have this shape.
fn shaped(mean: &Tensor, shape: [usize; 3]) -> Result<&Tensor, CommandError> {
    if mean.shape() == shape {
        return Ok(mean);
    }
    Err(CommandError::Shape { name: MEAN, found: mean.shape().into(), expected: format!("{shape:?}") })
}

/// The means by colour of an image that has them everywhere, colours innermost.
fn means_of(image: &[f32]) -> Option<[f32; 3]> {
    let &[means, ref rest @ ..] = image.as_chunks::<3>().0 else { return None };
    rest.iter().all(|pixel| *pixel == means).then_some(means)
}

/// Weights of another program, and how they become a checkpoint.
#[derive(Clone, Debug)]
pub struct Import {
    /// File of another program's weights, as [`read_weights`] takes it.
    pub file: PathBuf,
    /// Network of the weights; its last layer gets the file's outputs, or as many as there are classes.
    pub model: Model,
    /// Class names; where absent those in the file, else numbers.
    pub classes: Option<Vec<String>>,
    /// Means of red, green and blue instead of the model's or the file's.
    pub mean: Option<[f32; 3]>,
    /// Caffe file with a mean image or means by colour, instead of the model's or the file's.
    pub mean_file: Option<PathBuf>,
    /// Caffe network as text, which the model must agree with.
    pub prototxt: Option<PathBuf>,
    /// Seed to initialise missing tensors from; they are an error where it is absent.
    pub missing: Option<u64>,
    /// Beginning of the names of the weights, where the file has several sets of them.
    pub under: Option<String>,
    /// SHA-256 that the file must have, or the digits that it begins with, as torchvision has them in names of files.
    pub sha256: Option<String>,
}

/// Result of an [`Import`].
#[derive(Clone, Debug)]
pub struct Imported {
    /// Checkpoint at step 0.
    pub checkpoint: Checkpoint,
    /// Initialised tensors, by the file's names.
    pub drawn: Vec<String>,
    /// Tensors and other objects of the file that the network does not have.
    pub unused: Vec<String>,
    /// How the file's names were understood, where they are not those of a convention, and what else it changed.
    pub words: Vec<String>,
}

impl Import {
    /// Reads the file and fits its tensors to the model.
    pub fn read(mut self) -> Result<Imported, CommandError> {
        if let Some(expected) = self.sha256.take() {
            let found = sha256(&self.file)?;
            if expected.len() < 8 || !found.starts_with(&expected.to_ascii_lowercase()) {
                return Err(CommandError::within(&self.file)(CommandError::Sha256 { found, expected }));
            }
        }
        Checkpoint::verify(&self.file)?;
        let mut read = read_weights(&self.file)?;
        let mean = self.mean_file.as_deref().map(read_mean).transpose()?;
        match mean {
            Some(mean) if mean.shape() == [3] => self.model.input.mean = <[f32; 3]>::try_from(mean.values()).ok(),
            Some(mean) => {
                self.model.input.mean = None;
                read.tensors.insert(MEAN.into(), mean);
            }
            None => self.model.input.mean = self.mean.or(self.model.input.mean),
        }
        let stored = self.model.input.stored();
        if let Some(means) = read.means.filter(|_| self.model.input.mean.is_none()) {
            // Means by colour where the network has a mean image, which is the same everywhere then.
            let image = || planes(&means.repeat(stored * stored), stored);
            read.tensors.entry(MEAN.into()).or_insert_with(image);
        }
        let mut words = Vec::new();
        let given = self.mean.is_some() || self.mean_file.is_some() || read.tensors.contains_key(MEAN);
        if let Some(mean) = self.model.input.mean.as_mut().filter(|_| !given) {
            words.extend(take("means", read.means, mean));
        }
        words.extend(take("scale", read.scale, &mut self.model.input.scale));
        if let Some(layers) = &read.layers {
            let means = self.mean.is_none() && self.mean_file.is_none();
            words.extend(layers.prepare(&mut self.model.input, means).map_err(CommandError::within(&self.file))?);
            words.extend(layers.name_as(&self.model, &mut read.tensors));
        }
        let recognised = read.recognise(&self.model, self.under.as_deref());
        words.extend(recognised.map_err(CommandError::within(&self.file))?);
        let WeightsFile { tensors: mut file, unread, unreadable, foreign, classes, layers, .. } = read;
        self.classes.iter().for_each(|classes| self.model.fit_classes(classes.len()));
        fit_classes(&mut self.model, &file);
        let net = Net::new(self.model)?;
        like_a_row(&net, &mut file)?;
        let agree = |layers: &Network, path: &Path| {
            let agreed = layers.agrees_with(&net.model).map_err(CommandError::from);
            agreed.map_err(CommandError::within(path))
        };
        if let Some(layers) = &layers {
            agree(layers, &self.file)?;
            words.extend(layers.ungroup(&net, &mut file)?);
        }
        if let Some(path) = &self.prototxt {
            agree(&read_layers(path)?, path)?;
        }
        let convert = || {
            let mut weights = CheckpointWeights::of(&net, &file, self.missing)?;
            weights.tensors.insert(MEAN.into(), mean_image(&net.model, &file)?);
            Ok::<_, CommandError>((weights, class_names(self.classes, classes, net.classes())?))
        };
        let (weights, classes) = convert().map_err(CommandError::within(&self.file))?;
        let known = |name: &String| {
            weights.file_tensors.iter().any(|whole| whole.name == *name)
                || name == MEAN && net.model.input.mean.is_none()
        };
        let unread = unread.iter().flat_map(|dict| dict.shapes.keys());
        let unused = file.keys().filter(|name| !known(name)).chain(unread).chain(unreadable.keys()).chain(&foreign);
        let unused = unused.cloned().collect();
        let (model, seed) = (toml::to_string(&net.model)?, self.missing.unwrap_or_default());
        let state = State { model, classes, seed, ..State::default() };
        let checkpoint = Checkpoint { tensors: weights.tensors, state };
        checkpoint.expect_finite().map_err(CommandError::within(&self.file))?;
        Ok(Imported { checkpoint, drawn: weights.drawn, unused, words })
    }
}

/// Takes what a file says of the colours of images in the place of what the model says: a line where they differ.
fn take(what: &str, file: Option<[f32; 3]>, model: &mut [f32; 3]) -> Option<String> {
    let file = file.filter(|numbers| numbers != model)?;
    let before = std::mem::replace(model, file);
    Some(format!("{what} {file:?} as the file says, not the model's {before:?}"))
}

/// Weights of a network, converted from a file with other names and another layout.
#[derive(Clone, Debug)]
pub struct CheckpointWeights {
    /// Tensors by the network's names.
    pub tensors: BTreeMap<String, Tensor>,
    /// Tensors that the file has, or should have.
    pub file_tensors: Vec<FileTensor>,
    /// Initialised tensors, by the file's names.
    pub drawn: Vec<String>,
}

impl CheckpointWeights {
    /// Weights of `net` in `file`, a checkpoint of this program, under the names of its rows in results; `None` where
    /// it is another file.
    pub fn own(net: &Net, file: &BTreeMap<String, Tensor>) -> Result<Option<Self>, InteropError> {
        let lowered = lower(net, &Job::evaluation(1));
        let own = lowered.trained.iter().map_while(|trained| {
            let tensor = file.get(&trained.name)?;
            (tensor.shape() == lowered.program.slot(trained.value).shape)
                .then(|| (trained.name.clone(), tensor.clone()))
        });
        let tensors: BTreeMap<_, _> = own.collect();
        if tensors.len() < lowered.trained.len() {
            return Ok(None);
        }
        let file_tensors = file_tensors(net, &Naming::new(&net.model, Convention::Caffe))?;
        Ok(Some(Self { tensors, file_tensors, drawn: Vec::new() }))
    }

    /// Converts the weights of `net` in `file`; missing ones are initialised from the seed, if there is one.
    pub fn of(net: &Net, file: &BTreeMap<String, Tensor>, seed: Option<u64>) -> Result<Self, CommandError> {
        let naming = Naming::of(net, file).ok_or_else(|| no_tensor(net, file))?;
        let file_tensors = file_tensors(net, &naming)?;
        let (mut tensors, mut missing) = (BTreeMap::new(), Vec::new());
        for whole in &file_tensors {
            let Some(tensor) = file.get(&whole.name) else {
                missing.push(whole);
                continue;
            };
            whole.fits(tensor)?;
            tensors.extend(whole.cut(tensor));
        }
        let drawn: Vec<String> = missing.iter().map(|whole| whole.name.clone()).collect();
        match seed {
            Some(seed) => tensors.extend(draw(net, &missing, seed)),
            None if !drawn.is_empty() => return Err(CommandError::Missing(drawn.join(", "))),
            None => (),
        }
        Ok(Self { tensors, file_tensors, drawn })
    }
}

/// Brings what an ONNX file lays out otherwise to the shapes of other files: windows over whole maps become rows of a
/// matrix, the mean image that a graph subtracts from scaled pixels one of pixels.
fn like_a_row(net: &Net, file: &mut BTreeMap<String, Tensor>) -> Result<(), CommandError> {
    let Some(naming) = Naming::of(net, file) else { return Ok(()) };
    for whole in file_tensors(net, &naming)? {
        let Some(tensor) = file.get_mut(&whole.name) else { continue };
        let same = tensor.values().len() == whole.shape.iter().product::<usize>();
        if same && whole.shape.len() == 2 && tensor.shape().len() == 4 && tensor.shape()[0] == whole.shape[0] {
            *tensor = Tensor::new(whole.shape, tensor.values().to_vec());
        }
    }
    let size = net.model.input.size;
    if let Some(mean) = file.get_mut(MEAN).filter(|mean| mean.shape() == [1, 3, size, size]) {
        let planes = mean.values().chunks(size * size).zip(net.model.input.scale);
        let values = planes.flat_map(|(plane, scale)| plane.iter().map(move |value| value / scale)).collect();
        *mean = Tensor::new([3, size, size], values);
    }
    Ok(())
}

/// Error for a file without any tensor of `net`.
fn no_tensor(net: &Net, file: &BTreeMap<String, Tensor>) -> CommandError {
    let first = net.model.layers.first().map_or("", |row| &row.name);
    let tower = (net.model.towers > 1).then_some(0);
    let expected = CONVENTIONS.map(|names| Naming::new(&net.model, names).name(first, tower, false)).join(", ");
    let found: Vec<&str> = file.keys().take(3).map(String::as_str).collect();
    CommandError::NoTensor { expected, found: found.join(", ") }
}

/// Initial values of the parts of `file_tensors`.
fn draw(net: &Net, file_tensors: &[&FileTensor], seed: u64) -> Vec<(String, Tensor)> {
    let lowered = lower(net, &Job::evaluation(1));
    let wanted = |name: &str| file_tensors.iter().any(|whole| whole.parts.iter().any(|part| part.name == name));
    let drawn = lowered.trained.iter().filter(|trained| wanted(&trained.name)).map(|trained| {
        let info = lowered.program.slot(trained.value);
        (trained.name.clone(), Tensor::new(info.shape.clone(), trained.draw(info.count(), seed)))
    });
    drawn.collect()
}

/// The mean image, `[size][size][3]`: the model's fixed means, else that of the file.
fn mean_image(model: &Model, file: &BTreeMap<String, Tensor>) -> Result<Tensor, CommandError> {
    let size = model.input.stored();
    if let Some(mean) = model.input.mean {
        return Ok(Tensor::new([size, size, 3], mean.repeat(size * size)));
    }
    let mean = shaped(file.get(MEAN).ok_or(CommandError::NoMeanInFile(size))?, [3, size, size])?;
    let pixel = |at: usize| [0, 1, 2].map(|colour| mean.values()[colour * size * size + at]);
    Ok(Tensor::new([size, size, 3], (0..size * size).flat_map(pixel).collect()))
}

/// An image `[size][size][3]` as planes `[3][size][size]`.
fn planes(image: &[f32], size: usize) -> Tensor {
    let plane = |colour: usize| image[colour..].iter().step_by(3).copied();
    Tensor::new([3, size, size], (0..3).flat_map(plane).collect())
}

/// Names of the classes, one for each of `outputs`: those given, else those of the file where they are as many, else
/// numbers.
fn class_names(
    given: Option<Vec<String>>,
    in_file: Option<Vec<String>>,
    outputs: usize,
) -> Result<Vec<String>, CommandError> {
    match given.or(in_file.filter(|names| names.len() == outputs)) {
        None => Ok((0..outputs).map(|class| class.to_string()).collect()),
        Some(names) if names.len() == outputs => Ok(names),
        Some(names) => Err(CommandError::Classes { names: names.len(), outputs }),
    }
}
