//! Metrics as one table, a row for each step and each validation.

use serde::Serialize;

use super::Run;
use crate::train::{Metric, MetricKind};

/// A step or a validation of a run, with the columns of the table in their order.
#[derive(Clone, Debug, Serialize)]
pub struct MetricRow<'a> {
    /// Name of the run.
    pub run: &'a str,
    /// Whether the row is of a step or of a validation.
    pub kind: MetricKind,
    /// Steps finished since the run began.
    pub step: u64,
    /// Number of the epoch, counted from 1.
    pub epoch: usize,
    /// Mean loss in nats.
    pub loss: f64,
    /// Share of images whose best class is wrong.
    pub top1_error: f64,
    /// Share of images whose five best classes are wrong.
    pub top5_error: f64,
    /// Learning rate of weights.
    pub rate: f32,
    /// Learning rate of biases.
    pub bias_rate: f32,
    /// Images trained or validated each second.
    pub images_per_second: f64,
    /// Seconds of training since the run began.
    pub seconds: f64,
    /// Seconds that a step waited for its images.
    pub wait: f64,
    /// Seconds that a step waited for its devices, or computed in their place.
    pub device: f64,
    /// Mean training loss of the epoch so far, in nats.
    pub training_loss: Option<f64>,
    /// Share of the epoch's training images so far whose best class was wrong.
    pub training_top1_error: Option<f64>,
    /// Time of day, in UTC, as 2012-09-30T12:34:56Z.
    pub time: String,
    /// Images that loss and errors are means over; 0 where unknown.
    pub images: usize,
}

impl<'a> MetricRow<'a> {
    fn new(run: &'a str, metric: &Metric) -> Self {
        Self {
            run,
            kind: metric.kind,
            step: metric.step,
            epoch: metric.epoch,
            loss: metric.loss,
            top1_error: metric.top1_error,
            top5_error: metric.top5_error,
            rate: metric.rate,
            bias_rate: metric.bias_rate,
            images_per_second: metric.images_per_second,
            seconds: metric.seconds,
            wait: metric.wait,
            device: metric.device,
            training_loss: metric.training_loss,
            training_top1_error: metric.training_top1_error,
            time: humantime::format_rfc3339_seconds(metric.time).to_string(),
            images: metric.images,
        }
    }

    /// The rows of a run that is called `name`: every step, and behind it the validation that followed.
    pub fn of(run: &'a Run, name: &'a str) -> impl Iterator<Item = Self> {
        let mut validations = run.validations.iter().peekable();
        let mut steps = run.steps.iter().peekable();
        std::iter::from_fn(move || {
            let next = match (steps.peek(), validations.peek()) {
                (Some(step), Some(validation)) if validation.step < step.step => validations.next(),
                (Some(_), _) => steps.next(),
                (None, _) => validations.next(),
            };
            next.map(|metric| Self::new(name, metric))
        })
    }
}

/// The rows of all `runs` as comma-separated values, with a header.
///
/// # Errors
/// Never: the rows are flat.
pub fn csv_table(runs: &[Run]) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for run in runs {
        let name = run.name();
        MetricRow::of(run, &name).try_for_each(|row| writer.serialize(row))?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}
