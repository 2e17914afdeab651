//! Model files: a network as a table of rows, like section 3.5 of the paper, with its training defaults.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::NetError;
use super::schedule::Schedule;

/// Networks that come with the program, by name.
pub const BUILT_IN: &[(&str, &str)] = &[
    ("mini", include_str!("../../assets/models/mini.toml")),
    ("alexnet", include_str!("../../assets/models/alexnet.toml")),
    ("alexnet-2012", include_str!("../../assets/models/alexnet-2012.toml")),
    ("alexnet-one-tower", include_str!("../../assets/models/alexnet-one-tower.toml")),
    ("caffenet", include_str!("../../assets/models/caffenet.toml")),
    ("cifar-quick", include_str!("../../assets/models/cifar-quick.toml")),
    ("cifar-18pct", include_str!("../../assets/models/cifar-18pct.toml")),
];

/// A model file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// One line about the network.
    pub about: String,
    /// What it sees.
    pub input: Input,
    /// How many towers share it.
    #[serde(default = "one")]
    pub towers: usize,
    /// Parameters of `lrn` where a row names it without its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lrn: Option<Lrn>,
    /// Parameters of `pool` where a row names it without its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<Pool>,
    /// The rows, from the image to the classes.
    pub layers: Vec<Row>,
    /// Training defaults; the command line overrides them.
    pub train: TrainDefaults,
}

fn one() -> usize {
    1
}

/// The crop a network sees and the stored image it is cut from.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Colours; 3.
    pub channels: usize,
    /// Side of the crop in pixels.
    pub size: usize,
    /// Side of the stored image; the crop's where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<usize>,
    /// Subtracts the centre of the mean image whatever the crop, as the released code did.
    #[serde(default)]
    pub mean_centred: bool,
    /// What red, green and blue are multiplied with after the mean; 1 in 2012.
    #[serde(default = "unscaled")]
    pub scale: [f32; 3],
}

fn unscaled() -> [f32; 3] {
    [1.0; 3]
}

impl Input {
    /// Side of the stored image.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.stored.unwrap_or(self.size)
    }
}

/// Which towers a row reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Sees {
    /// Its own.
    #[default]
    Own,
    /// All of them, its own first.
    Both,
}

/// A layer with weights and what follows it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Name of the layer.
    pub name: String,
    /// A convolution …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conv: Option<Conv>,
    /// … or so many fully connected neurons.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fc: Option<usize>,
    /// Which towers it reads.
    #[serde(default)]
    pub sees: Sees,
    /// `a`: not shared, all of it on tower A.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// Standard deviation of the initial weights; the paper's 0.01 where absent.
    #[serde(default = "paper_deviation")]
    pub weights: f32,
    /// Initial bias.
    #[serde(default)]
    pub bias: f32,
    /// Weight decay of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decay: Option<f32>,
    /// What is done to its output, in order.
    #[serde(default)]
    pub then: Vec<Stage>,
}

fn paper_deviation() -> f32 {
    0.01
}

/// A convolution over the whole width of the network.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Conv {
    /// Filters of all towers together.
    pub filters: usize,
    /// Side of the window.
    pub size: usize,
    /// Pixels from one window to the next.
    #[serde(default = "one")]
    pub stride: usize,
    /// Zeros around the maps.
    #[serde(default)]
    pub pad: usize,
}

/// Local response normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lrn {
    /// Maps (or, same-map, the side in pixels) that are summed over.
    pub size: usize,
    /// Added to the sum.
    pub k: f32,
    /// Multiplies the sum, as it stands in the paper's formula.
    pub alpha: f32,
    /// Exponent.
    pub beta: f32,
}

/// Pooling.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// Side of the window.
    pub size: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Pixels around the maps, which do not count.
    #[serde(default)]
    pub pad: usize,
}

/// What follows a layer with weights: `"relu"`, or with parameters of its own `{ pool = { size = 2, stride = 2 } }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Stage {
    /// max(x, 0).
    Relu,
    /// tanh x.
    Tanh,
    /// Normalisation across maps.
    Lrn(Option<Lrn>),
    /// Normalisation within a map.
    LrnSpatial(Option<Lrn>),
    /// Max pooling.
    Pool(Option<Pool>),
    /// Average pooling.
    AveragePool(Option<Pool>),
    /// Dropout that keeps this share; the paper's half where absent.
    Dropout(Option<f32>),
    /// Softmax over the classes and the loss; the last stage of the last row.
    Softmax,
}

