//! Model files: a network as a table of rows, like section 3.5 of the paper, with its training defaults.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use toml::de::DeTable;

use super::NetError;
use super::augment::Augment;
use super::factors::LayerFactors;
use super::named::{named, near};
use super::optimizer::OptimizerConfig;
use super::schedule::Schedule;
use super::stage::Stage;
use super::text::{Kinds, ModelText};
use crate::kernel::Params;
use crate::ops::LAYERS;
use crate::ops::layer::LayerError;

/// Networks that come with the program, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("mini", include_str!("../../assets/models/mini.toml")),
    ("alexnet", include_str!("../../assets/models/alexnet.toml")),
    ("alexnet-2012", include_str!("../../assets/models/alexnet-2012.toml")),
    ("net-145-2010", include_str!("../../assets/models/net-145-2010.toml")),
    ("net-145-half", include_str!("../../assets/models/net-145-half.toml")),
    ("net-146-2009", include_str!("../../assets/models/net-146-2009.toml")),
    ("net-146-2011", include_str!("../../assets/models/net-146-2011.toml")),
    ("net-146-2012", include_str!("../../assets/models/net-146-2012.toml")),
    ("net-147", include_str!("../../assets/models/net-147.toml")),
    ("net-148", include_str!("../../assets/models/net-148.toml")),
    ("net-150", include_str!("../../assets/models/net-150.toml")),
    ("net-170", include_str!("../../assets/models/net-170.toml")),
    ("alexnet-apart", include_str!("../../assets/models/alexnet-apart.toml")),
    ("alexnet-plain-pool", include_str!("../../assets/models/alexnet-plain-pool.toml")),
    ("alexnet-conv6", include_str!("../../assets/models/alexnet-conv6.toml")),
    ("alexnet-four-towers", include_str!("../../assets/models/alexnet-four-towers.toml")),
    ("alexnet-one-tower", include_str!("../../assets/models/alexnet-one-tower.toml")),
    ("caffenet", include_str!("../../assets/models/caffenet.toml")),
    ("bvlc-alexnet", include_str!("../../assets/models/bvlc-alexnet.toml")),
    ("bvlc-cifar-quick", include_str!("../../assets/models/bvlc-cifar-quick.toml")),
    ("bvlc-caffenet", include_str!("../../assets/models/bvlc-caffenet.toml")),
    ("torchvision", include_str!("../../assets/models/torchvision.toml")),
    ("cifar-quick", include_str!("../../assets/models/cifar-quick.toml")),
    ("cifar-plain", include_str!("../../assets/models/cifar-plain.toml")),
    ("cifar-80sec", include_str!("../../assets/models/cifar-80sec.toml")),
    ("cifar-19pct", include_str!("../../assets/models/cifar-19pct.toml")),
    ("cifar-11pct", include_str!("../../assets/models/cifar-11pct.toml")),
    ("cifar-13pct", include_str!("../../assets/models/cifar-13pct.toml")),
    ("cifar-18pct", include_str!("../../assets/models/cifar-18pct.toml")),
];

/// A network as its model file states it, every key checked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Model {
    /// One line about the network.
    pub about: String,
    /// Size and preprocessing of the images it sees.
    pub input: Input,
    /// Number of towers that share it.
    pub towers: usize,
    /// Settings of layers that rows name without their own, by the key of [`crate::ops::kind::LayerKind::shared`]:
    /// `lrn`, `pool`.
    #[serde(flatten)]
    pub shared: BTreeMap<&'static str, Params>,
    /// The rows, from the image to the classes.
    pub layers: Vec<Row>,
    /// Training defaults; the command line overrides them.
    pub train: TrainDefaults,
}

/// The crop a network sees and the stored image it is cut from.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Colours of a pixel, always 3.
    pub channels: usize,
    /// Side of the crop in pixels.
    pub size: usize,
    /// Side of the stored image; the crop's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<usize>,
    /// Subtracts the centre of the mean image whatever the crop, as the released code did.
    #[serde(default)]
    pub mean_centred: bool,
    /// Subtracted from red, green and blue instead of the mean image of the training set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean: Option<[f32; 3]>,
    /// Factors of red, green and blue after the mean is subtracted; 1 in 2012.
    #[serde(default = "unscaled")]
    pub scale: [f32; 3],
}

fn unscaled() -> [f32; 3] {
    [1.0; 3]
}

