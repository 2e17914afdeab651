//! Configuration of a training run: the model file, overridden by the command line.

use std::collections::BTreeSet;
use std::num::IntErrorKind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use crate::data::{DataError, Dataset, located, named_by};
use crate::net::{Factors, Job, Kinds, LAYERS, MOST_IMAGES, Model, Options, Parallel, Position};
use crate::session::Rates;

/// Resolved configuration, as in `config.toml` of a run folder.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Config {
    /// Name or path of the model.
    pub model: String,
    /// Folder of the data; the bundled sample where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Folder that `data` and `classes` are relative to, where the run was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_folder: Option<PathBuf>,
    /// File of names of the classes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<String>,
    /// Devices of the towers, as [`crate::Placement::open`] takes them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub devices: Option<String>,
    /// Micro-batches, recomputation, exchange format and precision.
    #[serde(flatten)]
    pub options: Options,
    /// Weights to begin with, of a checkpoint or a safetensors file, and of which rows: `FILE` or `FILE:conv1,conv2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Rows whose weights stay as they are.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub freeze: BTreeSet<String>,
    /// Interval of further checkpoints besides those after every epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub save_every: Option<SaveEvery>,
    /// Checkpoints to keep, the last one among them; the best is kept besides.
    #[serde(default = "one")]
    pub keep: usize,
    /// Ends the run before the epochs of the network's defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Ends the run after the first epoch with this training error or less, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_error: Option<f64>,
    /// Steps from one validation within an epoch to the next; those after every epoch are done besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate_every: Option<u64>,
    /// Largest share of images, in percent, that may be broken; 1 % and a handful where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_broken: Option<f64>,
    /// Seed of all random numbers.
    pub seed: u64,
    /// The network with its training defaults, the command line's already in them.
    pub network: Model,
}

fn one() -> usize {
    1
}

/// Interval between two checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SaveEvery {
    /// A number of steps.
    Steps(u64),
    /// A number of minutes, by the clock.
    Minutes(u64),
}

impl SaveEvery {
    /// Whether the interval is none.
    fn is_never(self) -> bool {
        matches!(self, Self::Steps(0) | Self::Minutes(0))
    }
}

/// Longest interval: TOML has no larger numbers, nor has a run more steps or minutes.
const MOST: u64 = i64::MAX as u64;

/// Text that is no interval between two checkpoints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found {0:?}, expected a number of steps like 500, or of minutes like 10m")]
pub struct SaveEveryError(String);

impl FromStr for SaveEvery {
    type Err = SaveEveryError;

    /// `500` steps, or `10m` minutes.
    fn from_str(text: &str) -> Result<Self, SaveEveryError> {
        let (digits, make): (_, fn(u64) -> Self) = match text.strip_suffix('m') {
            Some(minutes) => (minutes, Self::Minutes),
            None => (text, Self::Steps),
        };
        match digits.parse::<u64>() {
            Ok(number) if number > 0 => Ok(make(number.min(MOST))),
            Err(e) if *e.kind() == IntErrorKind::PosOverflow => Ok(make(MOST)),
            _ => Err(SaveEveryError(text.into())),
        }
    }
}

impl Config {
    /// A run of `network`, which is called `model`, on the bundled sample and the best adapter.
    pub fn new(model: &str, network: Model, seed: u64) -> Self {
        Self {
            model: model.into(),
            data: None,
            working_folder: None,
            classes: None,
            devices: None,
            options: Options::DEFAULT,
            init: None,
            freeze: BTreeSet::new(),
            save_every: None,
            keep: 1,
            steps: None,
            until_error: None,
            validate_every: None,
            max_broken: None,
            seed,
            network,
        }
    }

