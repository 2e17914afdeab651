//! Model files to models: tables whose keys are the names and settings of a list of layer kinds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::model::{Input, Model, PAPER_DEVIATION, Row, Sees, TrainDefaults};
use super::stage::Stage;
use crate::kernel::{Param as _, Params, Value};
use crate::ops::kind::{LayerKind, Number, Setting};

/// The kinds of layers that a model file can name.
pub type Kinds<'a> = &'a [&'static LayerKind];

/// The kind of that name.
pub(super) fn kind(kinds: Kinds, name: &str) -> Option<&'static LayerKind> {
    kinds.iter().find(|kind| kind.name == name).copied()
}

/// Names in backquotes, with commas between: `a`, `b`, `c`.
pub(super) fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// A table in a model file that is read key by key.
trait Reader<'de>: Sized {
    /// Value that the table becomes.
    type Output;

    /// Description for errors, "a row".
    const WHAT: &'static str;

    /// The keys it can have.
    fn keys(&self) -> Vec<&'static str>;

    /// Reads the value of one of the keys.
    fn value<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// The whole, once all keys are read; an error says what is missing.
    fn finish<E: Error>(self) -> Result<Self::Output, E>;
}

/// A reader as serde wants it.
struct Table<R>(R);

impl<'de, R: Reader<'de>> DeserializeSeed<'de> for Table<R> {
    type Value = R::Output;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<R::Output, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, R: Reader<'de>> Visitor<'de> for Table<R> {
    type Value = R::Output;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(R::WHAT)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<R::Output, A::Error> {
        while let Some(key) = map.next_key_seed(Key(self.0.keys()))? {
            self.0.value(key, &mut map)?;
        }
        self.0.finish()
    }
}

/// One of these keys.
struct Key(Vec<&'static str>);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = &'static str;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<&'static str, D::Error> {
        deserializer.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Key {
    type Value = &'static str;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<&'static str, E> {
        let known = || quoted(self.0.iter().copied());
        let key = self.0.iter().find(|key| **key == name).copied();
        key.ok_or_else(|| E::custom(format!("unknown field `{name}`, expected one of {}", known())))
    }
}

/// A list of values that are read alike.
struct List<S>(S);

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for List<S> {
    type Value = Vec<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for List<S> {
    type Value = Vec<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = seq.next_element_seed(self.0)? {
            values.push(value);
        }
        Ok(values)
    }
}

impl<'de> DeserializeSeed<'de> for Number {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        Ok(match self {
            Self::Count => Value::U32(u32::deserialize(deserializer)?),
            Self::Real => f32::deserialize(deserializer)?.value(),
            Self::Switch => Value::Bool(bool::deserialize(deserializer)?),
        })
    }
}

/// The settings of a kind in a table.
struct SettingsTable {
    kind: &'static LayerKind,
    found: Vec<(&'static str, Value)>,
}

impl<'de> Reader<'de> for SettingsTable {
    type Output = Params;
    const WHAT: &'static str = "a table of settings";

    fn keys(&self) -> Vec<&'static str> {
        self.kind.settings.iter().map(|setting| setting.name).collect()
    }

    fn value<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        if let Some(setting) = self.kind.setting(key) {
            self.found.push((setting.name, map.next_value_seed(setting.number)?));
        }
        Ok(())
    }

    fn finish<E: Error>(self) -> Result<Params, E> {
        self.kind.complete(&self.found).map_err(E::missing_field)
    }
}

/// The settings of a kind: a table of them, or the one there is.
#[derive(Clone, Copy)]
struct Settings(&'static LayerKind);

impl<'de> DeserializeSeed<'de> for Settings {
    type Value = Params;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Params, D::Error> {
        match self.0.settings {
            [] => Err(D::Error::custom(format!("{0} has no settings; write \"{0}\"", self.0.name))),
            &[Setting { name, number, .. }] => Ok(Params::new(vec![(name, number.deserialize(deserializer)?)])),
            _ => Table(SettingsTable { kind: self.0, found: Vec::new() }).deserialize(deserializer),
        }
    }
}

/// An entry of `then`: `"relu"`, or with settings of its own `{ pool = { size = 2, stride = 2 } }`.
#[derive(Clone, Copy)]
struct Then<'a>(Kinds<'a>);

impl Then<'_> {
    fn names(self) -> impl Iterator<Item = &'static str> {
        self.0.iter().filter(|kind| !kind.is_head()).map(|kind| kind.name)
    }

    fn kind<E: Error>(self, name: &str) -> Result<&'static LayerKind, E> {
        let found = kind(self.0, name).filter(|kind| !kind.is_head());
        found.ok_or_else(|| E::custom(format!("unknown variant `{name}`, expected one of {}", quoted(self.names()))))
    }
}

