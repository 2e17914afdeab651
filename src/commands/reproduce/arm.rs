//! The configuration of a run: an arm of a reproduction, scaled.

use toml::Table;

use super::{Arm, Recipe, ReproduceError};
use crate::net::{Augment, Model, Replacement};

impl Arm {
    /// The recipe for small images, or that of the claim itself where `full`.
    pub fn recipe(&self, full: bool) -> Recipe {
        self.full.filter(|_| full).unwrap_or(self.small)
    }

    /// The network with `scale` times its epochs.
    pub fn network(&self, full: bool, scale: f64) -> Result<Model, ReproduceError> {
        let mut model = self.recipe(full).network()?;
        if let Some(name) = self.augment {
            Augment::preset(name, &mut model);
        }
        let train = &mut model.train;
        train.schedule = train.schedule.scaled(scale);
        train.epochs = scaled(train.epochs, scale);
        Ok(model)
    }
}

impl Recipe {
    fn network(&self) -> Result<Model, ReproduceError> {
        let mut model = Model::open(self.model)?;
        for text in self.replace {
            text.parse::<Replacement>()?.apply(&mut model)?;
        }
        if self.change.is_empty() { Ok(model) } else { self.changed(&model) }
    }

    /// `model` with the keys of the change in place of its own.
    fn changed(&self, model: &Model) -> Result<Model, ReproduceError> {
        let refuse = |error: String| ReproduceError::Change { model: self.model, error };
        let mut text = Table::try_from(model).map_err(|error| refuse(error.to_string()))?;
        text.extend(self.change.parse::<Table>().map_err(|error| refuse(error.to_string()))?);
        Ok(Model::parse(self.model, &text.to_string())?)
    }

    /// Differences from the built-in network, in words.
    pub fn changes(&self) -> String {
        let change = self.change.lines().map(str::trim).collect::<Vec<_>>().join(" ");
        let parts = self.replace.iter().map(|text| (*text).to_owned()).chain((!change.is_empty()).then_some(change));
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// `scale` times as many epochs, at least one.
pub(super) fn scaled(epochs: usize, scale: f64) -> usize {
    ((epochs as f64 * scale).round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::super::{Measure, REPRODUCTIONS};
    use crate::net::{Net, Schedule};

    #[test]
    fn every_arm_is_a_network_that_can_be_built() {
        let mut names: Vec<_> = REPRODUCTIONS.iter().map(|reproduction| reproduction.name).collect();
        for reproduction in REPRODUCTIONS {
            let networks = |full| reproduction.arms.iter().map(move |arm| arm.network(full, 1.0).unwrap());
            for full in [false, true] {
                let built: Vec<_> = networks(full).map(|model| Net::new(model).unwrap()).collect();
                let differ = |pair: &[Net]| pair[0].model != pair[1].model;
                assert!(built.windows(2).all(differ), "{}: two arms are one network", reproduction.name);
            }
            if let Measure::Published { errors, views } = reproduction.measure {
                assert_eq!((errors.len(), views.len()), (reproduction.arms.len(), reproduction.arms.len()));
            }
            assert!(reproduction.seeds > 0 && !reproduction.arms.is_empty());
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REPRODUCTIONS.len());
    }

    #[test]
    fn changes_reach_the_network() {
        let find = |name: &str| REPRODUCTIONS.iter().find(|reproduction| reproduction.name == name).unwrap();
        let model = |name: &str, arm: usize| find(name).arms[arm].network(false, 1.0).unwrap();
        let count = |name: &str, arm: usize, stage: &str| {
            model(name, arm).layers.iter().flat_map(|row| row.then.clone()).filter(|then| then.name() == stage).count()
        };
        assert_eq!([count("norm", 0, "lrn"), count("norm", 1, "lrn")], [2, 0]);
        assert_eq!([count("relu-vs-tanh", 0, "relu"), count("relu-vs-tanh", 1, "tanh")], [3, 3]);
        assert_eq!([0, 1].map(|arm| model("overlap", arm).shared["pool"].get::<usize>("size")), [3, 2]);
        assert_eq!([0, 1].map(|arm| model("two-towers", arm).towers), [2, 1]);
        let scaled = find("norm").arms[0].network(false, 0.5).unwrap().train;
        let Schedule::Drops(drops) = scaled.schedule else { panic!("{:?}", scaled.schedule) };
        assert_eq!((scaled.epochs, drops.epochs), (7, vec![5, 6]), "of 13 epochs, dropped after 9 and 12");
    }
}
