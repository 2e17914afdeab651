//! A layer as a row of a model file names it, and how a word replaces one in all rows.

use std::collections::BTreeSet;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::NetError;
use super::model::Model;
use super::text::{Kinds, kind};
use crate::kernel::{Params, Value};
use crate::ops::LAYERS;
use crate::ops::activation::Activation;
use crate::ops::kind::{LayerKind, Place, Scaling};

/// A layer of a row: `"relu"`, or with settings of its own `{ pool = { size = 2, stride = 2 } }`.
#[derive(Clone, Debug, PartialEq)]
pub struct Stage {
    /// Kind of the layer, one of [`LAYERS`] or a program's own.
    pub kind: &'static LayerKind,
    /// All its settings; the model's, or the kind's defaults, where a row states none.
    pub own: Option<Params>,
}

impl Stage {
    /// The stage of that name, its settings the model's.
    pub fn named(name: &str) -> Option<Self> {
        Some(Self { kind: kind(LAYERS, name)?, own: None })
    }

    /// Its name in model files.
    pub fn name(&self) -> &'static str {
        self.kind.name
    }

    /// Whether it is dropout, whose training and evaluation differ.
    pub fn is_dropout(&self) -> bool {
        matches!(self.kind.scaling, Scaling::Factor(_))
    }

    /// The activation that the layer with weights computes in its stead where it comes first, else linear.
    pub fn epilogue(&self) -> Activation {
        if let Place::Stage { epilogue, .. } = self.kind.place { epilogue } else { Activation::Linear }
    }

    /// Whether it is the softmax with the loss.
    pub fn is_loss(&self) -> bool {
        matches!(self.kind.place, Place::Loss)
    }
}

impl Serialize for Stage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(own) = &self.own else { return serializer.serialize_str(self.name()) };
        let stated = |&(name, value): &(&'static str, Value)| {
            let setting = self.kind.setting(name);
            setting.is_none_or(|setting| !(setting.unstated && setting.default == Some(value)))
        };
        let own = Params::new(own.iter().filter(stated).collect());
        let mut values = own.iter().map(|(_, value)| value);
        match (values.next(), values.next()) {
            (Some(single), None) => serializer.collect_map([(self.name(), single)]),
            _ => serializer.collect_map([(self.name(), &own)]),
        }
    }
}

/// A stage that all rows have another for, or none: `relu=tanh`, `lrn=none`. The ablations of the paper in a line.
#[derive(Clone, Debug, PartialEq)]
pub struct Replacement {
    from: &'static LayerKind,
    to: Option<&'static LayerKind>,
}

impl FromStr for Replacement {
    type Err = NetError;

    fn from_str(text: &str) -> Result<Self, NetError> {
        Self::parse_with(text, LAYERS)
    }
}

impl Replacement {
    /// The replacement that `text` names, of stages among `kinds`.
    pub fn parse_with(text: &str, kinds: Kinds) -> Result<Self, NetError> {
        let stages: Vec<_> = kinds.iter().copied().filter(|kind| matches!(kind.place, Place::Stage { .. })).collect();
        let refuse = || NetError::Replacement {
            found: text.into(),
            known: stages.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", "),
        };
        let (from, to) = text.split_once('=').ok_or_else(refuse)?;
        let from = kind(&stages, from).ok_or_else(refuse)?;
        let to = if to == "none" { None } else { Some(kind(&stages, to).ok_or_else(refuse)?) };
        Ok(Self { from, to })
    }

    /// Replaces the stage in every row of `model`.
    pub fn apply(&self, model: &mut Model) -> Result<(), NetError> {
        let stages = || model.layers.iter().flat_map(|row| &row.then);
        if !stages().any(|stage| stage.kind == self.from) {
            let there: BTreeSet<_> = stages().map(Stage::name).collect();
            let there = there.into_iter().collect::<Vec<_>>().join(", ");
            return Err(NetError::NoStage { wanted: self.from.name, known: there });
        }
        let to = self.to.map(|kind| Stage { kind, own: None });
        for row in &mut model.layers {
            let stages = std::mem::take(&mut row.then).into_iter();
            row.then =
                stages.filter_map(|stage| if stage.kind == self.from { to.clone() } else { Some(stage) }).collect();
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
        let count = |model: &Model, name: &str| {
            let wanted = Stage::named(name).unwrap();
            stages(model).iter().filter(|stage| **stage == wanted).count()
        };
        let before = stages(&model).len();
        "relu=tanh".parse::<Replacement>().unwrap().apply(&mut model).unwrap();
        assert_eq!((count(&model, "relu"), count(&model, "tanh"), stages(&model).len()), (0, 7, before));
        "lrn=none".parse::<Replacement>().unwrap().apply(&mut model).unwrap();
        assert_eq!((count(&model, "lrn"), stages(&model).len()), (0, before - 2));
        let own = stages(&model).iter().any(|stage| stage.name() == "lrn_spatial" && stage.own.is_some());
        "lrn_spatial=none".parse::<Replacement>().unwrap().apply(&mut model).unwrap();
        assert!(own && stages(&model).len() == before - 3, "parameters of its own do not hide a stage");
        let gone = "lrn=none".parse::<Replacement>().unwrap().apply(&mut model).unwrap_err().to_string();
        assert!(gone.contains("no layer has lrn") && gone.contains("dropout, pool, softmax, tanh"), "{gone}");
    }

    /// Releases before groups were known read what is written of networks without any.
    #[test]
    fn groups_are_written_where_there_are_some() {
        for (name, count) in [("mini", 0), ("bvlc-alexnet", 3)] {
            let model = Model::open(name).unwrap();
            let text = toml::to_string(&model).unwrap();
            assert_eq!((text.matches("groups = ").count(), text.contains("floor")), (count, true), "{text}");
            assert_eq!(Model::parse("written", &text).unwrap(), model);
        }
    }

    #[test]
    fn only_stages_replace_stages() {
        for wrong in ["relu", "relu=", "relu=gelu", "softmax=none", "relu=softmax", "gelu=relu", "=relu"] {
            assert!(wrong.parse::<Replacement>().is_err(), "{wrong}");
        }
    }
}