    /// Reads `config.toml`, as strictly as a model file: unknown keys and values out of range are refused.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        Self::parse_with(text, LAYERS)
    }

    /// The same for a network with layers of `kinds`: [`LAYERS`] and others, or fewer.
    pub fn parse_with(text: &str, kinds: Kinds) -> Result<Self, ConfigError> {
        let config: Self = if std::ptr::eq(kinds, LAYERS) {
            toml::from_str(text)?
        } else {
            // A network of known layers stands in the place of the other, which is read apart.
            let mut table: toml::Table = text.parse()?;
            let network = Model::within("network", text, kinds)?;
            table.insert("network".into(), toml::Value::try_from(Model::open("mini")?)?);
            Self { network, ..table.try_into()? }
        };
        let known = config.keys();
        if let Some(key) = text.parse::<toml::Table>()?.keys().find(|key| !known.contains(*key)) {
            let line = text
                .lines()
                .position(|line| line.trim_start_matches([' ', '\t', '[']).starts_with(key))
                .map_or(0, |line| line + 1);
            let known = known.iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", ");
            return Err(ConfigError::Key { key: key.clone(), line, known });
        }
        config.check()?;
        Ok(config)
    }

    /// All keys that `config.toml` can have.
    fn keys(&self) -> BTreeSet<String> {
        let all = Self {
            data: Some(String::new()),
            working_folder: Some(PathBuf::new()),
            classes: Some(String::new()),
            devices: Some(String::new()),
            options: Options { micro_batch: Some(1), parallel: Parallel::Hybrid, ..self.options },
            init: Some(String::new()),
            freeze: [String::new()].into(),
            save_every: Some(SaveEvery::Steps(1)),
            steps: Some(1),
            until_error: Some(1.0),
            validate_every: Some(1),
            max_broken: Some(1.0),
            ..self.clone()
        };
        // What cannot be written has been read: the table is whole.
        toml::Table::try_from(&all).unwrap_or_default().into_iter().map(|(key, _)| key).collect()
    }

    /// Checks the network's numbers and those of the run.
    ///
    /// # Errors
    /// When one is out of its range; the message names it, its value and the range.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.network.check()?;
        let micro_batch = self.options.micro_batch.filter(|images| !(1..=MOST_IMAGES).contains(images));
        let broken = self.max_broken.filter(|share| !(0.0..=100.0).contains(share));
        let until = self.until_error.filter(|error| !(0.0..=1.0).contains(error));
        let positive = "expected 1 or more";
        let wrong = [
            ("micro_batch", micro_batch.map(|images| images.to_string()), "expected 1 to 65536 images"),
            ("until_error", until.map(|error| error.to_string()), "expected 0 to 1"),
            ("keep", (self.keep == 0).then(|| "0".into()), positive),
            ("steps", self.steps.filter(|steps| *steps == 0).map(|_| "0".into()), positive),
            ("validate_every", self.validate_every.filter(|steps| *steps == 0).map(|_| "0".into()), positive),
            ("save_every", self.save_every.filter(|when| when.is_never()).map(|_| "0".into()), positive),
            ("max_broken", broken.map(|share| share.to_string()), "expected 0 to 100 percent"),
        ];
        for (key, found, wanted) in wrong {
            if let Some(found) = found {
                return Err(ConfigError::Value { key, found, wanted });
            }
        }
        for row in &self.freeze {
            self.network.rows(row).map_err(ConfigError::Freeze)?;
        }
        Ok(())
    }

    /// The training and validation images, with names of classes as configured.
    pub fn dataset(&self) -> Result<Dataset, DataError> {
        let path = |path: &String| located(Path::new(path), self.working_folder.as_deref());
        let mut dataset = Dataset::open(self.data.as_ref().map(path).as_deref(), self.network.input.stored())?;
        if let Some(file) = &self.classes {
            dataset.classes = named_by(&dataset.classes, &path(file))?;
        }
        Ok(dataset)
    }

    /// Images in a minibatch.
    pub fn batch(&self) -> usize {
        self.network.train.batch
    }

    /// The job that its session is set up for.
    pub fn job(&self) -> Job {
        Job::training(self.batch()).with(self.options)
    }

    /// Rates at some point of the run.
    pub fn rates(&self, at: &Position) -> Rates {
        let train = &self.network.train;
        let Factors { weights, biases, mut layers, .. } = train.schedule.factors(at);
        for (row, factors) in &train.layers {
            let now = layers.entry(row.clone()).or_default();
            *now = now.times(*factors);
        }
        let rate = |rate: f32, factor: f64| (f64::from(rate) * factor) as f32;
        Rates {
            weights: rate(train.rate, weights),
            biases: rate(train.bias_rate.unwrap_or(train.rate), biases),
            hyper: train.optimizer.hyper.clone(),
            layers,
        }
    }

    /// Rows whose tensors stay as they are at some point of the run, `conv1.weights` and `conv1.bias` where only some
    /// do: asked for, or with a rate of 0.
    pub fn frozen(&self, at: &Position) -> BTreeSet<String> {
        let rates = self.rates(at).layers;
        let still = rates.iter().filter_map(|(row, factors)| factors.frozen(row));
        self.freeze.iter().cloned().chain(still).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{LayerFactors, Precision, WireFormat};

    #[test]
    fn rates_are_those_of_the_run_times_the_schedule_s_and_the_layers_factors() {
        let mut network = Model::open("cifar-quick").unwrap();
        network.train.layers =
            [("conv1".to_owned(), LayerFactors::both(0.5)), ("conv2".to_owned(), LayerFactors::both(0.0))].into();
        let mut config = Config::new("cifar-quick", network, 0);
        let at = |epoch| Position { epoch, ..Position::default() };
        let rates = config.rates(&at(0));
        assert_eq!((rates.weights, rates.biases, rates.hyper["momentum"]), (0.001, 0.002, 0.9));
        assert_eq!((rates.layers["conv1"], rates.layers["conv2"]), (LayerFactors::both(0.5), LayerFactors::both(0.0)));
        // Divided in f64, so one rounding away from the decimal fraction.
        let later = config.rates(&at(11));
        assert!((later.weights / 1e-5 - 1.0).abs() < 1e-6 && (later.biases / 2e-5 - 1.0).abs() < 1e-6, "{later:?}");
        config.freeze.insert("conv3".into());
        assert_eq!(config.frozen(&at(0)).into_iter().collect::<Vec<_>>(), ["conv2", "conv3"]);
    }

    #[test]
    fn the_log_of_2012_freezes_conv1_at_last() {
        let mut network = Model::open("alexnet-2012").unwrap();
        network.train.schedule = crate::net::Schedule::preset("2012").unwrap();
        let config = Config::new("alexnet-2012", network, 0);
        let frozen = |epoch| config.frozen(&Position { epoch, ..Position::default() }).len();
        assert_eq!([0, 67, 71, 72, 90].map(frozen), [0, 0, 0, 1, 1]);
    }

    #[test]
    fn saving_is_asked_for_in_steps_or_minutes() {
        assert_eq!("500".parse(), Ok(SaveEvery::Steps(500)));
        assert_eq!("10m".parse(), Ok(SaveEvery::Minutes(10)));
        for long in ["18446744073709551615", "18446744073709551616"] {
            assert_eq!(long.parse(), Ok(SaveEvery::Steps(i64::MAX as u64)), "{long}");
        }
        for wrong in ["", "0", "m", "-1", "5s", "0m"] {
            assert!(wrong.parse::<SaveEvery>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_config_survives_its_file() {
        for (name, _) in crate::net::model::BUILT_IN {
            let network = Model::open(name).unwrap();
            let config = Config {
                data: Some("somewhere".into()),
                steps: Some(3),
                freeze: ["conv1".to_owned()].into(),
                save_every: Some(SaveEvery::Minutes(10)),
                options: Options {
                    micro_batch: Some(8),
                    recompute: true,
                    exchange: WireFormat::F16,
                    precision: Precision::Mixed,
                    parallel: Parallel::Hybrid,
                },
                ..Config::new(name, network, 1)
            };
            let text = toml::to_string(&config).unwrap();
            assert_eq!(Config::parse(&text).unwrap(), config, "{text}");
            let keys = config.keys();
            assert!(toml::Table::try_from(&config).unwrap().keys().all(|key| keys.contains(key)));
        }
    }

    #[test]
    fn a_config_is_read_as_strictly_as_a_model_file() {
        let config = Config {
            steps: Some(3),
            save_every: Some(SaveEvery::Steps(7)),
            freeze: ["conv1".to_owned()].into(),
            ..Config::new("mini", Model::open("mini").unwrap(), 1)
        };
        let text = toml::to_string(&config).unwrap();
        for (from, to, parts) in [
            (
                "seed = 1",
                "sed = 1\nseed = 1",
                &["line", "unknown key `sed`", "`seed`", "`micro_batch`", "`save_every`"][..],
            ),
            ("seed = 1", "seed = 1\nmicro_batch = 0", &["micro_batch = 0", "1 to 65536"]),
            ("keep = 1", "keep = 0", &["keep = 0", "1 or more"]),
            ("steps = 3", "steps = 0", &["steps = 0", "1 or more"]),
            ("steps = 7", "steps = 0", &["save_every = 0", "1 or more"]),
            ("\"conv1\"]", "\"conv9\"]", &["freeze", "conv9", "conv1"]),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            let message = Config::parse(&text.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
