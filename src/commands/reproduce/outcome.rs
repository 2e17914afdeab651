//! Results of a reproduction, as they are printed, drawn and written.

use std::path::PathBuf;

use serde::Serialize;

use super::{Arm, Measure, Reproduction};
use crate::runs::Run;

/// A claim beside what was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Name of the reproduction.
    pub name: String,
    /// The claim in words.
    pub claim: String,
    /// Section of the paper, or the page, that makes the claim.
    pub source: String,
    /// What was measured of the runs, in words.
    pub measure: String,
    /// Unit of the numbers.
    pub unit: String,
    /// Number that the claim states, in `unit`.
    pub paper: Option<f64>,
    /// Networks that were compared.
    pub arms: Vec<ArmOutcome>,
    /// Error over epochs of each, means over its seeds.
    pub curves: Vec<Trace>,
    /// Training error that was to be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// What is shorter, smaller or otherwise not as in the claim.
    pub shortened: Vec<String>,
}

/// One of the networks that were compared.
#[derive(Clone, Debug, Serialize)]
pub struct ArmOutcome {
    /// Name of the network in tables and folders.
    pub name: String,
    /// Name of the built-in network.
    pub model: String,
    /// Changes of the built-in network, in words.
    pub changes: String,
    /// Rates that were tried, each with the training error after the trial; none where it diverged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub grid: Vec<(f32, Option<f64>)>,
    /// Best of those rates.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f32>,
    /// Published error in percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub published: Option<f64>,
    /// Top-1 error of the average of all runs, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub together: Option<f64>,
    /// The measured number; of the first of several arms none.
    pub ours: Option<Ours>,
    /// Runs in the order of their seeds.
    pub runs: Vec<RunOutcome>,
}

/// Number that was measured for one arm, over all seeds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ours {
    /// Mean over the seeds.
    pub mean: f64,
    /// Standard deviation over the seeds, of a sample; none of one.
    pub deviation: Option<f64>,
    /// Number for each seed.
    pub values: Vec<f64>,
    /// Count of seeds with a number above 0.
    pub above_zero: usize,
    /// Whether the mean is more than what is said: a run ended before it had reached its error.
    pub lower_bound: bool,
}

/// A run of an arm.
#[derive(Clone, Debug, Serialize)]
pub struct RunOutcome {
    /// Seed of everything random.
    pub seed: u64,
    /// Folder of the run.
    pub folder: PathBuf,
    /// Top-1 validation error in the end, 0 to 1, by the centre of each image.
    pub validation_error: f64,
    /// The same by ten views, where the claim is about them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_by_ten_views: Option<f64>,
    /// Top-1 training error of the last epoch, 0 to 1.
    pub training_error: Option<f64>,
    /// Epochs until the training error was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs_to_error: Option<f64>,
    /// Time spent on training, in seconds.
    pub seconds: f64,
    /// Errors after each epoch.
    pub curve: Vec<EpochErrors>,
}

/// Errors of one epoch, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct EpochErrors {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// Top-1 training error, the mean over the epoch's images as they were trained on.
    pub training_error: Option<f64>,
    /// Top-1 validation error after it.
    pub validation_error: f64,
}

/// A curve over epochs.
#[derive(Clone, Debug, Serialize)]
pub struct Trace {
    /// Name of the arm.
    pub name: String,
    /// Pairs of an epoch and an error from 0 to 1.
    pub points: Vec<[f64; 2]>,
}

impl Outcome {
    pub(super) fn new(reproduction: &Reproduction, shortened: Vec<String>) -> Self {
        let Reproduction { name, claim, measure, .. } = reproduction;
        Self {
            name: (*name).into(),
            claim: claim.text.into(),
            source: claim.source.into(),
            measure: measure.words().into(),
            unit: measure.unit().into(),
            paper: claim.number,
            arms: Vec::new(),
            curves: Vec::new(),
            target: None,
            shortened,
        }
    }
}

