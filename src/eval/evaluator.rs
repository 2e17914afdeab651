//! Class probabilities of images, from the network of a checkpoint or of an ONNX file.

use std::collections::HashSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::classifier::{OnnxClassifier, Preprocessing};
use super::data_name;
use super::error::EvalError;
use super::metrics::ranking;
use super::views::{Averaged, TestViews, average};
use crate::backend::Placement;
use crate::checkpoint::{Checkpoint, MEAN};
use crate::data::{
    Batch, DataError, ImageError, Labelled, Loader, LoaderOptions, NO_LABEL, View, Views, decode_file,
    decoding_threads, described, named_by,
};
use crate::net::{Job, Kinds, LAYERS, Net};
use crate::ranks::{Ranks, RanksError};
use crate::session::Session;

/// Network on its devices, ready to evaluate.
pub struct Evaluator {
    network: Network,
    classes: Vec<String>,
    /// Names of the classes in results.
    shown: Vec<String>,
    /// Whether the file names its classes, which then must be those of the data.
    named: bool,
    /// Images in a batch.
    batch: usize,
    /// Side of the images in pixels.
    stored: usize,
    /// Side of the images less that of the network's input, in pixels.
    border2: u32,
}

/// A network that gives probabilities of classes.
enum Network {
    /// Network of a checkpoint, and the steps that it was trained for.
    Trained(Box<Session>, u64),
    /// Network of an ONNX file.
    Onnx(Box<OnnxClassifier>),
}

impl Network {
    fn probabilities(&mut self, batch: &Batch) -> Result<Vec<f32>, EvalError> {
        match self {
            Self::Trained(session, _) => Ok(session.probabilities(batch)?.concat()),
            Self::Onnx(classifier) => classifier.probabilities(batch),
        }
    }
}

/// Best classes of one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classification {
    /// Path of the image.
    pub image: String,
    /// Classes with their probabilities, best first.
    pub labels: Vec<(String, f32)>,
}

/// Place of an image in its data.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub(super) struct Place {
    /// Number of the image in its data, from 0.
    pub(super) index: u32,
    /// Name of its file, where it has one.
    pub(super) file: Option<String>,
}

/// Images of a validation set that could be decoded, with their labels.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
pub(super) struct LabelledImages {
    /// Name of each image.
    pub(super) names: Vec<String>,
    /// Class of each image, an index of `classes`.
    pub(super) labels: Vec<u32>,
    /// Names of the classes.
    pub(super) classes: Vec<String>,
    /// Place of each image.
    pub(super) places: Vec<Place>,
    /// Images that could not be decoded, with the reason.
    pub(super) skipped: Vec<String>,
    /// Places of the images that could not be decoded, by their numbers.
    pub(super) lost: Vec<Place>,
}

/// Probabilities that a network gives for a validation set.
pub(super) struct Predictions {
    /// Probabilities `[images][classes]`, averaged over all views.
    pub(super) probabilities: Vec<f32>,
    /// The same for the central view alone, where there are more.
    pub(super) centre: Option<Vec<f32>>,
    /// Images that were scored.
    pub(super) images: LabelledImages,
}

impl Predictions {
    /// Predictions of all ranks for their shares of the images, in the order of the ranks.
    fn of_all(self, ranks: &Ranks) -> Result<Self, EvalError> {
        if ranks.size() == 1 {
            return Ok(self);
        }
        let floats = |own: Vec<f32>| -> Result<Vec<f32>, RanksError> {
            Ok(bytemuck::pod_collect_to_vec(&ranks.gather(bytemuck::cast_slice(&own).to_vec())?.concat()))
        };
        let mut own = self.images;
        let mut images = LabelledImages { classes: std::mem::take(&mut own.classes), ..LabelledImages::default() };
        let own = serde_json::to_vec(&own).map_err(|_| RanksError::Different)?;
        for share in ranks.gather(own)? {
            let share: LabelledImages = serde_json::from_slice(&share).map_err(|_| RanksError::Different)?;
            images.names.extend(share.names);
            images.labels.extend(share.labels);
            images.places.extend(share.places);
            images.skipped.extend(share.skipped);
            images.lost.extend(share.lost);
        }
        let centre = self.centre.map(floats).transpose()?;
        Ok(Self { probabilities: floats(self.probabilities)?, centre, images })
    }
}

/// Count of labels that [`Evaluator::classify`] gives for an image.
const BEST: usize = 5;

