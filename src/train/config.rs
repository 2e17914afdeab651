//! What a training run does, resolved: what the command line says over what the model file says.

use serde::{Deserialize, Serialize};

use crate::net::Model;
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
    /// Ends the run before the epochs of the network's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Of everything random.
    pub seed: u64,
    /// The network with its training defaults, the command line's already in them.
    pub network: Model,
}

impl Config {
    /// Images in a minibatch.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.network.train.batch
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
        let config = Config { model: "cifar-quick".into(), data: None, devices: None, steps: None, seed: 0, network };
        let at = |epoch, step| config.rates(epoch, step);
        assert_eq!(at(0, 0), Rates { weights: 0.001, biases: 0.002, momentum: 0.9 });
        assert_eq!(at(8, 4999).weights, 0.001);
        let close = |rate: f32, wanted: f32| assert!((rate / wanted - 1.0).abs() < 1e-6, "{rate}, not {wanted}");
        close(at(9, 4999).weights, 1e-4);
        close(at(9, 4999).biases, 2e-4);
        close(at(11, 4999).weights, 1e-5);
        close(at(11, 5000).weights, 1e-6);
    }

    #[test]
    fn a_config_survives_its_file() {
        for (name, _) in crate::net::model::BUILT_IN {
            let network = Model::open(name).unwrap();
            let config = Config {
                model: (*name).into(),
                data: Some("somewhere".into()),
                devices: None,
                steps: Some(3),
                seed: 1,
                network,
            };
            let text = toml::to_string(&config).unwrap();
            assert_eq!(toml::from_str::<Config>(&text).unwrap(), config, "{text}");
        }
    }
}
