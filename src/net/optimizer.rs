//! The optimiser that a model file asks for, with its hyper-parameters.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::NetError;
use crate::ops::optimizer::{OPTIMIZERS, Optimizer};

/// The key of the optimiser's name in model files; hyper-parameters stand beside it, each by its own name.
const KEY: &str = "optimizer";

/// Keys that belong to it, whichever optimiser it is.
static KEYS: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let hyper = OPTIMIZERS.iter().flat_map(|optimizer| optimizer.hyper).map(|(name, _)| *name);
    std::iter::once(KEY).chain(hyper).collect()
});

/// An optimiser and its hyper-parameters besides rates and decay.
#[derive(Clone, Debug, PartialEq)]
pub struct OptimizerConfig {
    /// The optimiser; the first of [`OPTIMIZERS`] where a model file names none.
    pub kind: &'static Optimizer,
    /// Values of all its hyper-parameters, by name.
    pub hyper: BTreeMap<&'static str, f32>,
}

impl From<&'static Optimizer> for OptimizerConfig {
    /// `kind` with its default hyper-parameters.
    fn from(kind: &'static Optimizer) -> Self {
        Self { kind, hyper: kind.hyper.iter().copied().collect() }
    }
}

impl OptimizerConfig {
    /// The optimiser called `name`, with its defaults.
    pub fn named(name: &str) -> Result<Self, NetError> {
        let known = || OPTIMIZERS.iter().map(|optimizer| optimizer.name).collect::<Vec<_>>().join(", ");
        let unknown = || NetError::Optimizer { found: name.into(), known: known() };
        Optimizer::find(name).map(Self::from).ok_or_else(unknown)
    }

    /// Sets the hyper-parameter called `name`.
    pub fn set(&mut self, name: &str, value: f32) -> Result<(), NetError> {
        let known = self.hyper.keys().copied().collect::<Vec<_>>().join(", ");
        let unknown = || NetError::HyperParameter { optimizer: self.kind.name, found: name.into(), known };
        let slot = self.hyper.get_mut(name).ok_or_else(unknown)?;
        *slot = value;
        Ok(())
    }
}

impl Serialize for OptimizerConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if self.kind != OPTIMIZERS[0] {
            map.serialize_entry(KEY, self.kind.name)?;
        }
        self.hyper.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for OptimizerConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = OptimizerConfig;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an optimizer and its hyper-parameters")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OptimizerConfig, A::Error> {
                let (mut config, mut numbers) = (OptimizerConfig::from(OPTIMIZERS[0]), Vec::new());
                while let Some(key) = map.next_key::<String>()? {
                    // Where keys are flattened, what reads their values no longer knows them.
                    let of_key = |error: A::Error| A::Error::custom(format!("{key}: {error}"));
                    if key == KEY {
                        let name = map.next_value::<String>().map_err(of_key)?;
                        config = OptimizerConfig::named(&name).map_err(A::Error::custom)?;
                    } else {
                        let value = map.next_value::<f32>().map_err(of_key)?;
                        numbers.push((key, value));
                    }
                }
                // The optimiser first: a number before its name is one of it, too.
                for (name, value) in numbers {
                    config.set(&name, value).map_err(A::Error::custom)?;
                }
                Ok(config)
            }
        }

        deserializer.deserialize_struct("OptimizerConfig", &KEYS, Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Model;

    /// `mini` with `lines` in place of its momentum.
    fn parse(lines: &str) -> Result<Model, NetError> {
        let (_, mini) = crate::net::model::BUILT_IN.iter().find(|(name, _)| *name == "mini").unwrap();
        assert!(mini.contains("momentum = 0.9\n"));
        Model::parse("mini.toml", &mini.replace("momentum = 0.9\n", lines))
    }

    #[test]
    fn numbers_stand_beside_the_name_in_any_order_and_have_defaults() {
        for (lines, expected) in [
            ("", 0.9),
            ("momentum = 0.5\n", 0.5),
            ("momentum = 0.25\noptimizer = \"sgd\"\n", 0.25),
            ("momentum = 1\n", 1.0),
        ] {
            let config = parse(lines).unwrap().train.optimizer;
            assert_eq!((config.kind.name, config.hyper["momentum"]), ("sgd", expected), "{lines}");
        }
    }

    #[test]
    fn the_default_is_left_out_of_the_text_and_numbers_are_not() {
        let text = toml::to_string(&parse("").unwrap().train).unwrap();
        assert!(text.contains("rate = 0.01\nmomentum = 0.9\ndecay") && !text.contains("optimizer"), "{text}");
    }

    #[test]
    fn what_no_optimiser_has_is_refused_with_what_there_is() {
        for (lines, parts) in [
            ("optimizer = \"sdg\"\n", &["unknown optimizer sdg", "sgd"][..]),
            ("optimizer = 3\n", &["optimizer", "string"]),
            ("momentum = \"much\"\n", &["momentum", "f32"]),
            ("momentun = 0.9\n", &["unknown field `momentun`"]),
        ] {
            let said = parse(lines).unwrap_err().to_string();
            assert!(parts.iter().all(|part| said.contains(part)), "{lines}: {said}");
        }
        let mut config = OptimizerConfig::from(OPTIMIZERS[0]);
        let said = config.set("inertia", 0.9).unwrap_err().to_string();
        assert_eq!(said, "optimizer sgd has no hyper-parameter inertia; it has: momentum");
    }
}
