//! One network of a checkpoint, which gives class probabilities.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use super::data_name;
use super::picture::{Picture, Preprocessing};
use super::scores::ranking;
use crate::backend::Placement;
use crate::checkpoint::{Checkpoint, MEAN};
use crate::data::{
    Batch, DataError, Dataset, Loader, NO_LABEL, Plan, View, Views, centre_view, decode_file, decoding_threads,
    ten_views,
};
use crate::net::{Model, Net};
use crate::session::Session;
use crate::session::layout::Request;

/// How an image is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewing {
    /// Its centre.
    Centre,
    /// Its corners and its centre, each mirrored besides; the probabilities are averaged.
    Ten,
}

impl Viewing {
    /// Views of an image.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Centre => 1,
            Self::Ten => 10,
        }
    }

    /// Where the crops lie; `border2` is the stored side less the crop's.
    fn views(self, border2: u32) -> Vec<View> {
        match self {
            Self::Centre => vec![centre_view(border2)],
            Self::Ten => ten_views(border2).into(),
        }
    }
}

/// A network, ready to evaluate.
pub struct Evaluator {
    network: Network,
    classes: Vec<String>,
    /// Whether the classes have names of their own, which those of data must be.
    named: bool,
    batch: usize,
    stored: usize,
    border2: u32,
}

/// What gives probabilities.
enum Network {
    /// A checkpoint's, after so many steps.
    Trained(Box<Session>, u64),
    /// An ONNX file's.
    Picture(Box<Picture>),
}

impl Network {
    fn probabilities(&mut self, batch: &Batch) -> Result<Vec<f32>> {
        match self {
            Self::Trained(session, _) => Ok(session.probabilities(batch)?.concat()),
            Self::Picture(picture) => picture.probabilities(batch),
        }
    }
}

/// The best classes of one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classification {
    /// The image.
    pub image: String,
    /// Class and probability, best first.
    pub labels: Vec<(String, f32)>,
}

/// The images of a validation set that could be decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Images {
    /// What they are called.
    pub(super) names: Vec<String>,
    /// Their classes.
    pub(super) labels: Vec<u32>,
    /// Names of the classes.
    pub(super) classes: Vec<String>,
    /// Those that could not, with the reason.
    pub(super) skipped: Vec<String>,
}

/// What a network makes of a validation set.
pub(super) struct Predictions {
    /// `[images][classes]`, averaged over all views.
    pub(super) probabilities: Vec<f32>,
    /// The same of the central view alone, where there are more.
    pub(super) centre: Option<Vec<f32>>,
    /// What they are of.
    pub(super) images: Images,
}

/// Labels that [`Evaluator::classify`] gives for an image.
const BEST: usize = 5;

impl Evaluator {
    /// Sets the network of a checkpoint, of a run folder or of an ONNX file, whose inputs are made as `preprocessing`
    /// says, up on `devices` for batches of `batch` images.
    ///
    /// # Errors
    /// When there is none, it is damaged or not from images to classes, or it does not fit; of a checkpoint's also when
    /// something is said of its preprocessing, which it knows itself.
    pub fn open(path: &Path, preprocessing: &Preprocessing, batch: usize, devices: &Placement) -> Result<Self> {
        if path.extension().is_some_and(|extension| extension == "onnx") {
            let picture = Picture::open(path, preprocessing, batch, devices)?;
            let (stored, border2, named) = (picture.stored, picture.border2(), picture.names.is_some());
            let numbers = || (0..picture.classes).map(|class| class.to_string()).collect();
            let classes = picture.names.clone().unwrap_or_else(numbers);
            return Ok(Self { network: Network::Picture(Box::new(picture)), classes, named, batch, stored, border2 });
        }
        let path = Checkpoint::locate(path);
        if *preprocessing != Preprocessing::default() {
            bail!(
                "{} knows how images become its input: --mean, --scale and --stored are for ONNX files",
                path.display()
            );
        }
        let checkpoint = Checkpoint::read(&path)?;
        Self::new(&checkpoint, batch, devices).with_context(|| path.display().to_string())
    }

    /// Sets the network of `checkpoint` up on `devices` for batches of `batch` images.
    ///
    /// # Errors
    /// When the checkpoint's model or tensors do not belong together, or the network does not fit.
    pub fn new(checkpoint: &Checkpoint, batch: usize, devices: &Placement) -> Result<Self> {
        let model = Model::parse("the checkpoint's model", &checkpoint.state.model)?;
        let (stored, border2) = (model.input.stored(), model.input.border2());
        let net = Net::new(model)?;
        let classes = checkpoint.state.classes.clone();
        if classes.len() != net.classes() {
            bail!("the checkpoint names {} classes, its network has {} outputs", classes.len(), net.classes());
        }
        let mut session = Session::new(net, &Request::evaluation(batch), devices, checkpoint.state.seed)?;
        session.load(&checkpoint.tensors)?;
        let mean = checkpoint.tensors.get(MEAN).context("the checkpoint has no mean image")?;
        session.set_mean(mean.values())?;
        let network = Network::Trained(Box::new(session), checkpoint.state.step);
        Ok(Self { network, classes, named: true, batch, stored, border2 })
    }

