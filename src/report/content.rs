//! What a report is made of: the run, its network, and what that makes of the images.

use std::path::Path;
use std::sync::Arc;

use thiserror::Error;

use crate::backend::{BackendError, Limits, Placement};
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::commands::CommandError;
use crate::commands::bench::{StepTimes, step};
use crate::commands::describe::Description;
use crate::commands::inspect::{Finding, TensorState, of_activity, of_metrics, of_tensors, tensors};
use crate::data::{DataError, Dataset, Split};
use crate::eval::{EvalError, Survey, Surveyor};
use crate::net::{Job, LAYERS, Net, NetError};
use crate::runs::{Run, RunError};
use crate::session::layout::Layout;
use crate::session::{Session, SessionError};

/// Reason why there is no report.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ReportError {
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Command(Box<CommandError>),
    #[error(transparent)]
    Net(#[from] NetError),
    #[error(transparent)]
    Backend(#[from] BackendError),
    #[error(transparent)]
    Session(#[from] SessionError),
}

impl From<CommandError> for ReportError {
    fn from(error: CommandError) -> Self {
        Self::Command(Box::new(error))
    }
}

/// How much is found out for a report.
#[derive(Clone, Copy, Debug)]
pub struct Depth {
    /// Most validation images, and most training images, that the network is shown; 0 for none.
    pub images: usize,
    /// Training steps that are timed layer by layer; 0 for none.
    pub steps: usize,
}

/// A run and all that is found out about it.
pub struct Content {
    /// The run's configuration and metrics.
    pub run: Run,
    /// Network of its best checkpoint.
    pub network: Option<Network>,
    /// Times of a step with random images on the devices of the report, and their names.
    pub times: Option<(StepTimes, String)>,
    /// Unusual values, each with its likely reason.
    pub findings: Vec<Finding>,
    /// What could not be found out, with the reason.
    pub missing: Vec<String>,
}

/// The network of a checkpoint, with all that is shown of it.
pub struct Network {
    pub checkpoint: Checkpoint,
    /// Name of its file.
    pub file: String,
    /// State of each tensor of weights and biases.
    pub tensors: Vec<TensorState>,
    /// Shapes, and placement and traffic on the devices of the run.
    pub description: Description,
    /// Whether the run says on which devices it worked; else those of the report take their place.
    pub placed: bool,
    /// Training and validation images.
    pub images: Option<Images>,
}

/// Images that were shown to a network.
pub struct Images {
    /// Validation images, and what the network made of them.
    pub validation: (Arc<Split>, Survey),
    /// Training images, and what the network made of them.
    pub training: (Arc<Split>, Survey),
}

impl Content {
    /// Finds out about the run in `path`; the network computes on `devices`. `progress` gets the images that are done,
    /// and all.
    pub fn gather(
        path: &Path,
        depth: Depth,
        devices: &Placement,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Self, ReportError> {
        let run = Run::open(path)?;
        let findings = of_metrics(&run);
        let mut content = Self { run, network: None, times: None, findings, missing: Vec::new() };
        let Some((file, checkpoint)) = content.checkpoint() else {
            content.missing.push("the run has no checkpoint to show, so that there are only its metrics".into());
            return Ok(content);
        };
        let model = checkpoint.state.model(LAYERS)?;
        let net = Net::new(model)?;
        let job = Job::training(net.model.train.batch);
        let job = job.with(content.run.config.as_ref().map_or(job.options, |config| config.options));
        let limits = devices.limits(net.model.towers);
        let own: Vec<Limits> = content.run.device_names().into_iter().map(Limits::unbound).collect();
        let placed = !own.is_empty();
        let description = Description::new(&net, &job, if placed { &own } else { &limits })?;
        let tensors = tensors(&checkpoint, Some(&content.run))?;
        content.findings.extend(of_tensors(&tensors));
        let mut network = Network { checkpoint, file, tensors, description, placed, images: None };
        if depth.images > 0 {
            content.show(&mut network, depth.images, devices, progress)?;
        }
        content.network = Some(network);
        if depth.steps > 0 {
            let layout = Layout::new(&net, &job, &limits)?;
            let mut session = Session::laid_out(net, &job, layout, devices, 0)?;
            content.times = Some((step(&mut session, job.minibatch, depth.steps, &mut |_, _| ())?, session.device()));
        }
        Ok(content)
    }

    /// The checkpoint to show, with the name of its file: the first that is whole. Of another that is not it is said
    /// why.
    fn checkpoint(&mut self) -> Option<(String, Checkpoint)> {
        let mut shown = None;
        for path in self.run.checkpoints() {
            match Checkpoint::read(&path) {
                Ok(checkpoint) if shown.is_none() => {
                    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                    shown = Some((name, checkpoint));
                }
                Ok(_) => (),
                Err(error) => self.missing.push(format!("a checkpoint of the run is not shown: {error}")),
            }
        }
        shown
    }

    /// Shows the network images of its run, where they are still there.
    fn show(
        &mut self,
        network: &mut Network,
        most: usize,
        devices: &Placement,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<(), ReportError> {
        let Some(config) = &self.run.config else {
            self.missing.push("without config.toml it is not known which images the network was trained on".into());
            return Ok(());
        };
        let data = config.dataset().and_then(|data| data.arranged(&network.checkpoint.state.classes));
        let Dataset { train, validation, .. } = match data {
            Ok(data) => data,
            Err(error) => {
                self.missing.push(without_images(&error));
                return Ok(());
            }
        };
        let mut surveyor = Surveyor::new(&network.checkpoint, devices)?;
        let all = train.len().min(most) + validation.len().min(most);
        let seen = surveyor.survey(&validation, most, true, &mut |done, _| progress(done, all))?;
        let before = seen.labels.len();
        let learnt = surveyor.survey(&train, most, false, &mut |done, _| progress(before + done, all))?;
        self.findings.extend(of_activity(&seen.activity, seen.labels.len()));
        network.images = Some(Images { validation: (validation, seen), training: (train, learnt) });
        Ok(())
    }
}

fn without_images(error: &DataError) -> String {
    format!("the images of the run are not there any more, so that none are shown ({error})")
}
