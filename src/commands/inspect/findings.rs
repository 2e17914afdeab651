//! What is unusual about a run, in words, with the figure that says so.

use super::{Finding, TensorState};
use crate::eval::Activity;
use crate::net::model::Row;
use crate::runs::Run;
use crate::train::Metric;

/// Steps whose mean is compared.
const WINDOW: usize = 100;

/// Steps that a network may take to get off the ground.
const GRACE: usize = 300;

/// A loss within this share of that of guessing is that of guessing.
const CHANCE: f64 = 0.02;

/// A mean loss is exploding that is so many times the least one before.
const EXPLODED: f64 = 1.5;

/// A loss that is so many times that of guessing is exploding at any step: initial weights do not reach it.
const RUNAWAY: f64 = 100.0;

/// Weights usually move by about a thousandth of their size in a step; much less and much more are told.
const SLOW: f64 = 1e-5;
const FAST: f64 = 0.05;

/// Share of dead units that is told.
const DEAD: f64 = 0.2;

/// Share of the time that waiting for images may take.
const WAITING: f64 = 0.15;

/// Rise of the validation loss over its least that is overfitting.
const RISEN: f64 = 1.15;

fn finding(kind: &'static str, subject: &str, words: String) -> Finding {
    Finding { kind, subject: subject.into(), words }
}

fn mean(metrics: &[Metric], of: fn(&Metric) -> f64) -> f64 {
    metrics.iter().map(of).sum::<f64>() / metrics.len().max(1) as f64
}

/// What the metrics of a run tell.
pub fn of_metrics(run: &Run) -> Vec<Finding> {
    let mut found = Vec::new();
    let classes = run.config.as_ref().and_then(|config| config.network.layers.last()).map_or(0, Row::outputs);
    let loss = |part: &[Metric]| mean(part, |metric| metric.loss);
    let last = &run.steps[run.steps.len().saturating_sub(WINDOW)..];
    let now = loss(last);
    let chance = (classes.max(1) as f64).ln();
    if run.steps.len() >= GRACE && classes > 1 && (now / chance - 1.0).abs() < CHANCE {
        let words = format!(
            "it does not learn: the loss of the last {} steps is {now:.3}, that of guessing among {classes} classes \
             {chance:.3}. Usual reasons: a rate that is too high or too low, initial weights that let no gradient through, \
             labels that do not belong to their images",
            last.len()
        );
        found.push(finding("not-learning", "loss", words));
    }
    let least = run.steps.chunks(WINDOW).filter(|part| part.len() == WINDOW).map(loss).fold(f64::INFINITY, f64::min);
    if run.steps.len() >= GRACE && now > EXPLODED * least {
        let words = format!(
            "it explodes: the loss of the last {} steps is {now:.3}, after {least:.3} at best. A lower rate is the usual cure",
            last.len()
        );
        found.push(finding("exploding", "loss", words));
    } else if let Some(step) = run.steps.last().filter(|step| classes > 1 && step.loss > RUNAWAY * chance) {
        let words = format!(
            "it explodes: the loss of step {} is {:.1e}, that of guessing among {classes} classes {chance:.1}. A lower rate is \
             the usual cure",
            step.step, step.loss
        );
        found.push(finding("exploding", "loss", words));
    }
    let validation = run.validations.iter().min_by(|a, b| a.loss.total_cmp(&b.loss)).zip(run.validations.last());
    if let Some((best, end)) = validation.filter(|(best, end)| end.loss > RISEN * best.loss && now < end.loss) {
        let words = format!(
            "it learns its training images by heart: the validation loss was {:.3} after epoch {} and is {:.3} now, while \
             that of training is {now:.3}. More images, augmentation, dropout or decay, or an earlier end",
            best.loss, best.epoch, end.loss
        );
        found.push(finding("overfitting", "validation", words));
    }
    let took = last.last().zip(last.first()).map_or(0.0, |(end, begin)| end.seconds - begin.seconds);
    let waited = last.iter().skip(1).map(|metric| metric.wait).sum::<f64>();
    if last.len() == WINDOW && took > 0.0 && waited > WAITING * took {
        let words = format!(
            "steps wait for their images {:.0} % of the time: `alexnet prepare` makes data that are read faster",
            100.0 * waited / took
        );
        found.push(finding("waiting", "images", words));
    }
    found
}