impl ArmOutcome {
    pub(super) fn new(arm: &Arm, full: bool) -> Self {
        let recipe = arm.recipe(full);
        let augment = arm.augment.map(|name| format!("augmentation {name}"));
        let changes = [Some(recipe.changes()).filter(|words| !words.is_empty()), augment];
        Self {
            name: arm.name.into(),
            model: recipe.model.into(),
            changes: changes.into_iter().flatten().collect::<Vec<_>>().join(", "),
            grid: Vec::new(),
            rate: None,
            published: None,
            together: None,
            ours: None,
            runs: Vec::new(),
        }
    }

    /// Mean and deviation of the validation error over the seeds.
    pub fn error(&self) -> Option<Ours> {
        Ours::of(self.runs.iter().map(|run| run.validation_error).collect())
    }

    /// The same of the error by ten views.
    pub fn error_by_ten_views(&self) -> Option<Ours> {
        Ours::of(self.runs.iter().filter_map(|run| run.error_by_ten_views).collect())
    }

    /// The same of the training error.
    pub fn training_error(&self) -> Option<Ours> {
        Ours::of(self.runs.iter().filter_map(|run| run.training_error).collect())
    }

    /// The same of the epochs until the training error was reached.
    pub fn epochs_to_error(&self) -> Option<Ours> {
        Ours::bounded(self.runs.iter().map(RunOutcome::epochs_needed).collect())
    }

    /// The number of a measure that compares no arms.
    fn alone(&self, measure: &Measure) -> Option<Ours> {
        let errors = || self.runs.iter().map(|run| 100.0 * run.validation_error);
        let by_views = || self.runs.iter().filter_map(|run| run.error_by_ten_views.map(|error| 100.0 * error));
        match measure {
            Measure::Error | Measure::EpochsTo { .. } => None,
            Measure::Views => Ours::of(errors().zip(by_views()).map(|(one, ten)| one - ten).collect()),
            Measure::Ensemble => Ours::of(vec![Ours::of(errors().collect())?.mean - 100.0 * self.together?]),
            Measure::Published { .. } => Ours::of(by_views().collect()).or_else(|| Ours::of(errors().collect())),
        }
    }
}

impl Ours {
    /// Mean and deviation of some values; `None` of none.
    pub fn of(values: Vec<f64>) -> Option<Self> {
        let count = values.len();
        if count == 0 {
            return None;
        }
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (count > 1).then(|| (squares / (count - 1) as f64).sqrt());
        let above_zero = values.iter().filter(|value| **value > 0.0).count();
        Some(Self { mean, deviation, values, above_zero, lower_bound: false })
    }

    /// The same of values beside which stands whether they are lower bounds.
    fn bounded(values: Vec<(f64, bool)>) -> Option<Self> {
        let lower_bound = values.iter().any(|(_, bound)| *bound);
        let values = values.into_iter().map(|(value, _)| value).collect();
        Self::of(values).map(|ours| Self { lower_bound, ..ours })
    }

    /// The mean with its deviation: `1.76 ± 2.89`, `more than 4.62`.
    pub fn words(&self) -> String {
        let more = if self.lower_bound { "more than " } else { "" };
        let spread = self.deviation.map_or_else(String::new, |deviation| format!(" ± {deviation:.2}"));
        format!("{more}{:.2}{spread}", self.mean)
    }
}

impl RunOutcome {
    /// Epochs until the training error was reached, and whether they are a lower bound: all that were run.
    fn epochs_needed(&self) -> (f64, bool) {
        self.epochs_to_error.map_or((self.epochs() as f64, true), |epochs| (epochs, false))
    }

    /// Number of the last epoch.
    fn epochs(&self) -> usize {
        self.curve.last().map_or(0, |last| last.epoch)
    }

    /// Training error of the epoch with this number, counted from 1.
    pub(super) fn training_error_after(&self, epochs: usize) -> Option<f64> {
        self.curve.iter().rfind(|errors| errors.epoch <= epochs)?.training_error
    }

    pub(super) fn of(run: &Run, seed: u64, until: Option<f64>) -> Self {
        let mut outcome = Self::read(run, seed);
        outcome.epochs_to_error = until.and_then(|until| epochs_to(&outcome.curve, until));
        outcome
    }