impl Evaluator {
    /// Sets up the network of a checkpoint, of a run folder or of an ONNX file on `devices`, for batches of `batch`
    /// images; `preprocessing` is for ONNX files alone.
    pub fn open(
        path: &Path,
        preprocessing: &Preprocessing,
        batch: usize,
        devices: &Placement,
    ) -> Result<Self, EvalError> {
        if path.extension().is_some_and(|extension| extension == "onnx") {
            let network = OnnxClassifier::open(path, preprocessing, batch, devices)?;
            let (stored, border2, named) = (network.stored, network.border2(), network.names.is_some());
            let numbers = || (0..network.classes).map(|class| class.to_string()).collect();
            let classes = network.names.clone().unwrap_or_else(numbers);
            let (shown, network) = (classes.clone(), Network::Onnx(Box::new(network)));
            return Ok(Self { network, classes, shown, named, batch, stored, border2 });
        }
        let path = Checkpoint::locate(path);
        if *preprocessing != Preprocessing::default() {
            return Err(EvalError::Preprocessed(path));
        }
        let checkpoint = Checkpoint::read(&path)?;
        Self::new(&checkpoint, batch, devices).map_err(|error| error.within(&path.display()))
    }

    /// Sets up the network of `checkpoint` on `devices`, for batches of `batch` images.
    pub fn new(checkpoint: &Checkpoint, batch: usize, devices: &Placement) -> Result<Self, EvalError> {
        Self::with_layers(checkpoint, LAYERS, batch, devices)
    }

    /// The same for a network with layers of `kinds`, [`LAYERS`] and others.
    pub fn with_layers(
        checkpoint: &Checkpoint,
        kinds: Kinds,
        batch: usize,
        devices: &Placement,
    ) -> Result<Self, EvalError> {
        checkpoint.expect_finite()?;
        let model = checkpoint.state.model(kinds)?;
        let (stored, border2) = (model.input.stored(), model.input.border2());
        let net = Net::new(model)?;
        let classes = checkpoint.state.classes.clone();
        if classes.len() != net.classes() {
            return Err(EvalError::Classes { names: classes.len(), outputs: net.classes() });
        }
        let mut session = Session::new(net, &Job::evaluation(batch), devices, checkpoint.state.seed)?;
        session.load(&checkpoint.tensors)?;
        let mean = checkpoint.tensors.get(MEAN).ok_or(EvalError::NoMean)?;
        session.set_mean(mean.values())?;
        let network = Network::Trained(Box::new(session), checkpoint.state.step);
        let shown = classes.clone();
        Ok(Self { network, classes, shown, named: true, batch, stored, border2 })
    }

    /// Names of its devices, for people.
    pub fn device(&self) -> String {
        match &self.network {
            Network::Trained(session, _) => session.device(),
            Network::Onnx(classifier) => classifier.device(),
        }
    }

    /// Steps that a checkpoint was trained for.
    pub fn steps(&self) -> Option<u64> {
        if let Network::Trained(_, steps) = self.network { Some(steps) } else { None }
    }