impl<'de> DeserializeSeed<'de> for Then<'_> {
    type Value = Stage;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Stage, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Then<'_> {
    type Value = Stage;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "one of {}, or a table with one of them", self.names().collect::<Vec<_>>().join(", "))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Stage, E> {
        Ok(Stage { kind: self.kind(name)?, own: None })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Stage, A::Error> {
        let name: String = map.next_key()?.ok_or_else(|| A::Error::invalid_length(0, &self))?;
        let kind = self.kind(&name)?;
        let own = Some(map.next_value_seed(Settings(kind))?);
        match map.next_key::<String>()? {
            None => Ok(Stage { kind, own }),
            Some(extra) => Err(A::Error::custom(format!("{extra} in a table that already has {name}"))),
        }
    }
}

/// A row of a model file.
#[derive(Clone, Copy)]
struct RowText<'a>(Kinds<'a>);

impl<'de> DeserializeSeed<'de> for RowText<'_> {
    type Value = Row;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Row, D::Error> {
        Table(RowTable { kinds: self.0, heads: Vec::new(), rest: RowRest::default() }).deserialize(deserializer)
    }
}

struct RowTable<'a> {
    kinds: Kinds<'a>,
    heads: Vec<Stage>,
    rest: RowRest,
}

/// The keys of a row that are no layers.
#[derive(Default)]
struct RowRest {
    name: Option<String>,
    sees: Sees,
    on: Option<String>,
    weights: Option<f32>,
    bias: f32,
    decay: Option<f32>,
    then: Vec<Stage>,
}

impl RowTable<'_> {
    fn heads(&self) -> impl Iterator<Item = &'static str> {
        self.kinds.iter().filter(|kind| kind.is_head()).map(|kind| kind.name)
    }
}

impl<'de> Reader<'de> for RowTable<'_> {
    type Output = Row;
    const WHAT: &'static str = "a row, { name = \"conv1\", … }";

    fn keys(&self) -> Vec<&'static str> {
        let rest = ["sees", "on", "weights", "bias", "decay", "then"];
        ["name"].into_iter().chain(self.heads()).chain(rest).collect()
    }

    fn value<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "name" => self.rest.name = Some(map.next_value()?),
            "sees" => self.rest.sees = map.next_value()?,
            "on" => self.rest.on = Some(map.next_value()?),
            "weights" => self.rest.weights = Some(map.next_value()?),
            "bias" => self.rest.bias = map.next_value()?,
            "decay" => self.rest.decay = Some(map.next_value()?),
            "then" => self.rest.then = map.next_value_seed(List(Then(self.kinds)))?,
            head => {
                if let Some(kind) = kind(self.kinds, head) {
                    self.heads.push(Stage { kind, own: Some(map.next_value_seed(Settings(kind))?) });
                }
            }
        }
        Ok(())
    }

    fn finish<E: Error>(mut self) -> Result<Row, E> {
        let RowRest { name, sees, on, weights, bias, decay, then } = std::mem::take(&mut self.rest);
        let name = name.ok_or_else(|| E::missing_field("name"))?;
        let (Some(head), true) = (self.heads.pop(), self.heads.is_empty()) else {
            let heads = quoted(self.heads());
            return Err(E::custom(format!("layer {name}: it needs exactly one layer with weights, one of {heads}")));
        };
        let weights = weights.unwrap_or(PAPER_DEVIATION);
        Ok(Row { name, head, sees, on, weights, bias, decay, then })
    }
}

/// A whole model file.
pub(super) struct ModelText<'a>(pub(super) Kinds<'a>);

impl<'de> DeserializeSeed<'de> for ModelText<'_> {
    type Value = Model;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Model, D::Error> {
        let empty = ModelTable {
            kinds: self.0,
            about: None,
            input: None,
            towers: 1,
            shared: BTreeMap::new(),
            layers: None,
            train: None,
        };
        Table(empty).deserialize(deserializer)
    }
}

struct ModelTable<'a> {
    kinds: Kinds<'a>,
    about: Option<String>,
    input: Option<Input>,
    towers: usize,
    shared: BTreeMap<&'static str, Params>,
    layers: Option<Vec<Row>>,
    train: Option<TrainDefaults>,
}

