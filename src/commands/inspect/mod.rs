//! The state of a network in training: sizes and movements of its weights, responses of its units, and what is unusual.

mod findings;

use std::path::PathBuf;

use serde::Serialize;

pub use self::findings::{of_activity, of_metrics, of_tensors};
use super::CommandError;
use crate::backend::Placement;
use crate::checkpoint::Checkpoint;
use crate::data::Labelled;
use crate::eval::{Activity, EvalError, Surveyor, data_for};
use crate::net::{LAYERS, Position, is_frozen};
use crate::runs::Run;
use crate::tensor::Tensor;
use crate::train::movements;

/// A run or a checkpoint to be inspected.
#[derive(Clone, Debug)]
pub struct Inspect {
    /// Run folder or checkpoint.
    pub path: PathBuf,
    /// Data whose validation images are shown to the network; those of its run where absent, else the bundled sample.
    pub data: Option<PathBuf>,
    /// Most images that are shown to it.
    pub images: usize,
}

/// State of a checkpoint: its weights, the responses to images, and findings about both.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The checkpoint; absent where a run has none yet.
    pub checkpoint: Option<PathBuf>,
    /// Steps finished when the checkpoint was saved.
    pub step: u64,
    /// Weights and biases, tower by tower.
    pub tensors: Vec<TensorState>,
    /// Images that the network was shown.
    pub images: usize,
    /// Responses of the hidden layers to them.
    pub activity: Vec<Activity>,
    /// Unusual values, each with its likely reason.
    pub findings: Vec<Finding>,
}

/// A tensor of weights.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TensorState {
    /// Name in the checkpoint, such as `conv1.a.weights`.
    pub name: String,
    /// Extents, the innermost last.
    pub shape: Vec<usize>,
    /// Mean absolute value of the elements.
    pub mean: f64,
    /// Euclidean norm of all elements.
    pub norm: f64,
    /// Largest absolute value of an element.
    pub largest: f64,
    /// Mean absolute last increment by the mean absolute value; absent where the checkpoint has no increments.
    pub ratio: Option<f64>,
    /// Whether it was left as it is.
    pub frozen: bool,
}

/// An unusual value in a run, a layer or a tensor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// Stable name of the kind of finding, for programs that read the JSON.
    pub kind: &'static str,
    /// Run, layer or tensor that it is about.
    pub subject: String,
    /// What was seen, with the figure, and what usually is the reason.
    pub words: String,
}

impl Inspect {
    /// Inspects it; on `devices`, where there are any, it is shown images. `progress` gets those that are done, and
    /// all.
    pub fn run(
        &self,
        devices: Option<&Placement>,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Inspection, CommandError> {
        let run = if self.path.is_dir() { Some(Run::open(&self.path)?) } else { None };
        let file = if run.is_some() { self.path.join("last.safetensors") } else { self.path.clone() };
        let mut found = Inspection {
            checkpoint: None,
            step: run.as_ref().and_then(|run| run.steps.last()).map_or(0, |metric| metric.step),
            tensors: Vec::new(),
            images: 0,
            activity: Vec::new(),
            findings: Vec::new(),
        };
        if run.is_none() || file.is_file() {
            let checkpoint = Checkpoint::read(&file)?;
            found.tensors = tensors(&checkpoint, run.as_ref())?;
            found.findings = of_tensors(&found.tensors);
            found.step = checkpoint.state.step;
            if let Some(devices) = devices.filter(|_| checkpoint.expect_finite().is_ok()) {
                self.show(&checkpoint, devices, progress, &mut found)?;
            }
            found.checkpoint = Some(file);
        }
        if let Some(run) = &run {
            found.findings.splice(0..0, of_metrics(run));
        }
        Ok(found)
    }

    /// Shows the network images, if there are any.
    fn show(
        &self,
        checkpoint: &Checkpoint,
        devices: &Placement,
        progress: &mut dyn FnMut(usize, usize),
        found: &mut Inspection,
    ) -> Result<(), CommandError> {
        let model = checkpoint.state.model(LAYERS)?;
        let data = data_for(self.data.as_deref(), &self.path)?;
        let images = Labelled::open(data.as_deref(), model.input.stored())
            .and_then(|data| data.arranged(&checkpoint.state.classes));
        let images = match images {
            Ok(data) => data.images,
            Err(error) if self.data.is_some() => return Err(EvalError::from(error).into()),
            Err(error) => {
                log::warn!(
                    "dead units are not looked for, as there are no images to show ({error}); --data names some"
                );
                return Ok(());
            }
        };
        let survey = Surveyor::new(checkpoint, devices)?.survey(&images, self.images, true, progress)?;
        found.images = survey.labels.len();
        found.findings.extend(of_activity(&survey.activity, found.images));
        found.activity = survey.activity;
        Ok(())
    }
}

/// Weights and biases of a checkpoint, of `run` where it belongs to one.
pub fn tensors(checkpoint: &Checkpoint, run: Option<&Run>) -> Result<Vec<TensorState>, CommandError> {
    let model = checkpoint.state.model(LAYERS)?;
    let state = &checkpoint.state;
    let (epoch, step, plateaus) = (state.epoch, state.step, state.stagnation.plateaus);
    let at = Position { epoch, step, plateaus, ..Position::default() };
    let frozen = run.and_then(|run| run.config.as_ref()).map(|config| config.frozen(&at)).unwrap_or_default();
    let moved = movements(&checkpoint.tensors, model.train.optimizer.kind.increment);
    let row = |name: &str| name.split('.').next().unwrap_or(name).to_owned();
    let rows: Vec<&str> = model.layers.iter().map(|row| row.name.as_str()).collect();
    let is_state =
        |name: &str| model.train.optimizer.kind.states.iter().any(|state| name.ends_with(&format!(".{state}")));
    let trained =
        |name: &str| (name.contains(".weights") || name.rsplit('.').next() == Some("bias")) && !is_state(name);
    let mut states: Vec<TensorState> = checkpoint
        .tensors
        .iter()
        .filter(|(name, _)| trained(name))
        .map(|(name, tensor)| {
            let ratio = moved.get(name).map(|movement| movement.ratio);
            TensorState { ratio, frozen: is_frozen(name, &frozen), ..TensorState::new(name, tensor) }
        })
        .collect();
    // Layers in the order of the network.
    states.sort_by_key(|state| rows.iter().position(|known| *known == row(&state.name)));
    Ok(states)
}

impl TensorState {
    fn new(name: &str, tensor: &Tensor) -> Self {
        let values = || tensor.values().iter().map(|&value| f64::from(value).abs());
        let count = tensor.values().len().max(1) as f64;
        // A number that is none is the largest.
        let largest = values().fold(0.0, |most, value| if value > most || value.is_nan() { value } else { most });
        Self {
            name: name.into(),
            shape: tensor.shape().to_vec(),
            mean: values().sum::<f64>() / count,
            norm: values().map(|value| value * value).sum::<f64>().sqrt(),
            largest,
            ratio: None,
            frozen: false,
        }
    }
}