const STAGES: &[&str] = &["relu", "tanh", "lrn", "lrn_spatial", "pool", "average_pool", "dropout", "softmax"];

impl<'de> Deserialize<'de> for Stage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StageVisitor)
    }
}

struct StageVisitor;

impl<'de> Visitor<'de> for StageVisitor {
    type Value = Stage;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "one of {}, or a table with one of them", STAGES.join(", "))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Stage, E> {
        Ok(match name {
            "relu" => Stage::Relu,
            "tanh" => Stage::Tanh,
            "lrn" => Stage::Lrn(None),
            "lrn_spatial" => Stage::LrnSpatial(None),
            "pool" => Stage::Pool(None),
            "average_pool" => Stage::AveragePool(None),
            "dropout" => Stage::Dropout(None),
            "softmax" => Stage::Softmax,
            other => return Err(E::unknown_variant(other, STAGES)),
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stage, A::Error> {
        let name: String = map.next_key()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let stage = match name.as_str() {
            "lrn" => Stage::Lrn(Some(map.next_value()?)),
            "lrn_spatial" => Stage::LrnSpatial(Some(map.next_value()?)),
            "pool" => Stage::Pool(Some(map.next_value()?)),
            "average_pool" => Stage::AveragePool(Some(map.next_value()?)),
            "dropout" => Stage::Dropout(Some(map.next_value()?)),
            other => return Err(de::Error::unknown_variant(other, STAGES)),
        };
        match map.next_key::<String>()? {
            None => Ok(stage),
            Some(extra) => Err(de::Error::custom(format!("{extra} in a table that already has {name}"))),
        }
    }
}

impl Serialize for Stage {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        fn table<S: serde::Serializer, T: Serialize>(s: S, name: &str, value: Option<&T>) -> Result<S::Ok, S::Error> {
            let Some(value) = value else { return s.serialize_str(name) };
            let mut map = s.serialize_map(Some(1))?;
            map.serialize_entry(name, value)?;
            map.end()
        }
        match self {
            Self::Relu => serializer.serialize_str("relu"),
            Self::Tanh => serializer.serialize_str("tanh"),
            Self::Lrn(own) => table(serializer, "lrn", own.as_ref()),
            Self::LrnSpatial(own) => table(serializer, "lrn_spatial", own.as_ref()),
            Self::Pool(own) => table(serializer, "pool", own.as_ref()),
            Self::AveragePool(own) => table(serializer, "average_pool", own.as_ref()),
            Self::Dropout(own) => table(serializer, "dropout", own.as_ref()),
            Self::Softmax => serializer.serialize_str("softmax"),
        }
    }
}

/// How a network is trained unless told otherwise.
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
    /// Share of the last increment that is kept.
    #[serde(default = "paper_momentum")]
    pub momentum: f32,
    /// Weight decay where a row has none of its own.
    #[serde(default)]
    pub decay: f32,
    /// When rates change.
    #[serde(default)]
    pub schedule: Schedule,
    /// What the rates of single layers are multiplied with besides, by the names of rows; 0 freezes one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub layers: BTreeMap<String, f32>,
    /// Whether training images are mirrored half of the time.
    #[serde(default)]
    pub mirror: bool,
}

fn paper_momentum() -> f32 {
    0.9
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
            return Err(NetError::Unknown { wanted: spec.into(), known: names.join(", ") });
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| NetError::Read { path: spec.into(), reason: e.to_string() })?;
        Self::parse(spec, &text)
    }

    /// Gives the last layer one output for each of `classes` classes.
    pub fn fit_classes(&mut self, classes: usize) {
        let Some(row) = self.layers.last_mut() else { return };
        match (&mut row.fc, &mut row.conv) {
            (Some(outputs), _) => *outputs = classes,
            (None, Some(conv)) => conv.filters = classes,
            (None, None) => (),
        }
    }

    /// The model in `text`, which came from `source`.
    ///
    /// # Errors
    /// When the text is not a model; the message gives the line.
    pub fn parse(source: &str, text: &str) -> Result<Self, NetError> {
        toml::from_str(text).map_err(|e| NetError::Parse { source_name: source.into(), reason: e.to_string() })
    }
}