    /// Class probabilities of the validation images of the data at `path`, or of the bundled sample; `progress` gets
    /// the views that are done, and all.
    pub(super) fn predict(
        &mut self,
        path: Option<&Path>,
        viewing: TestViews,
        ranks: &Ranks,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Predictions, EvalError> {
        let data = Labelled::open(path, self.stored)?;
        if !self.named && data.classes.len() == self.classes.len() {
            self.classes.clone_from(&data.classes);
            self.shown.clone_from(&self.classes);
        }
        let data = self.arranged(data).map_err(|error| error.within(&data_name(path)))?;
        let split = &data.images;
        // Shares of the ranks lie side by side, so that together they are in the order of the data.
        let bound = |rank: usize| (split.len() * rank / ranks.size()) as u32;
        let share = bound(ranks.rank())..bound(ranks.rank() + 1);
        let order: Vec<u32> = share.clone().collect();
        let centre = Views::Centre { border2: self.border2 };
        let views = viewing.views(self.border2);
        let all = order.len() * views.len();
        let place = |index: u32| Place { index, file: split.file_name(index as usize) };
        let plan = LoaderOptions { order, start: 0, capacity: self.batch, views: centre, threads: decoding_threads() };
        let mut images = LabelledImages { classes: self.shown.clone(), ..LabelledImages::default() };
        let (mut probabilities, mut central) = (Vec::new(), Vec::new());
        for batch in Loader::new(split, plan)? {
            let mut batch = batch?;
            images.skipped.append(&mut batch.skipped);
            let indices = batch.indices[..batch.count].to_vec();
            images.names.extend(indices.iter().map(|&index| split.name(index as usize)));
            images.places.extend(indices.iter().map(|&index| place(index)));
            images.labels.extend_from_slice(&batch.labels[..batch.count]);
            let Averaged { mean, centre } =
                average(&mut batch, &views, self.border2, |batch| self.network.probabilities(batch))?;
            for (&index, probabilities) in indices.iter().zip(mean.chunks(self.classes.len())) {
                self.expect_finite(&split.name(index as usize), probabilities)?;
            }
            probabilities.extend(mean);
            central.extend(centre);
            progress(batch.next * views.len(), all);
        }
        let decoded: HashSet<u32> = images.places.iter().map(|place| place.index).collect();
        images.lost = share.filter(|index| !decoded.contains(index)).map(place).collect();
        let found = Predictions { probabilities, centre: (views.len() > 1).then_some(central), images };
        let found = found.of_all(ranks)?;
        let images = &found.images;
        if images.labels.is_empty() {
            let first = images.skipped.first().cloned().unwrap_or_default();
            return Err(DataError::NoImage { count: images.skipped.len(), first }.into());
        }
        Ok(found)
    }

    /// The images with labels among the network's classes, by the names in its file or else those for people.
    fn arranged(&self, data: Labelled) -> Result<Labelled, EvalError> {
        let given = self.shown != self.classes;
        let numbers = || self.classes.iter().enumerate().all(|(i, name)| *name == i.to_string());
        match data.clone().arranged(&self.classes) {
            Ok(arranged) => Ok(arranged),
            Err(error) if given => data.arranged(&self.shown).map_err(|_| error.into()),
            Err(_) if numbers() => Err(EvalError::Nameless(self.classes.len())),
            Err(error) => Err(error.into()),
        }
    }

    /// Names the classes for people, as the lines of a file do.
    pub fn name_classes(&mut self, file: &Path) -> Result<(), EvalError> {
        self.shown = named_by(&self.classes, file)?;
        Ok(())
    }

    /// Five best classes of each image, or the reason, which names the image, why it cannot be decoded.
    ///
    /// # Errors
    /// When a device fails.
    pub fn classify(
        &mut self,
        paths: &[&Path],
        viewing: TestViews,
    ) -> Result<Vec<Result<Classification, ImageError>>, EvalError> {
        let views = viewing.views(self.border2);
        let mut results = Vec::with_capacity(paths.len());
        for paths in paths.chunks(self.batch) {
            let mut images = Vec::with_capacity(paths.len());
            let mut decode = |path: &Path| decode_file(path, self.stored).map(|pixels| images.push(pixels));
            let decoded: Vec<Result<(), ImageError>> = paths.iter().map(|path| decode(path)).collect();
            let probabilities = if images.is_empty() {
                Vec::new()
            } else {
                let mut batch = unlabelled(&images);
                average(&mut batch, &views, self.border2, |batch| self.network.probabilities(batch))?.mean
            };
            let mut rows = probabilities.chunks(self.classes.len());
            for (path, decoded) in paths.iter().zip(decoded) {
                let image = path.display().to_string();
                let Err(error) = decoded else {
                    let probabilities = rows.next().unwrap_or_default();
                    self.expect_finite(&image, probabilities)?;
                    results.push(Ok(Classification { image, labels: self.best(probabilities) }));
                    continue;
                };
                results.push(Err(error));
            }
        }
        Ok(results)
    }

    /// Refuses probabilities of `image` that are not numbers.
    fn expect_finite(&self, image: &str, probabilities: &[f32]) -> Result<(), EvalError> {
        match probabilities.iter().position(|p| !p.is_finite()) {
            None => Ok(()),
            Some(class) => Err(EvalError::NotFinite {
                image: image.into(),
                class: self.classes[class].clone(),
                value: probabilities[class],
            }),
        }
    }

    fn best(&self, probabilities: &[f32]) -> Vec<(String, f32)> {
        let order = ranking(probabilities).into_iter().take(BEST);
        order.map(|class| (described(&self.shown[class]).to_owned(), probabilities[class])).collect()
    }
}

/// Batch of decoded images without labels.
fn unlabelled(images: &[Vec<u8>]) -> Batch {
    let count = images.len();
    Batch {
        images: images.concat(),
        labels: vec![NO_LABEL; count],
        views: vec![View::default(); count],
        indices: vec![NO_LABEL; count],
        count,
        skipped: Vec::new(),
        next: count,
    }
}

#[cfg(test)]
impl LabelledImages {
    /// Images of these labels, out of `classes` classes.
    pub(super) fn example(labels: &[u32], classes: usize) -> Self {
        Self {
            names: (0..labels.len()).map(|i| format!("image {i}")).collect(),
            labels: labels.to_vec(),
            classes: (0..classes).map(|class| format!("class {class}")).collect(),
            places: (0..labels.len() as u32).map(|index| Place { index, file: None }).collect(),
            ..Self::default()
        }
    }
}
