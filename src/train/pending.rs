//! The end of a step. Its score is read while the devices compute the next step, so that they never wait for the host;
//! it is looked at before the next update, so that a loss that is not finite, or a stop, leaves everything as this step
//! left it.

use std::time::Instant;

use super::{DeviceRecord, ExchangeRecord, Metric, MetricKind, Moment, Observer, TrainError, Trainer};
use crate::data::Batch;
use crate::net::Score;

/// A step whose update is submitted, and whose score nobody has looked at yet.
pub(super) struct Pending {
    /// Images of this rank.
    pub(super) batch: Batch,
    /// Images of the minibatch, of all ranks.
    pub(super) images: usize,
    /// Learning rates of weights and biases.
    pub(super) rates: [f32; 2],
    /// Time for which it waited for images, in seconds.
    pub(super) wait: f64,
    /// Time for which the host waited for devices, in seconds.
    pub(super) device: f64,
    /// What each device did, in the steps in which that is measured.
    pub(super) measured: Option<DeviceRecord>,
    /// What it exchanged with other ranks.
    pub(super) exchanged: Option<ExchangeRecord>,
    /// When this process began with the epoch, and the images it has seen of it, these included.
    pub(super) epoch: (Instant, usize),
}

impl Trainer<'_> {
    /// Ends the last step, if it is not ended yet: logs it and warns of what is unusual. `score` is its score where
    /// that is read already.
    ///
    /// # Errors
    /// When its loss is not finite, which leaves weights as they were before it; when a device fails.
    pub(super) fn finish_step(&mut self, score: Option<Score>, observer: &mut dyn Observer) -> Result<(), TrainError> {
        let Some(step) = self.pending.take() else { return Ok(()) };
        let score = score.map_or_else(|| self.session.score(), Ok)?;
        if !score.loss.is_finite() {
            let number = self.state.step - 1;
            let bad = 1 + self.session.trouble()?.unwrap_or(number);
            return Err(self.diverged(Moment::Step(bad), Some((&step.batch, number)))?);
        }
        self.state.training.add(score);
        let (begin, seen) = step.epoch;
        let speed = seen as f64 / begin.elapsed().as_secs_f64();
        let Pending { wait, device, rates: [rate, bias_rate], .. } = step;
        let metric = Metric { wait, device, rate, bias_rate, ..self.metric(MetricKind::Step, score, speed) };
        if let Some(folder) = &mut self.folder {
            folder.log(&metric, step.measured.as_ref(), step.exchanged)?;
        }
        if let Some(record) = &step.measured {
            observer.devices(record);
        }
        observer.step(&metric, step.images);
        let stalled = self.start.step(metric.loss);
        let flat = self.fall.as_mut().and_then(|fall| fall.step(metric.loss));
        // One word is enough about a loss that stays at chance.
        if let Some(stalled) = stalled.or(flat) {
            log::warn!("{stalled}");
            self.fall = None;
        }
        Ok(())
    }
}
