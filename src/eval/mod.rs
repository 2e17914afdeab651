//! Evaluation of networks on a validation set, alone or as an ensemble, by one or ten views (sections 4.1 and 6 of the
//! paper), and classification of single images.

mod answers;
mod classifier;
mod confusion;
mod ensemble;
mod error;
mod evaluator;
mod predictions;
mod metrics;
mod paper;
mod survey;
mod views;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::backend::Placement;
use crate::checkpoint::Checkpoint;
use crate::data::located;
use crate::files::{FileError, read_text};
use crate::ranks::Ranks;

pub use self::answers::{Answers, ClassErrors};
pub use self::classifier::{Preprocessing, colour, image_size};
pub use self::confusion::Confusion;
use self::confusion::confusions;
use self::ensemble::{Mixture, searched};
pub use self::error::{ColourError, EvalError, SizeError};
pub use self::evaluator::{Classification, Evaluator};
use self::metrics::{Scores, scores};
pub use self::paper::{CONTEST_CLASSES, PAPER, PaperRow};
use self::predictions::PredictionFile;
pub use self::survey::{Activity, Survey, Surveyor};
pub use self::views::TestViews;

/// Networks and data of an evaluation, and its options.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// Checkpoints, run folders or ONNX files; several are an ensemble.
    pub checkpoints: Vec<PathBuf>,
    /// Checkpoints in place of files among them that hold weights of other programs.
    pub imported: BTreeMap<PathBuf, Checkpoint>,
    /// Conversion of images to inputs of ONNX files.
    pub preprocessing: Preprocessing,
    /// Data whose validation images are scored; where absent those of the run that a network comes from, else the
    /// bundled sample.
    pub data: Option<PathBuf>,
    /// File of names of the classes.
    pub classes: Option<PathBuf>,
    /// Views of each image, whose probabilities are averaged.
    pub viewing: TestViews,
    /// Weights of the networks in the ensemble.
    pub weights: EnsembleWeights,
    /// Images in a batch.
    pub batch: usize,
    /// Most pairs of classes to report that are mistaken for one another.
    pub confusions: usize,
    /// File for probabilities: .csv for those of the best labels, .safetensors for all.
    pub predictions: Option<PathBuf>,
}

/// Weights of the networks of an ensemble.
#[derive(Clone, Debug, PartialEq)]
pub enum EnsembleWeights {
    /// The same weight for every network.
    Equal,
    /// Weights of 0 or more, one for each network; only their ratios matter.
    Given(Vec<f64>),
    /// Weights that err least on the very images that are scored, so that the error is a little too low.
    Searched,
}

/// Errors on a validation set.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Count of the images that were scored.
    pub images: usize,
    /// Mean cross-entropy in nats, of all networks together by all views.
    pub loss: f64,
    /// Share of images whose best class is wrong, likewise.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong, likewise.
    pub top5_error: f64,
    /// Scores of each network by one view and by all, and of all together.
    pub rows: Vec<ScoreRow>,
    /// Most frequent confusions, likewise.
    pub confusions: Vec<Confusion>,
    /// Devices of the last network.
    pub device: String,
    /// Images that could not be decoded, with the reason.
    pub skipped: Vec<String>,
    /// Best classes of every image, of all networks together.
    #[serde(skip)]
    pub answers: Answers,
}

/// Scores of one network, or of the ensemble, by some views.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScoreRow {
    /// Path of the network, or `ensemble`.
    pub network: String,
    /// Steps that it was trained for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Weight in the ensemble; the sum of all is 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Count of views of each image, whose probabilities are averaged.
    pub views: usize,
    /// Mean cross-entropy in nats.
    pub loss: f64,
    /// Share of images whose best class is wrong.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong.
    pub top5_error: f64,
}

impl ScoreRow {
    fn new(network: &str, views: usize, scores: Scores) -> Self {
        let Scores { loss, top1_error, top5_error } = scores;
        Self { network: network.into(), steps: None, weight: None, views, loss, top1_error, top5_error }
    }
}

