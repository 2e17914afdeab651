//! The validation after an epoch. The epoch is saved by then: one that fails or is stopped loses no step, and is the
//! first thing that a resumed run does.

use std::time::Instant;

use super::sharing::{Batches, Stop};
use super::skipped::Images;
use super::{Metric, MetricKind, Moment, Observer, Phase, RunFolder, TrainError, Trainer, no_image};
use crate::data::{Part, Views};
use crate::net::{Schedule, Score};
use crate::ranks::Ranks;
use crate::session::{Session, total_score};

impl Trainer<'_> {
    /// Scores the validation set, logs it, and keeps the checkpoint if it is the best so far; `None` if the run was
    /// stopped meanwhile.
    pub(super) fn validate(&mut self, observer: &mut dyn Observer) -> Result<Option<Metric>, TrainError> {
        let begin = Instant::now();
        let images = self.dataset.validation.len();
        observer.phase(Phase::Validation, images);
        let views = Views::Centre { border2: self.config.network.input.border2() };
        let order = (0..images as u32).collect();
        let mut batches = self.batches(&self.dataset.validation, order, 0, views, Images::Validation)?;
        let scored = score(&mut self.session, &mut batches, &self.ranks, &self.stop, observer)?;
        self.ended(batches, Images::Validation);
        let Some((score, skipped)) = scored else { return Ok(None) };
        self.skipped.add(&skipped, Images::Validation)?;
        if !score.loss.is_finite() {
            self.folder.as_ref().map_or(Ok(()), RunFolder::take_back)?;
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
        if let Some(folder) = &mut self.folder {
            folder.log(&metric, None, None)?;
        }
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

/// Scores a session, without dropout masks, on all minibatches of a pass, each rank on its own images; `None` if the
/// run was stopped meanwhile.
fn score(
    session: &mut Session,
    batches: &mut Batches,
    ranks: &Ranks,
    stop: &Stop<'_>,
    observer: &mut dyn Observer,
) -> Result<Option<(Score, Vec<String>)>, TrainError> {
    let (mut total, mut skipped, mut unread) = (Score::default(), Vec::new(), false);
    while let Some(Part { batch, minibatch, .. }) = batches.next(stop)? {
        skipped.extend(batch.skipped.iter().cloned());
        if batch.count > 0 || session.is_hybrid() {
            let computed = session.evaluate_unless(&batch, stop.flag())?;
            if let (true, Some(before)) = (unread, session.score_before()) {
                total.add(before);
            }
            if !computed {
                break;
            }
            unread = true;
        }
        observer.seen(minibatch);
    }
    if stop.is_raised() {
        return Ok(None);
    }
    if unread {
        total.add(session.score()?);
    }
    let total = if ranks.size() > 1 { total_score(ranks, total)? } else { total };
    if total.is_empty() {
        return Err(no_image(&skipped).into());
    }
    Ok(Some((total, skipped)))
}