impl Input {
    /// Side of the stored image.
    pub fn stored(&self) -> usize {
        self.stored.unwrap_or(self.size)
    }

    /// Pixels by which the crop can move in the stored image, twice the original's border; 0 where it does not fit.
    pub fn border2(&self) -> u32 {
        self.stored().saturating_sub(self.size) as u32
    }
}

/// Towers whose maps a row reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    /// Maps of its own tower alone.
    #[default]
    Own,
    /// All of them, its own first.
    Both,
}

/// A layer with weights and what follows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the row and its first layer.
    pub name: String,
    /// The layer with weights: `conv = { … }`, `fc = …`.
    #[serde(flatten)]
    pub head: Stage,
    /// Towers whose maps it reads.
    pub sees: Sees,
    /// `a`: not shared, all of it on tower A; `both`, of the last row: shared, its outputs brought together for the
    /// loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Standard deviation of the initial weights; the paper's 0.01 where absent.
    pub weights: f32,
    /// Initial value of all biases.
    pub bias: f32,
    /// Weight decay in place of the network's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decay: Option<f32>,
    /// Layers without weights behind it, in order.
    pub then: Vec<Stage>,
}

/// Standard deviation of the initial weights in the paper (section 5).
pub(super) const PAPER_DEVIATION: f32 = 0.01;

impl Row {
    /// Outputs of all towers: filters of a convolution, outputs of a fully connected layer.
    pub fn outputs(&self) -> usize {
        let settings = self.head.own.as_ref();
        self.head.kind.outputs().and_then(|name| settings?.find(name)).unwrap_or(0)
    }

    /// Changes the number of outputs.
    pub fn set_outputs(&mut self, outputs: usize) {
        if let (Some(name), Some(settings)) = (self.head.kind.outputs(), &mut self.head.own) {
            *settings = settings.replaced(name, outputs);
        }
    }
}

/// Order in which the epochs of a run visit the training images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Another random order every epoch.
    #[default]
    Shuffled,
    /// One order for all epochs, so that minibatches never change: that of the files, as in 2012.
    File,
}

named! {
    Order:
    Shuffled "shuffled" "another random order every epoch",
    File "file" "that of the files, in every epoch; one random order where those are sorted by class"
}

/// Training settings of a network where a run has none of its own.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TrainDefaults {
    /// Images in a minibatch.
    pub batch: usize,
    /// Passes over the training set.
    pub epochs: usize,
    /// Learning rate of weights.
    pub rate: f32,
    /// Learning rate of biases; that of weights where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bias_rate: Option<f32>,
    /// The optimiser, by `optimizer`, and its hyper-parameters, each by its name.
    #[serde(flatten)]
    pub optimizer: OptimizerConfig,
    /// Weight decay where a row has none of its own.
    #[serde(default)]
    pub decay: f32,
    /// Schedule by which rates change in the run.
    #[serde(default)]
    pub schedule: Schedule,
    /// Further factors of the rates of single layers, by the names of rows; 0 freezes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: BTreeMap<String, LayerFactors>,
    /// Order in which the epochs visit the training images; shuffled where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// Random changes of training images.
    #[serde(default)]
    pub augment: Augment,
}

impl TrainDefaults {
    /// Sets the learning rate of weights; that of biases keeps its ratio to it, or is the same after a rate of 0.
    pub fn set_rate(&mut self, rate: f32) {
        self.bias_rate = self.bias_rate.filter(|_| self.rate > 0.0).map(|bias| bias * rate / self.rate);
        self.rate = rate;
    }
}

impl Model {
    /// A built-in network by name, or the model file at a path.
    ///
    /// # Errors
    /// When there is neither, or the text is not a model; the message gives the line.
    pub fn open(spec: &str) -> Result<Self, NetError> {
        if let Some((name, text)) = BUILT_IN.iter().find(|(name, _)| *name == spec) {
            return Self::parse(&format!("assets/models/{name}.toml"), text);
        }
        let path = Path::new(spec);
        if !path.is_file() {
            let names: Vec<_> = BUILT_IN.iter().map(|(name, _)| *name).collect();
            let near = near(spec, names.iter().copied()).map(Into::into);
            return Err(NetError::Unknown { wanted: spec.into(), near, known: names.join(", ") });
        }
        let text = std::fs::read_to_string(path).map_err(|reason| NetError::Read { path: spec.into(), reason })?;
        Self::parse(spec, &text)
    }

