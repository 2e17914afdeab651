//! What is logged and told of a step.

use std::time::{Instant, SystemTime};

use super::{DeviceRecord, Metric, MetricKind, Observer, RunFolder, TrainError, Trainer};
use crate::checkpoint::State;
use crate::net::Score;
use crate::session::Rates;

impl Trainer<'_> {
    /// The work of the devices in the step that began at `started`.
    pub(super) fn measured(&mut self, started: Instant) -> Result<DeviceRecord, TrainError> {
        let (seconds, devices) = self.session.device_times(started)?;
        let exchange = self.session.exchanging().as_secs_f64();
        self.session.stop_profile();
        Ok(DeviceRecord { seconds, exchange, devices })
    }

    pub(super) fn metric(&self, kind: MetricKind, score: Score, images_per_second: f64) -> Metric {
        let (loss, top1_error, top5_error) = score.means();
        let (step, epoch) = (self.state.step, self.state.epoch + 1);
        let [rate, bias_rate] = self.rates.unwrap_or_else(|| {
            let rates = self.config.rates(&self.progress());
            [rates.weights, rates.biases]
        });
        let training = Some(self.state.training).filter(|training| !training.is_empty()).map(|sums| sums.means());
        let seconds = self.folder.as_ref().map_or(0.0, RunFolder::seconds) + self.begun.elapsed().as_secs_f64();
        let (wait, device, time) = (0.0, 0.0, SystemTime::now());
        Metric {
            kind,
            step,
            epoch,
            loss,
            top1_error,
            top5_error,
            images_per_second,
            images: score.images,
            wait,
            device,
            rate,
            bias_rate,
            training_loss: training.map(|(loss, ..)| loss),
            training_top1_error: training.map(|(_, error, _)| error),
            seconds,
            time,
        }
    }

    /// Tells of learning rates that are not those of the step before.
    pub(super) fn note_rates(&mut self, rates: &Rates, observer: &mut dyn Observer) {
        let now = [rates.weights, rates.biases];
        if let Some(before) = self.rates.replace(now).filter(|before| *before != now) {
            let State { step, epoch, .. } = self.state;
            // As many digits as people give.
            let short = |rate: f32| format!("{rate:.3e}").parse::<f64>().unwrap_or_default();
            let change = |i: usize| (before[i] != now[i]).then(|| format!("{} → {}", short(before[i]), short(now[i])));
            let words = match (change(0), change(1)) {
                (Some(weights), Some(biases)) => format!("learning rate {weights}, of biases {biases}"),
                (Some(weights), None) => format!("learning rate of weights {weights}"),
                (None, biases) => format!("learning rate of biases {}", biases.unwrap_or_default()),
            };
            observer.note(&format!("epoch {}, step {}: {words}", epoch + 1, step + 1));
        }
    }
}
