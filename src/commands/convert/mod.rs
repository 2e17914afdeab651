//! Checkpoints to files of other programs, and back: weights by [`crate::interop`], and what else it takes to evaluate
//! them. Fixed means and scales belong to the model; a mean image goes along as the tensor `mean`, `[3][size][size]`,
//! class names as metadata.

mod file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use self::file::{CLASSES, read_layers, read_mean};
pub use self::file::{WeightsFile, read_weights};
use crate::checkpoint::{Checkpoint, MEAN, State};
use crate::files::{write_file, write_tensors};
use crate::interop::onnx::{self, ImageMetadata};
use crate::interop::{CONVENTIONS, Convention, FileTensor, Naming, Quantity, file_tensors, fit_classes};
use crate::net::{Job, Model, Net, lower};
use crate::tensor::Tensor;

/// Writes the weights of `checkpoint` to a safetensors file at `path`, under these names.
pub fn export(checkpoint: &Checkpoint, names: Convention, path: &Path) -> Result<()> {
    let net = Net::new(Model::parse("the checkpoint's model", &checkpoint.state.model)?)?;
    let naming = Naming::new(&net.model, names);
    let mut tensors = BTreeMap::new();
    for whole in file_tensors(&net, &naming)? {
        let tensor = whole.join(|name| checkpoint.tensors.get(name), Quantity::Weights);
        tensors.insert(whole.name, tensor.context("the checkpoint's tensors are not those of its model")?);
    }
    if net.model.input.mean.is_none() {
        let mean = checkpoint.tensors.get(MEAN).context("the checkpoint has no mean image")?;
        let size = net.model.input.stored();
        if mean.shape() != [size, size, 3] {
            bail!("the checkpoint's mean image has shape {:?}, not {:?}", mean.shape(), [size, size, 3]);
        }
        tensors.insert(MEAN.into(), planes(mean.values(), size));
    }
    let classes = serde_json::to_string(&checkpoint.state.classes)?;
    Ok(write_tensors(path, &tensors, Some((CLASSES, classes)))?)
}

/// Writes the network of `checkpoint` with its weights to an ONNX file at `path`. It takes images as the network sees
/// them; of a mean image the file tells the means by colour.
pub fn export_onnx(checkpoint: &Checkpoint, path: &Path) -> Result<()> {
    let net = Net::new(Model::parse("the checkpoint's model", &checkpoint.state.model)?)?;
    let mean = match net.model.input.mean {
        Some(mean) => mean,
        None => colour_means(checkpoint.tensors.get(MEAN).context("the checkpoint has no mean image")?.values()),
    };
    let facts = ImageMetadata { mean, classes: serde_json::to_string(&checkpoint.state.classes)? };
    let file = onnx::write(&net, |name| checkpoint.tensors.get(name), &facts);
    let file = file.context("the checkpoint's tensors are not those of its model")?;
    Ok(write_file(path, &file)?)
}

/// Means of the colours of an image, colours innermost.
fn colour_means(image: &[f32]) -> [f32; 3] {
    [0, 1, 2].map(|colour| {
        let values = || image.iter().skip(colour).step_by(3).map(|&value| f64::from(value));
        (values().sum::<f64>() / values().count().max(1) as f64) as f32
    })
}

/// What is to become a checkpoint.
#[derive(Clone, Debug)]
pub struct Import {
    /// A file that [`read_weights`] reads.
    pub file: PathBuf,
    /// The network whose weights it holds; its last layer gets the file's outputs, or as many as there are classes.
    pub model: Model,
    /// Names of the classes; those in the file, else their numbers, where absent.
    pub classes: Option<Vec<String>>,
    /// Means of red, green and blue instead of the model's or the file's.
    pub mean: Option<[f32; 3]>,
    /// A file of Caffe with a mean image or means by colour, instead of the model's or the file's.
    pub mean_file: Option<PathBuf>,
    /// A network of Caffe as text, which the model must agree with.
    pub prototxt: Option<PathBuf>,
    /// Tensors that are missing are drawn, as for training, from this seed.
    pub missing: Option<u64>,
}

/// A checkpoint from a file.
#[derive(Clone, Debug)]
pub struct Imported {
    /// It.
    pub checkpoint: Checkpoint,
    /// Tensors that were drawn, by the file's names.
    pub drawn: Vec<String>,
    /// Tensors of the file that stand for nothing in the network.
    pub unused: Vec<String>,
}