impl<'de> Reader<'de> for ModelTable<'_> {
    type Output = Model;
    const WHAT: &'static str = "a model file";

    fn keys(&self) -> Vec<&'static str> {
        let shared: BTreeSet<_> = self.kinds.iter().filter_map(|kind| kind.shared).collect();
        ["about", "input", "towers"].into_iter().chain(shared).chain(["layers", "train"]).collect()
    }

    fn value<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "about" => self.about = Some(map.next_value()?),
            "input" => self.input = Some(map.next_value()?),
            "towers" => self.towers = map.next_value()?,
            "layers" => self.layers = Some(map.next_value_seed(List(RowText(self.kinds)))?),
            "train" => self.train = Some(map.next_value()?),
            shared => {
                let kind =
                    self.kinds.iter().copied().find_map(|kind| Some((kind.shared.filter(|key| *key == shared)?, kind)));
                if let Some((key, kind)) = kind {
                    self.shared.insert(key, map.next_value_seed(Settings(kind))?);
                }
            }
        }
        Ok(())
    }

    fn finish<E: Error>(self) -> Result<Model, E> {
        Ok(Model {
            about: self.about.ok_or_else(|| E::missing_field("about"))?,
            input: self.input.ok_or_else(|| E::missing_field("input"))?,
            towers: self.towers,
            shared: self.shared,
            layers: self.layers.ok_or_else(|| E::missing_field("layers"))?,
            train: self.train.ok_or_else(|| E::missing_field("train"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::net::{Model, Net};
    use crate::ops::LAYERS;
    use crate::ops::activation::{Activation, ActivationLayer};
    use crate::ops::kind::{Caffe, LayerKind, Place, Scaling, Setting, caffe_words};
    use crate::ops::onnx::{Form, Subgraph};

    /// A layer from outside of the list, with a setting that is a float between two whole numbers.
    static MINE: LayerKind = LayerKind {
        name: "mine",
        settings: &[Setting::count_or("first", 3), Setting::real("second"), Setting::switch("third")],
        shared: Some("mine"),
        place: Place::Stage {
            build: |_| Ok(Box::new(ActivationLayer(Activation::Relu))),
            epilogue: Activation::Linear,
        },
        scaling: Scaling::Homogeneous,
        onnx: |_, _| Subgraph::one(Form::Any, "Relu", Vec::new()),
        caffe: Caffe::Words(caffe_words),
        kernels: &[],
        examples: &[],
    };

    const TEXT: &str = r#"
about = "a layer of one's own"
input = { channels = 3, size = 8 }
mine = { second = 0.1 }
layers = [
  { name = "fc1", fc = 4, then = ["relu", "mine", { mine = { second = 2, third = true } }, "dropout"] },
  { name = "fc2", fc = 4, then = ["softmax"] },
]
train = { batch = 8, epochs = 1, rate = 0.01 }
"#;

    fn mine(text: &str) -> Result<Model, String> {
        let kinds: Vec<_> = LAYERS.iter().copied().chain([&MINE]).collect();
        Model::parse_with("mine.toml", text, &kinds).map_err(|error| error.to_string())
    }

    #[test]
    fn a_list_of_kinds_can_be_longer_than_ours() {
        let model = mine(TEXT).unwrap();
        let settings = |at: usize| model.settings(&model.layers[0].then[at]).unwrap().to_string();
        assert_eq!(settings(1), "first=3 second=0.1 third=false", "the model's");
        assert_eq!(settings(2), "first=3 second=2 third=true", "its own");
        assert_eq!(settings(3), "keep=0.5", "the kind's");
        let names: Vec<_> = Net::new(model.clone()).unwrap().nodes.into_iter().map(|node| node.name).collect();
        assert_eq!(names, ["fc1", "fc1.mine", "fc1.mine2", "fc1.dropout", "fc2"]);
        let again = toml::to_string(&model).unwrap();
        assert_eq!(mine(&again).unwrap(), model, "{again}");
        // The list of this program knows neither the layer nor the key at the top.
        let refused = |text: &str| Model::parse("mine.toml", text).unwrap_err().to_string();
        let layer = refused(TEXT);
        assert!(layer.contains("line 6") && layer.contains("unknown variant `mine`"), "{layer}");
        let key = refused(&TEXT.replace("\"mine\", { mine = { second = 2, third = true } }, ", ""));
        assert!(key.contains("line 4") && key.contains("unknown field `mine`"), "{key}");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let refuses = |from: &str, to: &str, parts: &[&str]| {
            assert!(TEXT.contains(from));
            let error = mine(&TEXT.replace(from, to)).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        };
        refuses("second = 2", "second = \"2\"", &["line 6", "expected f32"]);
        refuses("second = 2", "secund = 2", &["line 6", "unknown field `secund`", "`first`, `second`, `third`"]);
        refuses("second = 2, ", "", &["line 6", "missing field `second`"]);
        refuses("second = 2", "second = 2, first = -1", &["line 6", "expected u32"]);
        refuses("\"relu\"", "{ relu = 1 }", &["line 6", "relu has no settings"]);
        refuses("\"relu\"", "\"gelu\"", &["line 6", "unknown variant `gelu`", "`average_pool`", "`mine`"]);
        refuses("fc = 4, then = [\"softmax\"]", "then = []", &["line 7", "fc2", "`conv`, `fc`"]);
        refuses("fc = 4, then = [\"softmax\"]", "fc = 4, conv = { filters = 1, size = 1 }", &["line 7", "exactly one"]);
        refuses("about = \"a layer of one's own\"", "", &["missing field `about`"]);
    }
}