    /// Where it runs, for people.
    #[must_use]
    pub fn device(&self) -> String {
        match &self.network {
            Network::Trained(session, _) => session.device(),
            Network::Picture(picture) => picture.device(),
        }
    }

    /// Steps after which it was saved, where that is known.
    #[must_use]
    pub fn steps(&self) -> Option<u64> {
        if let Network::Trained(_, steps) = self.network { Some(steps) } else { None }
    }

    /// Class probabilities of the validation images of the data at `path` (the bundled sample where absent); `told` how
    /// many views of how many are done.
    pub(super) fn predict(
        &mut self,
        path: Option<&Path>,
        viewing: Viewing,
        told: &mut dyn FnMut(usize, usize),
    ) -> Result<Predictions> {
        let dataset = Dataset::open(path, self.stored)?;
        if !self.named && dataset.classes.len() == self.classes.len() {
            self.classes.clone_from(&dataset.classes);
        }
        dataset.expect_classes(&self.classes).with_context(|| data_name(path))?;
        let split = &dataset.validation;
        let order: Vec<u32> = (0..split.len() as u32).collect();
        let centre = Views::Centre { border2: self.border2 };
        let plan = Plan { order, start: 0, capacity: self.batch, views: centre, threads: decoding_threads() };
        let views = viewing.views(self.border2);
        let all = split.len() * views.len();
        let mut images = Images { classes: self.classes.clone(), ..Images::default() };
        let (mut probabilities, mut central) = (Vec::new(), Vec::new());
        for mut batch in Loader::new(split, plan)? {
            images.skipped.append(&mut batch.skipped);
            let indices = &batch.indices[..batch.count];
            images.names.extend(indices.iter().map(|&index| split.name(index as usize)));
            images.labels.extend_from_slice(&batch.labels[..batch.count]);
            let (mean, of_centre) = self.look(&mut batch, &views)?;
            probabilities.extend(mean);
            central.extend(of_centre);
            told(batch.next * views.len(), all);
        }
        if images.labels.is_empty() {
            let first = images.skipped.first().cloned().unwrap_or_default();
            return Err(DataError::NoImage { count: images.skipped.len(), first }.into());
        }
        Ok(Predictions { probabilities, centre: (views.len() > 1).then_some(central), images })
    }

    /// The probabilities of a batch, `[images][classes]`, averaged over `views` and of the central one alone.
    fn look(&mut self, batch: &mut Batch, views: &[View]) -> Result<(Vec<f32>, Vec<f32>)> {
        let mut sums = vec![0.0_f64; batch.count * self.classes.len()];
        let mut central = Vec::new();
        for &view in views {
            batch.views.fill(view);
            let probabilities = self.network.probabilities(batch)?;
            sums.iter_mut().zip(&probabilities).for_each(|(sum, &p)| *sum += f64::from(p));
            if view == centre_view(self.border2) {
                central = probabilities;
            }
        }
        let mean = sums.into_iter().map(|sum| (sum / views.len() as f64) as f32).collect();
        Ok((mean, central))
    }

    /// The five best classes of each image.
    ///
    /// # Errors
    /// When an image cannot be decoded; the message names it. Or when the device fails.
    pub fn classify(&mut self, paths: &[&Path], viewing: Viewing) -> Result<Vec<Classification>> {
        let views = viewing.views(self.border2);
        let mut results = Vec::with_capacity(paths.len());
        for paths in paths.chunks(self.batch) {
            let images: Result<Vec<_>, _> = paths.iter().map(|path| decode_file(path, self.stored)).collect();
            let (probabilities, _) = self.look(&mut unlabelled(&images?), &views)?;
            for (path, probabilities) in paths.iter().zip(probabilities.chunks(self.classes.len())) {
                results.push(Classification { image: path.display().to_string(), labels: self.best(probabilities) });
            }
        }
        Ok(results)
    }

    fn best(&self, probabilities: &[f32]) -> Vec<(String, f32)> {
        let order = ranking(probabilities).into_iter().take(BEST);
        order.map(|class| (self.classes[class].clone(), probabilities[class])).collect()
    }
}

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
impl Images {
    /// Images of these classes out of so many.
    pub(super) fn example(labels: &[u32], classes: usize) -> Self {
        Self {
            names: (0..labels.len()).map(|i| format!("image {i}")).collect(),
            labels: labels.to_vec(),
            classes: (0..classes).map(|class| format!("class {class}")).collect(),
            skipped: Vec::new(),
        }
    }
}