/// Evaluates networks on `devices`, one after the other; `progress` gets the views that are done, and all.
pub fn evaluate(
    request: &EvalOptions,
    devices: &Placement,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, EvalError> {
    evaluate_among(request, &Ranks::alone(), devices, progress)
}

/// The same on one of several ranks: each computes its own share of the images, all of them get the result, and the
/// first writes what is to be written.
pub fn evaluate_among(
    request: &EvalOptions,
    ranks: &Ranks,
    devices: &Placement,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Evaluation, EvalError> {
    let count = request.checkpoints.len();
    if let EnsembleWeights::Given(weights) = &request.weights
        && (weights.len() != count || weights.iter().any(|weight| !(weight.is_finite() && *weight >= 0.0)))
    {
        return Err(EvalError::Weights(count));
    }
    let file = request.predictions.as_deref().filter(|_| ranks.is_first()).map(PredictionFile::new).transpose()?;
    let (mut rows, mut members) = (Vec::new(), Vec::with_capacity(count));
    let mut device = String::new();
    for (number, path) in request.checkpoints.iter().enumerate() {
        let name = path.display().to_string();
        let mut evaluator = match request.imported.get(path) {
            Some(checkpoint) => Evaluator::new(checkpoint, request.batch, devices)?,
            None => Evaluator::open(path, &request.preprocessing, request.batch, devices)?,
        };
        let mut progress = |done: usize, all: usize| progress(number * all + done, count * all);
        let data = data_for(request.data.as_deref(), path)?;
        if let Some(file) = &request.classes {
            evaluator.name_classes(file)?;
        }
        let member = evaluator.predict(data.as_deref(), request.viewing, ranks, &mut progress)?;
        let steps = evaluator.steps();
        if let Some(centre) = &member.centre {
            rows.push(ScoreRow { steps, ..ScoreRow::new(&name, 1, scores(centre, &member.images)) });
        }
        let views = request.viewing.count();
        rows.push(ScoreRow { steps, ..ScoreRow::new(&name, views, scores(&member.probabilities, &member.images)) });
        device = evaluator.device();
        members.push(member);
    }
    let first = members.first().ok_or(EvalError::NoCheckpoint)?;
    if let Some(other) = members.iter().position(|member| member.images != first.images) {
        let [first, other] = [0, other].map(|i| request.checkpoints[i].clone());
        return Err(EvalError::Images { first, other });
    }
    let images = first.images.clone();
    let weights = match &request.weights {
        EnsembleWeights::Equal => vec![1.0; count],
        EnsembleWeights::Given(weights) => weights.clone(),
        EnsembleWeights::Searched => searched(&members),
    };
    let mixture = Mixture::new(&members, &weights).ok_or(EvalError::NoWeight)?;
    let together = scores(&mixture.probabilities, &images);
    if count > 1 {
        let per_member = rows.len() / count;
        for (member_rows, &weight) in rows.chunks_mut(per_member).zip(&mixture.weights) {
            for row in member_rows {
                row.weight = Some(weight);
            }
        }
        rows.push(ScoreRow::new("ensemble", request.viewing.count(), together));
    }
    if let Some(file) = file {
        file.write(&mixture.probabilities, &images)?;
    }
    let Scores { loss, top1_error, top5_error } = together;
    let answers = Answers::new(&mixture.probabilities, &images);
    let confusions = confusions(&answers.counts(), &images.classes, request.confusions);
    let (images, skipped) = (images.labels.len(), images.skipped);
    Ok(Evaluation { images, loss, top1_error, top5_error, rows, confusions, device, skipped, answers })
}

/// Where the run was trained that a checkpoint belongs to, and on what.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Surroundings {
    data: Option<String>,
    working_folder: Option<PathBuf>,
    devices: Option<String>,
}

impl Surroundings {
    /// Of the run that the checkpoint or run folder at `path` belongs to; nothing where it is of no run.
    fn of(path: &Path) -> Result<Self, FileError> {
        let is_folder = match path.metadata() {
            Err(reason) if reason.kind() == ErrorKind::NotFound => false,
            found => found.map_err(FileError::read(path))?.is_dir(),
        };
        let Some(folder) = (if is_folder { Some(path) } else { path.parent() }) else { return Ok(Self::default()) };
        let path = folder.join("config.toml");
        let text = match read_text(&path) {
            Err(reason) if reason.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            text => text.map_err(FileError::read(&path))?,
        };
        // Beside a lone checkpoint another program's file may have that name.
        Ok(toml::from_str(&text).unwrap_or_default())
    }
}

/// Data of the run that the checkpoint or run folder at `path` belongs to; none where it is of no run.
///
/// # Errors
/// When the run's configuration is there and cannot be read.
pub fn run_data(path: &Path) -> Result<Option<PathBuf>, FileError> {
    let Surroundings { data, working_folder, .. } = Surroundings::of(path)?;
    Ok(data.map(|data| located(Path::new(&data), working_folder.as_deref())))
}

/// Devices that were named for the run that the checkpoint or run folder at `path` belongs to.
///
/// # Errors
/// As [`run_data`].
pub fn run_devices(path: &Path) -> Result<Option<String>, FileError> {
    Ok(Surroundings::of(path)?.devices)
}

/// The data that are `given`, or else those of the run that the checkpoint or run folder at `path` belongs to.
pub(crate) fn data_for(given: Option<&Path>, path: &Path) -> Result<Option<PathBuf>, FileError> {
    given.map_or_else(|| run_data(path), |given| Ok(Some(given.into())))
}

/// Name of the data at `path`, for people.
fn data_name(path: Option<&Path>) -> String {
    path.map_or_else(|| "the bundled sample".into(), |path| path.display().to_string())
}
