//! Schedules of learning rates in the course of a run (section 5 of the paper; the author's logs).
//!
//! A schedule gives factors, by which the rates that a run begins with are multiplied: one for weights, one for biases,
//! and where a log says so some of single layers. What of a layer has a factor of 0 is frozen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};

use super::Model;
use super::factors::LayerFactors;

/// A schedule: the points of a run at which rates change, and their factors.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Schedule {
    /// Rates that never change.
    #[default]
    Constant,
    /// After given epochs and steps.
    Drops(Drops),
    /// Phases with rates of their own, as in a log.
    Phases(Vec<Phase>),
    /// Drops where the validation error no longer improves: the paper's rule.
    Plateau(Plateau),
    /// Equal steps of the logarithm over the whole run: net 170.
    Dexp(Dexp),
}

/// Divides all rates after these epochs and after these steps.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Drops {
    /// Counts of finished epochs at which rates drop.
    pub epochs: Vec<usize>,
    /// Counts of finished steps at which rates drop.
    pub steps: Vec<u64>,
    /// Divisor of the rates at each drop.
    pub divide_by: f32,
}

impl Default for Drops {
    fn default() -> Self {
        Self { epochs: Vec::new(), steps: Vec::new(), divide_by: 10.0 }
    }
}

/// A part of a run with rates of its own, as factors of those the run begins with.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Finished epochs at which the next phase begins, 2.16 for one in the midst of an epoch; the last goes on to the
    /// end.
    pub until: Epochs,
    /// Factor of the rate of weights.
    #[serde(default = "whole")]
    pub weights: f32,
    /// Factor of the rate of biases.
    #[serde(default = "whole")]
    pub biases: f32,
    /// Further factor of the rates of single layers, by the names of rows; 0 freezes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: BTreeMap<String, LayerFactors>,
    /// Factor of the colour noise.
    #[serde(default = "whole")]
    pub colour: f32,
}

fn whole() -> f32 {
    1.0
}

/// A point of a run, in epochs from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
#[serde(transparent)]
pub struct Epochs(pub f64);

impl Serialize for Epochs {
    /// Writes whole epochs as releases without parts of epochs read them.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 { serializer.serialize_u64(self.0 as u64) } else { serializer.serialize_f64(self.0) }
    }
}

/// Divides all rates when the best validation error is so many epochs old.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Plateau {
    /// Epochs without a better validation error before the rates are divided.
    pub patience: usize,
    /// Divisor of the rates at each drop.
    pub divide_by: f32,
    /// Most drops in a run.
    pub drops: usize,
}

impl Default for Plateau {
    /// The paper's: by ten, three times before the end. How long its author waited is not recorded; three epochs here.
    fn default() -> Self {
        Self { patience: 3, divide_by: 10.0, drops: 3 }
    }
}

/// Rates fall by a factor over a run, in steps of equal length and ratio (released code, lr.cu:132).
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dexp {
    /// First rate of weights over the last.
    pub factor: f32,
    /// Number of different rates of weights.
    pub steps: usize,
    /// First rate of biases over the last.
    pub bias_factor: f32,
    /// Number of different rates of biases.
    pub bias_steps: usize,
    /// Changes by hand on the way, whose factors are multiplied with these rates.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
}

impl Default for Dexp {
    /// Net 170 (layer-params-170.cfg:2-9): 0.01, 0.0015874, 0.00025198, 0.00004; biases 0.02, then 0.002.
    fn default() -> Self {
        Self { factor: 250.0, steps: 4, bias_factor: 10.0, bias_steps: 2, phases: Vec::new() }
    }
}

/// Memory of a plateau schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Stagnation {
    /// Plateaus met so far.
    pub plateaus: usize,
    /// Best validation error so far, 0 to 1.
    pub best: Option<f64>,
    /// Epochs since then, or since the last plateau.
    pub since: usize,
}

impl Stagnation {
    /// Takes in the validation error of an epoch; whether the rates drop now.
    pub fn epoch(&mut self, rule: &Plateau, error: f64) -> bool {
        if self.best.is_none_or(|best| error < best) {
            (self.best, self.since) = (Some(error), 0);
            return false;
        }
        self.since += 1;
        if self.since < rule.patience.max(1) || self.plateaus >= rule.drops {
            return false;
        }
        (self.since, self.plateaus) = (0, self.plateaus + 1);
        true
    }
}

/// Progress of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    /// Number of finished epochs.
    pub epoch: usize,
    /// Finished share of the epoch after them, 0 to 1.
    pub within: f64,
    /// Number of finished steps.
    pub step: u64,
    /// Finished share of the whole run, 0 to 1.
    pub share: f64,
    /// Number of plateaus met.
    pub plateaus: usize,
}

