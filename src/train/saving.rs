//! Checkpoints of a run: saved after an epoch, and when it is time, before anything that may fail; marked as validated
//! afterwards.

use std::time::Instant;

use rayon::iter::{IntoParallelRefIterator as _, ParallelIterator as _};

use super::images::statistics_to;
use super::watch::movements;
use super::{Moment, Observer, RunFolder, TrainError, Trainer};
use crate::checkpoint::Checkpoint;
use crate::data::Batch;
use crate::net::is_frozen;
use crate::tensor::Tensor;

impl Trainer<'_> {
    /// Ends the last step and saves the last checkpoint, and what was logged up to it.
    pub(super) fn save(&mut self, observer: &mut dyn Observer) -> Result<(), TrainError> {
        self.finish_step(None, observer)?;
        self.saved = (Instant::now(), self.state.step);
        if self.folder.is_none() && !self.session.is_hybrid() {
            return Ok(());
        }
        let checkpoint = self.checkpoint()?;
        let Some(folder) = &mut self.folder else { return Ok(()) };
        if self.moved != self.state.step {
            let increment = self.config.network.train.optimizer.kind.increment;
            let mut movements = movements(&checkpoint.tensors, increment);
            let frozen = self.session.frozen();
            movements.retain(|name, _| !is_frozen(name, frozen));
            folder.log_movements(self.state.step, self.state.epoch, &movements)?;
            observer.weights(self.state.step, &checkpoint.tensors, &movements);
            self.moved = self.state.step;
        }
        if self.state.unvalidated {
            folder.save_unvalidated(&checkpoint)
        } else {
            folder.save(&checkpoint, self.config.keep)
        }
    }

    /// Saves the last checkpoint anew after its validation, and as the best one if it is that.
    pub(super) fn save_validated(&mut self, best: bool) -> Result<(), TrainError> {
        if self.folder.is_none() && !self.session.is_hybrid() {
            return Ok(());
        }
        let checkpoint = self.checkpoint()?;
        let Some(folder) = &self.folder else { return Ok(()) };
        if best { folder.save_best(&checkpoint, self.config.keep) } else { folder.save(&checkpoint, self.config.keep) }
    }

    /// The state of the run, whose weights are finite; ranks that share layers put it together.
    fn checkpoint(&mut self) -> Result<Checkpoint, TrainError> {
        let mut tensors = self.session.tensors()?;
        let is_finite = |(_, tensor): (&String, &Tensor)| tensor.values().iter().all(|value| value.is_finite());
        if !tensors.par_iter().all(is_finite) {
            // The update of the last step overflowed; its loss did not show it yet.
            return Err(self.diverged(Moment::Saving(self.state.step), None)?);
        }
        let size = self.config.network.input.stored();
        tensors.extend(self.statistics.iter().flat_map(|statistics| statistics_to(statistics, size)));
        self.state.loss_scale = self.session.loss_scale()?;
        Ok(Checkpoint { tensors, state: self.state.clone() })
    }

    /// The refusal of a loss that is not finite, with the place of the first bad number: a tensor of weights, or a
    /// layer on the way from the images of a batch to the loss of the step with this number.
    pub(super) fn diverged(&mut self, when: Moment, step: Option<(&Batch, u64)>) -> Result<TrainError, TrainError> {
        let place = self.session.diagnose(step)?;
        let kept = self.folder.as_ref().and_then(RunFolder::last);
        Ok(TrainError::Diverged { when, place, kept })
    }
}
