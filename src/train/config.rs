//! What a training run does, resolved: what the command line says over what the model file says.

use serde::{Deserialize, Serialize};

use crate::layout::Request;
use crate::net::{Exchange, Model};
use crate::session::Rates;

/// A resolved run, as `config.toml` in the run folder has it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Config {
    /// Name or path of the model.
    pub model: String,
    /// Folder of the data; the bundled sample where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// What `--devices` said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<String>,
    /// Images computed at once; as many as fit where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub micro_batch: Option<usize>,
    /// Whether cheap outputs are made again in the backward pass instead of kept.
    #[serde(default)]
    pub recompute: bool,
    /// How maps travel between devices.
    #[serde(default)]
    pub exchange: Exchange,
    /// Ends the run before the epochs of the network's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Of everything random.
    pub seed: u64,
    /// The network with its training defaults, the command line's already in them.
    pub network: Model,
}

impl Config {
    /// A run of `network`, which is called `model`, on the bundled sample and the best adapter.
    #[must_use]
    pub fn new(model: &str, network: Model, seed: u64) -> Self {
        Self {
            model: model.into(),
            data: None,
            devices: None,
            micro_batch: None,
            recompute: false,
            exchange: Exchange::default(),
            steps: None,
            seed,
            network,
        }
    }

    /// Images in a minibatch.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.network.train.batch
    }

    /// What it wants of its devices.
    #[must_use]
    pub fn request(&self) -> Request {
        let Self { micro_batch, recompute, exchange, .. } = *self;
        Request { micro_batch, recompute, exchange, ..Request::training(self.batch()) }
    }

    /// Rates after `epoch` finished epochs and `step` finished steps.
    #[must_use]
    pub fn rates(&self, epoch: usize, step: u64) -> Rates {
        let train = &self.network.train;
        let drops = train.drops.epochs.iter().filter(|&&after| epoch >= after).count()
            + train.drops.steps.iter().filter(|&&after| step >= after).count();
        let factor = f64::from(train.drops.divide_by).powi(-(drops as i32));
        let dropped = |rate: f32| (f64::from(rate) * factor) as f32;
        Rates {
            weights: dropped(train.rate),
            biases: dropped(train.bias_rate.unwrap_or(train.rate)),
            momentum: train.momentum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_drop_after_the_epochs_and_steps_named() {
        let mut network = Model::open("cifar-quick").unwrap();
        network.train.drops.steps = vec![5000];
        let config = Config::new("cifar-quick", network, 0);
        let at = |epoch, step| config.rates(epoch, step);
        assert_eq!(at(0, 0), Rates { weights: 0.001, biases: 0.002, momentum: 0.9 });
        assert_eq!(at(8, 4999), at(0, 0));
        // Divided in f64, so one rounding away from the decimal fraction.
        let close = |rates: Rates, weights: f32| {
            (rates.weights / weights - 1.0).abs() < 1e-6 && (rates.biases / weights - 2.0).abs() < 1e-6
        };
        assert!(close(at(9, 4999), 1e-4));
        assert!(close(at(11, 4999), 1e-5));
        assert!(close(at(11, 5000), 1e-6));
    }

    #[test]
    fn a_config_survives_its_file() {
        for (name, _) in crate::net::model::BUILT_IN {
            let network = Model::open(name).unwrap();
            let config = Config {
                data: Some("somewhere".into()),
                steps: Some(3),
                micro_batch: Some(8),
                exchange: Exchange::F16,
                ..Config::new(name, network, 1)
            };
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<Config>(&text).unwrap(), config, "{text}");
        }
    }
}
