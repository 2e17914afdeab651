//! The validation after an epoch. The epoch is saved by then: one that fails or is stopped loses no step, and is the first
//! thing that a resumed run does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::skipped::Images;
use super::{Metric, MetricKind, Moment, Observer, Phase, TrainError, Trainer, no_image};
use crate::data::{Loader, Views};
use crate::net::{Schedule, Score};
use crate::session::Session;

impl Trainer<'_> {
    /// Scores the validation set, logs it, and keeps the checkpoint if it is the best so far; `None` if the run was stopped
    /// meanwhile.
    pub(super) fn validate(&mut self, observer: &mut dyn Observer) -> Result<Option<Metric>, TrainError> {
        let begin = Instant::now();
        let images = self.dataset.validation.len();
        observer.phase(Phase::Validation, images);
        let views = Views::Centre { border2: self.config.network.input.border2() };
        let loader = self.loader(&self.dataset.validation, (0..images as u32).collect(), 0, views)?;
        let Some((score, skipped)) = score(&mut self.session, loader, self.stop, observer)? else { return Ok(None) };
        self.skipped.add(&skipped, Images::Validation)?;
        if !score.loss.is_finite() {
            self.folder.take_back()?;
            return Err(self.diverged(Moment::Validation(self.state.step), None)?);
        }
        let speed = score.images as f64 / begin.elapsed().as_secs_f64();
        let mut metric = self.metric(MetricKind::Validation, score, speed);
        self.state.training = Score::default();
        if self.state.position == 0 {
            metric.epoch = self.state.epoch;
            self.note_plateau(metric.top1_error, observer);
            let (until, error) = (self.config.until_error, metric.training_top1_error);
            self.state.reached = until.zip(error).is_some_and(|(until, error)| error <= until);
        }
        self.folder.log(&metric, None)?;
        let best = self.state.best.is_none_or(|best| metric.top1_error < best);
        if best {
            self.state.best = Some(metric.top1_error);
        }
        self.state.unvalidated = false;
        self.save_validated(best)?;
        observer.validation(&metric);
        Ok(Some(metric))
    }

    /// Takes in the validation error of an epoch, and tells of a plateau.
    fn note_plateau(&mut self, error: f64, observer: &mut dyn Observer) {
        let Schedule::Plateau(rule) = &self.config.network.train.schedule else { return };
        if self.state.stagnation.epoch(rule, error) {
            let (epoch, patience, by) = (self.state.epoch, rule.patience.max(1), rule.divide_by);
            observer.note(&format!(
                "epoch {epoch}: no better validation error for {patience} epochs; learning rates are divided by {by}"
            ));
        }
    }
}

/// Scores a session, without dropout masks, on all batches of a loader; `None` if `stop` was raised meanwhile.
fn score(
    session: &mut Session,
    mut loader: Loader,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<Option<(Score, Vec<String>)>, TrainError> {
    let (mut total, mut skipped) = (Score::default(), Vec::new());
    while let Some(batch) = loader.next_unless(stop) {
        let batch = batch?;
        skipped.extend(batch.skipped.iter().cloned());
        if batch.count > 0 {
            if !session.evaluate_unless(&batch, stop)? {
                break;
            }
            total.add(session.score()?);
            observer.seen(batch.count);
        }
    }
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    if total.is_empty() {
        return Err(no_image(&skipped).into());
    }
    Ok(Some((total, skipped)))
}