/// Factors of the rates that a run begins with.
#[derive(Clone, Debug, PartialEq)]
pub struct Factors {
    /// Factor of the rate of weights.
    pub weights: f64,
    /// Factor of the rate of biases.
    pub biases: f64,
    /// Further factors of the rates of single layers, by the names of rows.
    pub layers: BTreeMap<String, LayerFactors>,
    /// Factor of the colour noise.
    pub colour: f32,
}

impl Factors {
    fn all(factor: f64) -> Self {
        Self { weights: factor, biases: factor, layers: BTreeMap::new(), colour: 1.0 }
    }

    /// The factors of the phase that a run is in.
    fn of(phases: &[Phase], at: &Position) -> Self {
        let passed = at.epoch as f64 + at.within;
        let now = phases.iter().find(|phase| passed < phase.until.0).or(phases.last());
        now.map_or_else(|| Self::all(1.0), Phase::factors)
    }
}

impl Schedule {
    /// The factors at some point of a run.
    pub fn factors(&self, at: &Position) -> Factors {
        match self {
            Self::Constant => Factors::all(1.0),
            Self::Drops(drops) => {
                let epochs = drops.epochs.iter().filter(|&&after| at.epoch >= after).count();
                let steps = drops.steps.iter().filter(|&&after| at.step >= after).count();
                Factors::all(f64::from(drops.divide_by).powi(-((epochs + steps) as i32)))
            }
            Self::Phases(phases) => Factors::of(phases, at),
            Self::Plateau(plateau) => Factors::all(f64::from(plateau.divide_by).powi(-(at.plateaus as i32))),
            Self::Dexp(dexp) => {
                let by_hand = Factors::of(&dexp.phases, at);
                Factors {
                    weights: by_hand.weights * stairs(dexp.factor, dexp.steps, at.share),
                    biases: by_hand.biases * stairs(dexp.bias_factor, dexp.bias_steps, at.share),
                    ..by_hand
                }
            }
        }
    }

    /// The schedule of a run that is `scale` times as long: its epochs are, rounded, and its steps.
    #[must_use]
    pub fn scaled(&self, scale: f64) -> Self {
        let mut scaled = self.clone();
        match &mut scaled {
            Self::Constant | Self::Plateau(_) => (),
            Self::Drops(drops) => {
                drops.epochs.iter_mut().for_each(|epoch| *epoch = (*epoch as f64 * scale).round() as usize);
                drops.steps.iter_mut().for_each(|step| *step = (*step as f64 * scale).round() as u64);
            }
            Self::Phases(phases) | Self::Dexp(Dexp { phases, .. }) => {
                for phase in phases {
                    phase.until.0 *= scale;
                }
            }
        }
        scaled
    }

    /// Phases of the schedule, where it has any.
    pub(super) fn phases(&self) -> &[Phase] {
        match self {
            Self::Phases(phases) | Self::Dexp(Dexp { phases, .. }) => phases,
            Self::Constant | Self::Drops(_) | Self::Plateau(_) => &[],
        }
    }

    /// Names of rows that some part of the schedule speaks of.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.phases().iter().flat_map(|phase| phase.layers.keys()).map(String::as_str)
    }
}

impl Phase {
    fn factors(&self) -> Factors {
        let (weights, biases) = (f64::from(self.weights), f64::from(self.biases));
        Factors { weights, biases, layers: self.layers.clone(), colour: self.colour }
    }
}

/// factor^(-i / (steps - 1)) on step i.
fn stairs(factor: f32, steps: usize, share: f64) -> f64 {
    let last = steps.saturating_sub(1);
    let step = ((share * steps as f64) as usize).min(last);
    f64::from(factor).powf(-(step as f64) / last.max(1) as f64)
}

/// Schedules by name, for the command line.
pub const PRESETS: &[&str] = &["constant", "paper", "2010", "2012", "170", "plateau", "dexp"];

