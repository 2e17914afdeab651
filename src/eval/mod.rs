//! Evaluation of checkpoints on a validation set, one alone or several as an ensemble, by one or ten views (sections 4.1
//! and 6 of the paper), and classification of single images.

mod confusion;
mod ensemble;
mod evaluator;
mod picture;
mod predictions;
mod scores;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::backend::Placement;

pub use self::confusion::Confusion;
use self::confusion::confusions;
use self::ensemble::{Mixture, searched};
pub use self::evaluator::{Classification, Evaluator, Viewing};
pub use self::picture::{Preprocessing, colour};
use self::predictions::File;
use self::scores::{Outcomes, scores};

/// What is to be evaluated, and how.
#[derive(Clone, Debug)]
pub struct Request {
    /// Checkpoints, run folders or ONNX files; several are an ensemble.
    pub checkpoints: Vec<PathBuf>,
    /// How images become inputs of ONNX files.
    pub preprocessing: Preprocessing,
    /// Data whose validation images are scored; the bundled sample where absent.
    pub data: Option<PathBuf>,
    /// How each image is looked at.
    pub viewing: Viewing,
    /// How much each network counts in the ensemble.
    pub weights: Weights,
    /// Images in a batch.
    pub batch: usize,
    /// Pairs of classes to be told that are taken for one another most often.
    pub confusions: usize,
    /// Where the probabilities go: .csv for the best labels, .safetensors for all of them.
    pub predictions: Option<PathBuf>,
}

/// How much each network of an ensemble counts.
#[derive(Clone, Debug, PartialEq)]
pub enum Weights {
    /// As much as every other.
    Equal,
    /// So much; only their ratios matter.
    Given(Vec<f64>),
    /// As is best on the very images that are scored, so that its error is too low by a little.
    Searched,
}

/// Errors on a validation set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Images that were scored.
    pub images: usize,
    /// Mean loss in nats, of all networks together by all views.
    pub loss: f64,
    /// Share of images whose best class is wrong, likewise.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong, likewise.
    pub top5_error: f64,
    /// The same of each network by one view and by all, and of all together.
    pub rows: Vec<Row>,
    /// What is most often taken for what, likewise.
    pub confusions: Vec<Confusion>,
    /// Where the last network ran.
    pub device: String,
    /// Images that could not be decoded, with the reason.
    pub skipped: Vec<String>,
}

/// One way to score the images.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The checkpoint, or `ensemble`.
    pub network: String,
    /// Steps after which it was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// How much it counts in the ensemble.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Views of each image, whose probabilities are averaged.
    pub views: usize,
    /// Mean loss in nats.
    pub loss: f64,
    /// Share of images whose best class is wrong.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong.
    pub top5_error: f64,
}

impl Row {
    fn new(network: &str, views: usize, outcomes: Outcomes) -> Self {
        let Outcomes { loss, top1_error, top5_error } = outcomes;
        Self { network: network.into(), steps: None, weight: None, views, loss, top1_error, top5_error }
    }
}

/// Evaluates checkpoints on `devices`, one after the other; `progress` is told how many views of how many are done.
///
/// # Errors
/// When a checkpoint does not fit its network, the data cannot be opened, has other classes or no images, weights are
/// not as many as checkpoints, predictions cannot be written, or a device fails.
pub fn evaluate(request: &Request, devices: &Placement, progress: &mut dyn FnMut(usize, usize)) -> Result<Evaluation> {
    let count = request.checkpoints.len();
    if let Weights::Given(weights) = &request.weights
        && (weights.len() != count || weights.iter().any(|weight| !(weight.is_finite() && *weight >= 0.0)))
    {
        bail!("--weights: {count} checkpoints need {count} weights of 0 or more");
    }
    let file = request.predictions.as_deref().map(File::new).transpose()?;
    let (mut rows, mut members) = (Vec::new(), Vec::with_capacity(count));
    let mut device = String::new();
    for (number, path) in request.checkpoints.iter().enumerate() {
        let name = path.display().to_string();
        let mut evaluator = Evaluator::open(path, &request.preprocessing, request.batch, devices)?;
        let mut told = |done: usize, all: usize| progress(number * all + done, count * all);
        let member = evaluator.predict(request.data.as_deref(), request.viewing, &mut told)?;
        let steps = evaluator.steps();
        if let Some(centre) = &member.centre {
            rows.push(Row { steps, ..Row::new(&name, 1, scores(centre, &member.images)) });
        }
        let views = request.viewing.count();
        rows.push(Row { steps, ..Row::new(&name, views, scores(&member.probabilities, &member.images)) });
        device = evaluator.device();
        members.push(member);
    }
    let Some(first) = members.first() else { bail!("there is no checkpoint to evaluate") };
    if let Some(other) = members.iter().position(|member| member.images != first.images) {
        let [a, b] = [0, other].map(|i| request.checkpoints[i].display());
        bail!("{a} and {b} were scored on different images: the data has changed in between");
    }
    let images = first.images.clone();
    let weights = match &request.weights {
        Weights::Equal => vec![1.0; count],
        Weights::Given(weights) => weights.clone(),
        Weights::Searched => searched(&members),
    };
    let mixture = Mixture::new(&members, &weights).context("--weights: one of them has to be more than 0")?;
    let together = scores(&mixture.probabilities, &images);
    if count > 1 {
        let per_member = rows.len() / count;
        for (row, i) in rows.iter_mut().zip((0..count).flat_map(|i| std::iter::repeat_n(i, per_member))) {
            row.weight = Some(mixture.weights[i]);
        }
        rows.push(Row::new("ensemble", request.viewing.count(), together));
    }
    if let Some(file) = file {
        file.write(&mixture.probabilities, &images)?;
    }
    let Outcomes { loss, top1_error, top5_error } = together;
    let confusions = confusions(&mixture.probabilities, &images, request.confusions);
    let (images, skipped) = (images.labels.len(), images.skipped);
    Ok(Evaluation { images, loss, top1_error, top5_error, rows, confusions, device, skipped })
}

/// A name for people where `path` is absent.
fn data_name(path: Option<&Path>) -> String {
    path.map_or_else(|| "the bundled sample".into(), |path| path.display().to_string())
}
