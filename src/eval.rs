//! Evaluation of a checkpoint on a validation set, and classification of single images.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::backend::Placement;
use crate::checkpoint::{Checkpoint, MEAN};
use crate::data::{Batch, Dataset, Loader, NO_LABEL, Plan, View, Views, centre_view, decode_file, decoding_threads};
use crate::layout::Request;
use crate::net::{Model, Net};
use crate::session::Session;
use crate::train::score;

/// A checkpoint's network, ready to evaluate.
pub struct Evaluator {
    session: Session,
    classes: Vec<String>,
    batch: usize,
    stored: usize,
    border2: u32,
}

/// Errors of a checkpoint on a validation set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Images that were scored.
    pub images: usize,
    /// Mean loss in nats.
    pub loss: f64,
    /// Share of images whose best class is wrong.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong.
    pub top5_error: f64,
    /// Images that could not be decoded, with the reason.
    pub skipped: Vec<String>,
}

/// The best classes of one image.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Classification {
    /// The image.
    pub image: String,
    /// Class and probability, best first.
    pub labels: Vec<(String, f32)>,
}

/// Labels that [`Evaluator::classify`] gives for an image.
const BEST: usize = 5;

impl Evaluator {
    /// Sets the network of `checkpoint` up on `devices` for batches of `batch` images.
    ///
    /// # Errors
    /// When the checkpoint's model or tensors do not belong together, or the network does not fit.
    pub fn new(checkpoint: &Checkpoint, batch: usize, devices: &Placement) -> Result<Self> {
        let model = Model::parse("the checkpoint's model", &checkpoint.state.model)?;
        let (stored, border2) =
            (model.input.stored(), (model.input.stored() - model.input.size.min(model.input.stored())) as u32);
        let net = Net::new(model)?;
        let classes = checkpoint.state.classes.clone();
        if classes.len() != net.classes() {
            bail!("the checkpoint names {} classes, its network has {} outputs", classes.len(), net.classes());
        }
        let mut session = Session::new(net, &Request::evaluation(batch), devices, checkpoint.state.seed)?;
        session.load(&checkpoint.tensors)?;
        let mean = checkpoint.tensors.get(MEAN).context("the checkpoint has no mean image")?;
        session.set_mean(mean.values())?;
        Ok(Self { session, classes, batch, stored, border2 })
    }

    /// Where it runs, for people.
    #[must_use]
    pub fn device(&self) -> String {
        self.session.device()
    }

    /// Scores the validation images of the data at `path` (the bundled sample where absent), one central view each.
    ///
    /// # Errors
    /// When the data cannot be opened, has other classes, or the device fails.
    pub fn evaluate(&mut self, path: Option<&Path>) -> Result<Evaluation> {
        let dataset = Dataset::open(path, self.stored)?;
        dataset.expect_classes(&self.classes)?;
        let order = (0..dataset.validation.len() as u32).collect();
        let views = Views::Centre { border2: self.border2 };
        let plan = Plan { order, start: 0, capacity: self.batch, views, threads: decoding_threads() };
        let loader = Loader::new(&dataset.validation, plan)?;
        let (score, skipped) = score(&mut self.session, loader)?;
        let (loss, top1_error, top5_error) = score.means();
        Ok(Evaluation { images: score.images, loss, top1_error, top5_error, skipped })
    }

    /// The five best classes of each image, by its central view.
    ///
    /// # Errors
    /// When an image cannot be decoded; the message names it. Or when the device fails.
    pub fn classify(&mut self, paths: &[&Path]) -> Result<Vec<Classification>> {
        let mut results = Vec::with_capacity(paths.len());
        for paths in paths.chunks(self.batch) {
            let images: Result<Vec<_>, _> = paths.iter().map(|path| decode_file(path, self.stored)).collect();
            let batch = self.unlabelled(&images?);
            for (path, probabilities) in paths.iter().zip(self.session.probabilities(&batch)?) {
                results.push(Classification { image: path.display().to_string(), labels: self.best(&probabilities) });
            }
        }
        Ok(results)
    }

    fn unlabelled(&self, images: &[Vec<u8>]) -> Batch {
        let count = images.len();
        let view: View = centre_view(self.border2);
        Batch {
            images: images.concat(),
            labels: vec![NO_LABEL; count],
            views: vec![view; count],
            indices: vec![NO_LABEL; count],
            count,
            skipped: Vec::new(),
            next: count,
        }
    }

    fn best(&self, probabilities: &[f32]) -> Vec<(String, f32)> {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        order.into_iter().take(BEST).map(|class| (self.classes[class].clone(), probabilities[class])).collect()
    }
}