    /// The rows in a list with commas between: `conv1,fc6`, or `conv1..conv5` for all from one to the other; `none` for
    /// no row.
    pub fn rows(&self, list: &str) -> Result<BTreeSet<String>, NetError> {
        let names: Vec<&str> = self.layers.iter().map(|row| row.name.as_str()).collect();
        let place = |name: &str| {
            let found = names.iter().position(|known| *known == name);
            found.ok_or_else(|| NetError::NoRow { wanted: name.into(), known: names.join(", ") })
        };
        let mut rows = BTreeSet::new();
        for entry in list.split(',').filter(|entry| *entry != "none") {
            let (first, last) = entry.split_once("..").unwrap_or((entry, entry));
            let (first, last) = (place(first)?, place(last)?);
            rows.extend(names[first.min(last)..=first.max(last)].iter().map(|&name| name.to_owned()));
        }
        Ok(rows)
    }

    /// Gives the last layer one output for each of `classes` classes.
    pub fn fit_classes(&mut self, classes: usize) {
        self.layers.last_mut().into_iter().for_each(|row| row.set_outputs(classes));
    }

    /// The settings of a row's layer: its own, else those at the top of the model, else the kind's defaults.
    pub fn settings(&self, stage: &Stage) -> Result<Params, LayerError> {
        let shared = || stage.kind.shared.and_then(|key| self.shared.get(key));
        let stated: Vec<_> = stage.own.as_ref().or_else(shared).into_iter().flat_map(Params::iter).collect();
        stage.kind.complete(&stated).map_err(|missing| match stage.kind.shared {
            Some(key) => LayerError::NotShared(key),
            None => LayerError::Missing { layer: stage.name(), setting: missing },
        })
    }

    /// The model in `text`, which came from `source`.
    ///
    /// # Errors
    /// When the text is not a model; the message gives the line.
    pub fn parse(source: &str, text: &str) -> Result<Self, NetError> {
        Self::parse_with(source, text, LAYERS)
    }

    /// The model in the table `key` of a TOML file, of layers of `kinds`; its numbers are not checked.
    pub(crate) fn within(key: &'static str, text: &str, kinds: Kinds) -> Result<Self, toml::de::Error> {
        toml::Deserializer::parse(text).and_then(|text| ModelIn(key, kinds).deserialize(text))
    }

    /// The same with the layers of `kinds`: [`LAYERS`] and others, or fewer.
    ///
    /// # Errors
    /// When the text is not a model; the message gives the line.
    pub fn parse_with(source: &str, text: &str, kinds: Kinds) -> Result<Self, NetError> {
        let model = toml::Deserializer::parse(text).and_then(|text| ModelText(kinds).deserialize(text));
        let source_name = source.to_owned();
        let model = match model {
            Ok(model) => model,
            Err(reason) => return Err(NetError::Parse { source_name, reason: Box::new(reason) }),
        };
        model.check().map_err(|error| {
            let line = if let NetError::Number { key, .. } = &error { line_of(text, key) } else { None };
            NetError::InFile { source_name, line, error: Box::new(error) }
        })?;
        Ok(model)
    }
}

/// The model in one table of a file whose other keys are somebody else's.
struct ModelIn<'a>(&'static str, Kinds<'a>);

impl<'de> DeserializeSeed<'de> for ModelIn<'_> {
    type Value = Model;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Model, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ModelIn<'_> {
    type Value = Model;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a table with a model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Model, A::Error> {
        let mut model = None;
        while let Some(key) = map.next_key::<String>()? {
            if key == self.0 {
                model = Some(map.next_value_seed(ModelText(self.1))?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        model.ok_or_else(|| A::Error::missing_field(self.0))
    }
}

/// The line of a key, counted from 1; `None` where the text leaves it out.
fn line_of(text: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let mut parts = key.split('.');
    let mut value = table.get_ref().get(parts.next()?)?;
    for part in parts {
        value = match part.parse::<usize>() {
            Ok(index) => value.get_ref().get(index)?,
            Err(_) => value.get_ref().get(part)?,
        };
    }
    Some(text[..value.span().start].matches('\n').count() + 1)
}

/// A model of [`LAYERS`].
impl<'de> Deserialize<'de> for Model {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ModelText(LAYERS).deserialize(deserializer)
    }
}
