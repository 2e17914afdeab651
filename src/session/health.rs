//! Whether training is still sane, and the scale of the loss that keeps it so under mixed precision.

use super::{Places, Session, SessionError};
use crate::backend::Data;
use crate::data::Batch;
use crate::net::{LossScale, Precision};
use crate::ops::health;
use crate::program::Pass;

impl Session {
    /// The first step since weights were set whose loss was not finite. Weights are as they were before it.
    pub fn trouble(&mut self) -> Result<Option<u64>, SessionError> {
        let Some(slot) = self.lowered.health else { return Ok(None) };
        let state = self.backend.read(slot)?;
        Ok((state[health::ILL] != 0.0).then_some(state[health::STEP] as u64))
    }

    /// Forgets what was not finite, and how the loss was scaled.
    pub(super) fn forget_trouble(&mut self) -> Result<(), SessionError> {
        self.set_loss_scale(self.job.options.precision.first_loss_scale())
    }

    /// Scale of the loss; `None` where it has none.
    pub fn loss_scale(&mut self) -> Result<Option<LossScale>, SessionError> {
        let Some(slot) = self.lowered.health.filter(|_| self.job.options.precision == Precision::Mixed) else {
            return Ok(None);
        };
        let state = self.backend.read(slot)?;
        Ok(Some(LossScale { scale: state[health::SCALE], good: state[health::GOOD] }))
    }

    /// Scales the loss as it was in another session.
    pub fn set_loss_scale(&mut self, LossScale { scale, good }: LossScale) -> Result<(), SessionError> {
        let Some(slot) = self.lowered.health else { return Ok(()) };
        let mut state = health::state(scale);
        state[health::GOOD] = good;
        Ok(self.backend.write(slot, Data::F32(&state))?)
    }

    /// Names the first slot that is not finite: weights that already are not, or the map where it begins when the batch
    /// of a step is run once more with the step's number, command by command.
    pub fn diagnose(&mut self, step: Option<(&Batch, u64)>) -> Result<Option<String>, SessionError> {
        for trained in &self.lowered.trained {
            if self.backend.read(trained.value)?.iter().any(|v| !v.is_finite()) {
                return Ok(Some(trained.name.clone()));
            }
        }
        // Ranks that share layers would have to run it together.
        let Some((batch, number)) = step.filter(|_| !self.is_hybrid()) else { return Ok(None) };
        for first in self.firsts(batch.count) {
            self.feed(batch, Places::whole(batch), first, number)?;
            let found = self.backend.trace(Pass::Gradients, |values| values.iter().any(|v| !v.is_finite()))?;
            if let Some(slot) = found {
                return Ok(Some(self.lowered.program.slot(slot).name.clone()));
            }
        }
        Ok(None)
    }
}
