//! Changes of a run's configuration: those that begin a new run, and those that a resumed one goes on with.

use super::Config;
use super::config::SaveEvery;
use super::error::ConfigError;
use super::folder::changes;
use crate::net::{AUGMENTS, Augment, Model, OptionChanges, Order, Replacement, Schedule};

/// Changes to a [`Config`]; what is absent stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// A built-in network or a model file, which brings its own training defaults.
    pub model: Option<String>,
    /// Stages that are replaced in all rows, one change after the other.
    pub replace: Vec<Replacement>,
    /// Folder of the data, relative to the working folder.
    pub data: Option<String>,
    /// File of names of the classes, relative to the working folder.
    pub classes: Option<String>,
    /// Devices of the towers, as [`crate::Placement::open`] takes them.
    pub devices: Option<String>,
    /// Micro-batches, recomputation, exchange format, precision, and how ranks share the work.
    pub options: OptionChanges,
    /// Weights to begin with, as in [`Config::init`].
    pub init: Option<String>,
    /// Rows whose weights stay as they are: `conv1,fc6`, `conv1..conv5`, or `none`.
    pub freeze: Option<String>,
    /// Interval of further checkpoints besides those after every epoch.
    pub save_every: Option<SaveEvery>,
    /// Number of recent checkpoints to keep.
    pub keep: Option<usize>,
    /// Largest share of images, in percent, that may be broken.
    pub max_broken: Option<f64>,
    /// Seed of all random numbers.
    pub seed: Option<u64>,
    /// Images in a minibatch.
    pub batch: Option<usize>,
    /// Passes over the training set.
    pub epochs: Option<usize>,
    /// Steps after which the run ends.
    pub steps: Option<u64>,
    /// Learning rate of weights; that of biases keeps its ratio to it.
    pub rate: Option<f32>,
    /// Schedule by which rates change.
    pub schedule: Option<Schedule>,
    /// Order in which epochs visit the training images.
    pub order: Option<Order>,
    /// Training error, 0 to 1, at which the run ends.
    pub until_error: Option<f64>,
    /// Steps from one validation within an epoch to the next.
    pub validate_every: Option<u64>,
    /// Random changes of training images, one of [`AUGMENTS`].
    pub augment: Option<String>,
}

/// Puts `new` in the place of `old` where there is one.
fn set<T>(old: &mut T, new: Option<T>) {
    if let Some(new) = new {
        *old = new;
    }
}

impl Config {
    /// Applies `changes`, those of the model first.
    ///
    /// # Errors
    /// When a model file, a layer or a name is not known; the configuration is of no use then.
    pub fn change(&mut self, changes: Changes) -> Result<(), ConfigError> {
        if let Some(model) = changes.model {
            (self.network, self.model) = (Model::open(&model)?, model);
        }
        let network = &mut self.network;
        changes.replace.iter().try_for_each(|stage| stage.apply(network)).map_err(ConfigError::Replace)?;
        if let Some(name) = changes.augment.filter(|name| !Augment::preset(name, network)) {
            return Err(ConfigError::Augment { found: name, known: AUGMENTS });
        }
        if let Some(rows) = changes.freeze {
            self.freeze = network.rows(&rows).map_err(ConfigError::Freeze)?;
        }
        set(&mut network.train.schedule, changes.schedule);
        network.train.order = changes.order.or(network.train.order);
        set(&mut network.train.batch, changes.batch);
        changes.rate.into_iter().for_each(|rate| network.train.set_rate(rate));
        if changes.data.is_some() || changes.classes.is_some() {
            self.working_folder = std::env::current_dir().ok();
        }
        self.data = changes.data.or(self.data.take());
        self.classes = changes.classes.or(self.classes.take());
        self.devices = changes.devices.or(self.devices.take());
        self.init = changes.init.or(self.init.take());
        self.save_every = changes.save_every.or(self.save_every);
        self.until_error = changes.until_error.or(self.until_error);
        self.validate_every = changes.validate_every.or(self.validate_every);
        self.max_broken = changes.max_broken.or(self.max_broken);
        self.options = self.options.changed(changes.options);
        set(&mut self.keep, changes.keep);
        set(&mut self.seed, changes.seed);
        self.set_end(changes.epochs, changes.steps);
        Ok(())
    }