impl Schedule {
    /// The schedule called `name`, one of [`PRESETS`]; those of the author's runs stand in their model files.
    pub fn preset(name: &str) -> Option<Self> {
        let of = |model: &str| Model::open(model).ok().map(|model| model.train.schedule);
        match name {
            "constant" => Some(Self::Constant),
            "paper" => of("alexnet"),
            "2010" => of("net-145-2010"),
            "2012" => of("alexnet-2012"),
            "170" => of("net-170"),
            "plateau" => Some(Self::Plateau(Plateau::default())),
            "dexp" => Some(Self::Dexp(Dexp::default())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: usize) -> Position {
        Position { epoch, ..Position::default() }
    }

    fn close(got: f64, want: f64) {
        assert!((got / want - 1.0).abs() < 1e-4, "{got} instead of {want}");
    }

    #[test]
    fn drops_come_after_the_epochs_and_steps_named() {
        let schedule = Schedule::Drops(Drops { epochs: vec![9, 11], steps: vec![5000], ..Drops::default() });
        let weights = |epoch, step| schedule.factors(&Position { step, ..at(epoch) }).weights;
        assert_eq!((weights(0, 0), weights(8, 4999)), (1.0, 1.0));
        close(weights(9, 4999), 0.1);
        close(weights(11, 4999), 0.01);
        close(weights(11, 5000), 0.001);
    }

    #[test]
    fn a_phase_may_end_within_an_epoch() {
        let phase =
            |until, weights| Phase { until: Epochs(until), weights, biases: 1.0, layers: BTreeMap::new(), colour: 1.0 };
        let schedule = Schedule::Phases(vec![phase(2.16, 1.0), phase(7.0, 0.1)]);
        let weights = |epoch, within| schedule.factors(&Position { within, ..at(epoch) }).weights;
        assert_eq!(
            (weights(2, 0.15), weights(2, 0.16), weights(9, 0.0)),
            (1.0, f64::from(0.1_f32), f64::from(0.1_f32))
        );
        assert_eq!(serde_json::to_value(schedule.phases()).unwrap()[1]["until"], 7, "as earlier releases read it");
    }

    #[test]
    fn phases_are_multiplied_with_dexp() {
        let layers = BTreeMap::from([("conv1".to_owned(), LayerFactors::both(0.0))]);
        let phase = |until, colour, layers| Phase { until: Epochs(until), weights: 0.5, biases: 1.0, layers, colour };
        let phases = vec![phase(1.0, 1.0, BTreeMap::new()), phase(2.0, 0.0, layers)];
        let schedule = Schedule::Dexp(Dexp { phases, ..Dexp::default() });
        let (first, second) = (schedule.factors(&at(0)), schedule.factors(&Position { share: 1.0, ..at(1) }));
        assert_eq!((first.weights, first.colour, first.layers.len()), (0.5, 1.0, 0));
        close(second.weights, 0.5 / 250.0);
        assert_eq!((second.colour, second.layers["conv1"]), (0.0, LayerFactors::both(0.0)));
        assert_eq!(schedule.layers().collect::<Vec<_>>(), ["conv1"]);
    }

    #[test]
    fn dexp_takes_the_rates_of_net_170() {
        let schedule = Schedule::preset("dexp").unwrap();
        let now = |share| {
            let it = schedule.factors(&Position { share, ..at(0) });
            (0.01 * it.weights, 0.02 * it.biases)
        };
        for (share, weights, biases) in
            [(0.0, 0.01, 0.02), (0.26, 0.001_587_4, 0.02), (0.5, 0.000_251_98, 0.002), (1.0, 0.000_04, 0.002)]
        {
            close(now(share).0, weights);
            close(now(share).1, biases);
        }
        assert_eq!(stairs(10.0, 1, 0.7), 1.0);
    }

    #[test]
    fn rates_drop_when_the_error_is_old() {
        let rule = Plateau { patience: 2, divide_by: 10.0, drops: 2 };
        let mut stagnation = Stagnation::default();
        let errors = [0.9, 0.8, 0.8, 0.81, 0.79, 0.79, 0.79, 0.79, 0.79, 0.79, 0.79];
        let dropped: Vec<usize> =
            errors.iter().enumerate().filter(|(_, error)| stagnation.epoch(&rule, **error)).map(|(i, _)| i).collect();
        assert_eq!(dropped, [3, 6], "twice, as often as it may");
        assert_eq!(stagnation.plateaus, 2);
    }

    #[test]
    fn plateaus_divide() {
        let schedule = Schedule::preset("plateau").unwrap();
        close(schedule.factors(&Position { plateaus: 2, ..at(40) }).biases, 0.01);
    }

    #[test]
    fn a_preset_survives_its_text() {
        #[derive(Debug, PartialEq, Deserialize, Serialize)]
        struct Holder {
            schedule: Schedule,
        }
        for name in PRESETS {
            let holder = Holder { schedule: Schedule::preset(name).unwrap() };
            let text = toml::to_string(&holder).unwrap();
            assert_eq!(toml::from_str::<Holder>(&text).unwrap(), holder, "{text}");
        }
        assert_eq!(Schedule::preset("none"), None);
    }
}