    fn read(run: &Run, seed: u64) -> Self {
        let mut curve: Vec<EpochErrors> = Vec::new();
        for validation in &run.validations {
            let (training_error, validation_error) = (validation.training_top1_error, validation.top1_error);
            // The last of an epoch counts; lines of some may be lost.
            curve.retain(|errors| errors.epoch < validation.epoch);
            curve.push(EpochErrors { epoch: validation.epoch, training_error, validation_error });
        }
        let last = curve.last();
        Self {
            seed,
            folder: run.path.clone(),
            validation_error: last.map_or(1.0, |last| last.validation_error),
            error_by_ten_views: None,
            training_error: last.and_then(|last| last.training_error),
            epochs_to_error: None,
            seconds: run.validations.last().map_or(0.0, |validation| validation.seconds),
            curve,
        }
    }
}

/// Curves of an arm: its mean over the seeds, epoch by epoch.
fn trace(arm: &ArmOutcome, training: bool) -> Trace {
    let longest = arm.runs.iter().map(RunOutcome::epochs).max().unwrap_or(0);
    let at = |epoch: usize| {
        let values = arm.runs.iter().filter_map(|run| run.curve.iter().find(|errors| errors.epoch == epoch));
        let values: Vec<f64> = values
            .filter_map(|point| if training { point.training_error } else { Some(point.validation_error) })
            .collect();
        (!values.is_empty()).then(|| [epoch as f64, values.iter().sum::<f64>() / values.len() as f64])
    };
    Trace { name: arm.name.clone(), points: (1..=longest).filter_map(at).collect() }
}

impl Outcome {
    /// The numbers and the curves of the runs, whose errors by ten views or together are known where they matter.
    pub(super) fn compare(&mut self, measure: &Measure) {
        let training = matches!(measure, Measure::EpochsTo { .. });
        self.curves = self.arms.iter().map(|arm| trace(arm, training)).collect();
        self.arms.iter_mut().for_each(|arm| arm.ours = arm.alone(measure));
        let Some((first, others)) = self.arms.split_first_mut() else { return };
        for arm in others {
            let pairs =
                arm.runs.iter().filter_map(|run| Some((run, first.runs.iter().find(|it| it.seed == run.seed)?)));
            arm.ours = match measure {
                Measure::EpochsTo { .. } => {
                    let ratio = |(run, first): (&RunOutcome, &RunOutcome)| {
                        let (epochs, bound) = run.epochs_needed();
                        Some((epochs / first.epochs_to_error?, bound))
                    };
                    Ours::bounded(pairs.filter_map(ratio).collect())
                }
                Measure::Error => Ours::of(
                    pairs.map(|(run, first)| 100.0 * (run.validation_error - first.validation_error)).collect(),
                ),
                Measure::Views | Measure::Ensemble | Measure::Published { .. } => continue,
            };
        }
        if let Measure::EpochsTo { error, .. } = measure {
            self.target = Some(*error);
            for arm in &self.arms {
                for run in arm.runs.iter().filter(|run| run.epochs_to_error.is_none()) {
                    let (epochs, percent) = (run.epochs(), 100.0 * error);
                    self.shortened.push(format!(
                        "{} with seed {} had not reached {percent} % after {epochs} epochs",
                        arm.name, run.seed
                    ));
                }
            }
        }
    }
}

/// Epochs until the training error was `error`, between two epochs along a line; `None` where it never was.
fn epochs_to(curve: &[EpochErrors], error: f64) -> Option<f64> {
    let now = |epoch: &EpochErrors| epoch.training_error.unwrap_or(1.0);
    let reached = curve.iter().position(|epoch| now(epoch) <= error)?;
    let last = &curve[reached];
    let before = reached.checked_sub(1).map(|before| &curve[before]).filter(|before| before.epoch + 1 == last.epoch);
    let Some(before) = before else { return Some(last.epoch as f64) };
    Some(before.epoch as f64 + (now(before) - error) / (now(before) - now(last)))
}