impl Import {
    /// Reads the file.
    pub fn read(mut self) -> Result<Imported> {
        let path = self.file.display().to_string();
        let WeightsFile { tensors: mut file, classes, layers } = read_weights(&self.file)?;
        let mean = self.mean_file.as_deref().map(read_mean).transpose()?;
        match mean {
            Some(mean) if mean.shape() == [3] => self.model.input.mean = <[f32; 3]>::try_from(mean.values()).ok(),
            Some(mean) => {
                self.model.input.mean = None;
                file.insert(MEAN.into(), mean);
            }
            None => self.model.input.mean = self.mean.or(self.model.input.mean),
        }
        self.classes.iter().for_each(|classes| self.model.fit_classes(classes.len()));
        fit_classes(&mut self.model, &file);
        let net = Net::new(self.model)?;
        if let Some(layers) = &layers {
            layers.agrees_with(&net.model).with_context(|| path.clone())?;
            layers.ungroup(&net, &mut file)?;
        }
        if let Some(path) = &self.prototxt {
            read_layers(path)?.agrees_with(&net.model).with_context(|| path.display().to_string())?;
        }
        let mut weights = CheckpointWeights::of(&net, &file, self.missing).with_context(|| path.clone())?;
        let mean = mean_image(&net.model, &file).with_context(|| path.clone())?;
        weights.tensors.insert(MEAN.into(), mean);
        let classes = class_names(self.classes, classes.as_deref(), net.classes()).with_context(|| path.clone())?;
        let known = |name: &String| {
            weights.file_tensors.iter().any(|whole| whole.name == *name)
                || name == MEAN && net.model.input.mean.is_none()
        };
        let unused = file.keys().filter(|name| !known(name)).cloned().collect();
        let (model, seed) = (toml::to_string(&net.model)?, self.missing.unwrap_or_default());
        let state = State { model, classes, seed, ..State::default() };
        let checkpoint = Checkpoint { tensors: weights.tensors, state };
        Ok(Imported { checkpoint, drawn: weights.drawn, unused })
    }
}

/// Weights of a network out of a file of other names and another layout.
#[derive(Clone, Debug)]
pub struct CheckpointWeights {
    /// By the network's names.
    pub tensors: BTreeMap<String, Tensor>,
    /// What the file has, or should have.
    pub file_tensors: Vec<FileTensor>,
    /// Tensors that were drawn, by the file's names.
    pub drawn: Vec<String>,
}

impl CheckpointWeights {
    /// The weights of `net` in `file`; those that are missing are drawn from a seed if there is one.
    pub fn of(net: &Net, file: &BTreeMap<String, Tensor>, seed: Option<u64>) -> Result<Self> {
        let Some(naming) = Naming::of(net, file) else { bail!(strange(net, file)) };
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
            None if !drawn.is_empty() => bail!("there is no tensor {}, which this network needs", drawn.join(", ")),
            None => (),
        }
        Ok(Self { tensors, file_tensors, drawn })
    }
}

/// Refusal of a file without any tensor of a network.
fn strange(net: &Net, file: &BTreeMap<String, Tensor>) -> String {
    let first = net.model.layers.first().map_or("", |row| &row.name);
    let tower = (net.model.towers > 1).then_some(0);
    let wanted = CONVENTIONS.map(|names| Naming::new(&net.model, names).name(first, tower, false)).join(", ");
    let found: Vec<&str> = file.keys().take(3).map(String::as_str).collect();
    format!("no tensor of this network in the file; expected names like {wanted}, found {}", found.join(", "))
}

/// Initial values of the parts of some tensors.
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
fn mean_image(model: &Model, file: &BTreeMap<String, Tensor>) -> Result<Tensor> {
    let size = model.input.stored();
    if let Some(mean) = model.input.mean {
        return Ok(Tensor::new([size, size, 3], mean.repeat(size * size)));
    }
    let Some(mean) = file.get(MEAN) else {
        bail!(
            "there is no mean image (a tensor {MEAN} of [3, {size}, {size}]): say --mean-file FILE or --mean R,G,B, 0,0,0 for none"
        );
    };
    if mean.shape() != [3, size, size] {
        bail!("tensor {MEAN} has shape {:?}, this network needs {:?}", mean.shape(), [3, size, size]);
    }
    let pixel = |at: usize| [0, 1, 2].map(|colour| mean.values()[colour * size * size + at]);
    Ok(Tensor::new([size, size, 3], (0..size * size).flat_map(pixel).collect()))
}

/// An image of `size` x `size` pixels, colours outermost instead of innermost.
fn planes(image: &[f32], size: usize) -> Tensor {
    let plane = |colour: usize| image[colour..].iter().step_by(3).copied();
    Tensor::new([3, size, size], (0..3).flat_map(plane).collect())
}

/// The names of `count` classes: as said, or as the file's metadata have them, or their numbers.
fn class_names(said: Option<Vec<String>>, metadata: Option<&str>, count: usize) -> Result<Vec<String>> {
    let told = metadata.map(serde_json::from_str).transpose().context("its class names are damaged")?;
    match said.or(told) {
        None => Ok((0..count).map(|class| class.to_string()).collect()),
        Some(names) if names.len() == count => Ok(names),
        Some(names) => bail!("there are {} class names for {count} outputs", names.len()),
    }
}
