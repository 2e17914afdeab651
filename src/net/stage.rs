//! What follows a layer with weights in a model file, and how a word replaces it in all rows.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::NetError;
use super::model::{Lrn, Model, Pool};

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

impl Stage {
    /// What a dropout keeps that does not say it.
    pub const KEPT: f32 = 0.5;

    /// The stage of that name, its parameters the model's.
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "relu" => Self::Relu,
            "tanh" => Self::Tanh,
            "lrn" => Self::Lrn(None),
            "lrn_spatial" => Self::LrnSpatial(None),
            "pool" => Self::Pool(None),
            "average_pool" => Self::AveragePool(None),
            "dropout" => Self::Dropout(None),
            "softmax" => Self::Softmax,
            _ => return None,
        })
    }

    /// Its name in model files.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Relu => "relu",
            Self::Tanh => "tanh",
            Self::Lrn(_) => "lrn",
            Self::LrnSpatial(_) => "lrn_spatial",
            Self::Pool(_) => "pool",
            Self::AveragePool(_) => "average_pool",
            Self::Dropout(_) => "dropout",
            Self::Softmax => "softmax",
        }
    }
}

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
        Stage::named(name).ok_or_else(|| E::unknown_variant(name, STAGES))
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
            Self::Relu | Self::Tanh | Self::Softmax => serializer.serialize_str(self.name()),
            Self::Lrn(own) | Self::LrnSpatial(own) => table(serializer, self.name(), own.as_ref()),
            Self::Pool(own) | Self::AveragePool(own) => table(serializer, self.name(), own.as_ref()),
            Self::Dropout(own) => table(serializer, self.name(), own.as_ref()),
        }
    }
}

/// A stage that all rows have another for, or none: `relu=tanh`, `lrn=none`. The ablations of the paper in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    from: &'static str,
    to: Option<Stage>,
}

impl FromStr for Replacement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names: Vec<_> = STAGES.iter().filter(|name| **name != Stage::Softmax.name()).copied().collect();
        let stage = |name: &str| Stage::named(name).filter(|stage| names.contains(&stage.name()));
        let refuse = || format!("STAGE=STAGE or STAGE=none, where the stages are {}", names.join(", "));
        let (from, to) = text.split_once('=').ok_or_else(refuse)?;
        let from = stage(from).ok_or_else(refuse)?.name();
        let to = if to == "none" { None } else { Some(stage(to).ok_or_else(refuse)?) };
        Ok(Self { from, to })
    }
}

impl Replacement {
    /// Replaces the stage in every row of `model`.
    ///
    /// # Errors
    /// When no row has it.
    pub fn apply(&self, model: &mut Model) -> Result<(), NetError> {
        let stages = || model.layers.iter().flat_map(|row| &row.then).map(Stage::name);
        if !stages().any(|name| name == self.from) {
            let there: BTreeSet<_> = stages().collect();
            let there = there.into_iter().collect::<Vec<_>>().join(", ");
            let reason = format!("no layer has {} to be replaced; there are {there}", self.from);
            return Err(NetError::Layer { layer: "(all)".into(), reason });
        }
        for row in &mut model.layers {
            let replaced =
                row.then.iter().filter_map(|stage| if stage.name() == self.from { self.to } else { Some(*stage) });
            row.then = replaced.collect();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Model;

    #[test]
    fn a_replacement_goes_through_all_rows() {
        let mut model = Model::open("alexnet-2012").unwrap();
        let stages = |model: &Model| model.layers.iter().flat_map(|row| row.then.clone()).collect::<Vec<_>>();
        let count = |model: &Model, stage: Stage| stages(model).iter().filter(|s| **s == stage).count();
        let before = stages(&model).len();
        "relu=tanh".parse::<Replacement>().unwrap().apply(&mut model).unwrap();
        assert_eq!((count(&model, Stage::Relu), count(&model, Stage::Tanh), stages(&model).len()), (0, 7, before));
        "lrn=none".parse::<Replacement>().unwrap().apply(&mut model).unwrap();
        assert_eq!((count(&model, Stage::Lrn(None)), stages(&model).len()), (0, before - 2));
        let own = stages(&model).iter().any(|stage| matches!(stage, Stage::LrnSpatial(Some(_))));
        "lrn_spatial=none".parse::<Replacement>().unwrap().apply(&mut model).unwrap();
        assert!(own && stages(&model).len() == before - 3, "parameters of its own do not hide a stage");
        let gone = "lrn=none".parse::<Replacement>().unwrap().apply(&mut model).unwrap_err().to_string();
        assert!(gone.contains("no layer has lrn") && gone.contains("dropout, pool, softmax, tanh"), "{gone}");
    }

    #[test]
    fn only_stages_replace_stages() {
        for wrong in ["relu", "relu=", "relu=gelu", "softmax=none", "relu=softmax", "gelu=relu", "=relu"] {
            assert!(wrong.parse::<Replacement>().is_err(), "{wrong}");
        }
    }
}