#[cfg(test)]
mod tests {
    use super::super::REPRODUCTIONS;
    use super::*;

    #[test]
    fn means_have_their_deviations() {
        let ours = Ours::of(vec![1.0, 3.0, -1.0]).unwrap();
        assert_eq!((ours.mean, ours.deviation, ours.above_zero), (1.0, Some(2.0), 2));
        assert_eq!(Ours::of(vec![4.0]).unwrap().deviation, None);
        assert_eq!(Ours::of(Vec::new()), None);
    }

    /// A curve of these training errors, from epoch 1 on.
    fn curve(errors: &[f64]) -> Vec<EpochErrors> {
        let epoch = |(epoch, &error)| EpochErrors { epoch, training_error: Some(error), validation_error: 0.5 };
        (1..).zip(errors).map(epoch).collect()
    }

    /// Two arms with one seed and these training errors, epoch by epoch.
    fn compared(first: &[f64], second: &[f64]) -> Outcome {
        let reproduction = REPRODUCTIONS.iter().find(|reproduction| reproduction.name == "relu-vs-tanh").unwrap();
        let mut outcome = Outcome::new(reproduction, Vec::new());
        let arm = |(arm, errors): (&Arm, &[f64])| {
            let curve = curve(errors);
            let run = RunOutcome {
                seed: 1,
                folder: PathBuf::new(),
                validation_error: 0.5,
                error_by_ten_views: None,
                training_error: errors.last().copied(),
                epochs_to_error: epochs_to(&curve, 0.25),
                seconds: 0.0,
                curve,
            };
            ArmOutcome { runs: vec![run], ..ArmOutcome::new(arm, false) }
        };
        outcome.arms = reproduction.arms.iter().zip([first, second]).map(arm).collect();
        outcome.compare(&reproduction.measure);
        outcome
    }

    #[test]
    fn an_arm_that_does_not_arrive_gives_a_lower_bound() {
        let words = |outcome: &Outcome| outcome.arms[1].ours.as_ref().map(Ours::words);
        let epochs = |outcome: &Outcome| {
            let each = outcome.arms.iter().map(|arm| arm.epochs_to_error().unwrap());
            each.map(|ours| (ours.mean, ours.lower_bound)).collect::<Vec<_>>()
        };
        let (fast, slow) = ([0.5, 0.375, 0.125], [0.9, 0.8, 0.7, 0.6, 0.5]);
        let both = compared(&fast, &[0.5, 0.5, 0.5, 0.375, 0.125]);
        assert_eq!((words(&both).unwrap(), epochs(&both)), ("1.80".into(), vec![(2.5, false), (4.5, false)]));
        let one = compared(&fast, &slow);
        assert_eq!((words(&one).unwrap(), epochs(&one)), ("more than 2.00".into(), vec![(2.5, false), (5.0, true)]));
        assert_eq!(one.shortened, ["tanh with seed 1 had not reached 25 % after 5 epochs"]);
        assert_eq!(serde_json::to_value(&one).unwrap()["arms"][1]["ours"]["lower_bound"], true);
        let neither = compared(&slow, &slow);
        assert_eq!((words(&neither), epochs(&neither)), (None, vec![(5.0, true), (5.0, true)]));
    }

    #[test]
    fn epochs_are_counted_to_where_the_curve_crosses() {
        assert_eq!(epochs_to(&curve(&[0.6, 0.4, 0.2]), 0.25), Some(2.75));
        assert_eq!(epochs_to(&curve(&[0.2]), 0.25), Some(1.0));
        assert_eq!(epochs_to(&curve(&[0.6, 0.25, 0.1]), 0.25), Some(2.0));
        assert_eq!(epochs_to(&curve(&[0.6, 0.4]), 0.25), None);
        let mut lost = curve(&[0.6, 0.4, 0.3, 0.2]);
        assert_eq!(epochs_to(&lost, 0.25), Some(3.5));
        lost.remove(2);
        assert_eq!(epochs_to(&lost, 0.25), Some(4.0), "the line of an epoch is lost: no later than here");
    }
}