    /// Says anew when the run ends: after `epochs`, after `steps`, or, where both are absent, as before. Steps alone
    /// decide for a run that was given steps; of a run that gets more epochs, the steps it had before are no end.
    fn set_end(&mut self, epochs: Option<usize>, steps: Option<u64>) {
        let train = &mut self.network.train;
        set(&mut train.epochs, epochs);
        self.steps = steps.or(self.steps.filter(|_| epochs.is_none()));
        if let Some(steps) = self.steps.filter(|_| epochs.is_none()) {
            train.epochs = train.epochs.max(usize::try_from(steps).unwrap_or(usize::MAX));
        }
    }
}

/// What differs between the network in the text `before` and `now`, training settings apart: `key: old → new`, and the
/// layers. Nothing where the text cannot be read.
pub(super) fn of_network(before: &str, now: &Model) -> Vec<String> {
    let Ok(before) = Model::parse("before", before) else { return Vec::new() };
    let text = |model: &Model| toml::to_string(model).unwrap_or_default();
    let mut found = changes(&text(&before), &text(now));
    found.retain(|change| !["about", "layers", "train"].iter().any(|key| change.starts_with(key)));
    let layers = [&before, now].map(|model| &model.layers);
    if layers[0].len() != layers[1].len() {
        found.push(format!("layers: {} → {}", layers[0].len(), layers[1].len()));
    }
    let pairs = layers[0].iter().zip(layers[1]).filter(|(before, now)| before != now);
    found.extend(pairs.map(|(_, now)| format!("layer {} is another", now.name)));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_network_is_told_apart_from_other_training() {
        let now = Model::open("mini").unwrap();
        let text = toml::to_string(&now).unwrap();
        assert!(of_network(&text, &now).is_empty() && of_network("x = [", &now).is_empty());
        let mut other = now.clone();
        (other.train.rate, other.train.epochs) = (0.5, 99);
        assert!(of_network(&text, &other).is_empty());
        (other.input.stored, other.layers[1].bias) = (Some(40), 7.0);
        let layer = format!("layer {} is another", other.layers[1].name);
        assert_eq!(of_network(&text, &other), ["input.stored: 32 → 40".to_owned(), layer]);
    }

    #[test]
    fn a_run_ends_after_its_epochs_or_its_steps() {
        let mut config = Config::new("mini", Model::open("mini").unwrap(), 0);
        config.network.train.epochs = 3;
        let mut ends = |epochs, steps| {
            config.change(Changes { epochs, steps, ..Changes::default() }).unwrap();
            (config.network.train.epochs, config.steps)
        };
        assert_eq!(ends(None, None), (3, None));
        assert_eq!(ends(None, Some(2)), (3, Some(2)));
        assert_eq!(ends(None, Some(20)), (20, Some(20)), "steps alone decide");
        assert_eq!(ends(Some(4), None), (4, None), "the steps it had before are no end");
        assert_eq!(ends(Some(4), Some(20)), (4, Some(20)), "whichever comes first");
    }

    #[test]
    fn what_is_absent_stays_and_what_is_given_is_changed() {
        let mut config = Config::new("mini", Model::open("mini").unwrap(), 7);
        config.data = Some("there".into());
        let before = config.clone();
        config.change(Changes::default()).unwrap();
        assert_eq!(config, before);
        let changes = Changes {
            replace: vec!["relu=tanh".parse().unwrap()],
            freeze: Some("conv1".into()),
            rate: Some(2.0 * before.network.train.rate),
            augment: Some("none".into()),
            options: OptionChanges { micro_batch: Some(16), ..OptionChanges::default() },
            keep: Some(3),
            ..Changes::default()
        };
        config.change(changes).unwrap();
        assert!(config.freeze.contains("conv1") && !config.network.train.augment.crop);
        assert_eq!((config.options.micro_batch, config.keep, config.seed), (Some(16), 3, 7));
        assert_eq!((config.data.as_deref(), config.network.train.batch), (Some("there"), before.network.train.batch));
        let refused = |changes| config.clone().change(changes).unwrap_err().to_string();
        let message = refused(Changes { augment: Some("more".into()), ..Changes::default() });
        assert!(message.contains("\"more\"") && message.contains("paper"), "{message}");
        let message = refused(Changes { freeze: Some("conv9".into()), ..Changes::default() });
        assert!(message.contains("conv9") && message.contains("conv1"), "{message}");
        assert!(refused(Changes { model: Some("no.toml".into()), ..Changes::default() }).contains("no.toml"));
    }
}