/// What the tensors tell.
pub fn of_tensors(tensors: &[TensorState]) -> Vec<Finding> {
    let mut found = Vec::new();
    for state in tensors {
        let name = &state.name;
        if !state.largest.is_finite() {
            let words =
                format!("holds {}, which is no number: training diverged, or the file is damaged", state.largest);
            found.push(finding("not-finite", name, words));
            continue;
        }
        if !name.contains(".weights") || state.frozen {
            continue;
        }
        if state.norm == 0.0 {
            found.push(finding("zero", name, "is 0 everywhere: nothing passes through it".into()));
            continue;
        }
        match state.ratio {
            Some(0.0) => {
                let words = "did not move in the last step (ratio 0): no gradient reaches it, or its rate is 0";
                found.push(finding("still", name, words.into()));
            }
            Some(ratio) if ratio < SLOW => {
                let words = format!(
                    "moves by {ratio:.1e} of its size in a step, where about 1e-3 is usual: its rate is too small, or hardly \
                     any gradient reaches it"
                );
                found.push(finding("slow", name, words));
            }
            Some(ratio) if ratio > FAST => {
                let words = format!(
                    "moves by {:.0} % of its size in a step, where about 0.1 % is usual: its rate is too large",
                    100.0 * ratio
                );
                found.push(finding("fast", name, words));
            }
            _ => (),
        }
    }
    found
}

/// What the responses to `images` images tell.
pub fn of_activity(activity: &[Activity], images: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    for Activity { layer, units, dead, .. } in activity {
        if *dead == *units && *units > 0 {
            let words = format!(
                "is dead: none of its {units} units responds to any of {images} images. No gradient passes it; larger \
                 initial biases or a lower rate help"
            );
            found.push(finding("dead-layer", layer, words));
        } else if *dead as f64 > DEAD * *units as f64 {
            let share = 100.0 * *dead as f64 / *units as f64;
            let words = format!("{dead} of its {units} units ({share:.0} %) respond to none of {images} images");
            found.push(finding("dead-units", layer, words));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Model;
    use crate::train::Config;

    fn run(losses: impl Iterator<Item = f64>) -> Run {
        let line = |(i, loss): (usize, f64)| {
            let step = i + 1;
            format!(
                r#"{{"kind":"step","step":{step},"epoch":1,"loss":{loss},"top1_error":0.9,"top5_error":0.5,"images_per_second":9.0,"wait":0.5,"seconds":{step}}}"#
            ) + "\n"
        };
        let text: String = losses.enumerate().map(line).collect();
        let config = Config::new("mini", Model::open("mini").unwrap(), 0);
        Run { config: Some(config), ..Run::parse(text.as_bytes()) }
    }

    fn kinds(found: &[Finding]) -> Vec<&str> {
        found.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn losses_at_chance_and_losses_that_rise_are_told_with_their_figures() {
        let flat = of_metrics(&run((0..400).map(|_| 2.31)));
        assert_eq!(kinds(&flat), ["not-learning", "waiting"]);
        assert!(flat[0].words.contains("2.310") && flat[0].words.contains("10 classes 2.303"), "{}", flat[0].words);
        assert!(flat[1].words.contains("50 %"), "{}", flat[1].words);
        let risen = of_metrics(&run((0..400).map(|i| if i < 300 { 1.0 } else { 3.0 })));
        assert_eq!(kinds(&risen), ["exploding", "waiting"]);
        assert_eq!(kinds(&of_metrics(&run((0..400).map(|i| 2.0 / (1.0 + f64::from(i)))))), ["waiting"]);
        assert!(of_metrics(&run((0..50).map(|_| 2.31))).is_empty(), "too early to tell");
        let early = of_metrics(&run([2.3, 4.0, 7e6, 2.9e28].into_iter()));
        assert_eq!(kinds(&early), ["exploding"]);
        assert!(early[0].words.contains("step 4 is 2.9e28"), "{}", early[0].words);
    }

    #[test]
    fn tensors_that_move_too_little_or_too_much_are_told() {
        let state = |ratio, frozen| TensorState {
            name: "conv1.a.weights".into(),
            shape: vec![1],
            mean: 1.0,
            norm: 1.0,
            largest: 1.0,
            ratio,
            frozen,
        };
        let of = |ratio, frozen| kinds(&of_tensors(&[state(ratio, frozen)])).join(" ");
        let got = [Some(1e-3), None, Some(0.0), Some(1e-7), Some(0.3)].map(|ratio| of(ratio, false));
        assert_eq!(got, ["", "", "still", "slow", "fast"]);
        assert_eq!(of(Some(0.0), true), "", "frozen");
        let ill = TensorState { largest: f64::NAN, ..state(None, false) };
        let empty = TensorState { norm: 0.0, ..state(None, false) };
        assert_eq!(kinds(&of_tensors(&[ill, empty])), ["not-finite", "zero"]);
    }

    #[test]
    fn dead_units_are_counted() {
        let activity = |dead| Activity { layer: "conv1".into(), units: 10, dead, active: 0.5 };
        let found = of_activity(&[activity(1), activity(3), activity(10)], 64);
        assert_eq!(kinds(&found), ["dead-units", "dead-layer"]);
        assert!(found[0].words.contains("3 of its 10 units (30 %)"), "{}", found[0].words);
    }
}
