//! Factors of the rates of one layer: a number for all of it, or weights and biases apart.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde::{Deserialize as DeriveDeserialize, Serialize as DeriveSerialize};

use super::build::{BIAS, WEIGHTS};

/// Factors of the learning rates of a layer's weights and of its biases; 0 freezes them.
///
/// A model file has one number for both, `conv1 = 0.1`, or names them: `conv1 = { weights = 0.1 }`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerFactors {
    /// Factor of the rate of weights.
    pub weights: f32,
    /// Factor of the rate of biases.
    pub biases: f32,
}

impl LayerFactors {
    /// Rates as they are.
    pub const ONE: Self = Self::both(1.0);

    /// One factor for weights and biases.
    pub const fn both(factor: f32) -> Self {
        Self { weights: factor, biases: factor }
    }

    /// What of the layer `row` a rate of 0 freezes: all of it, its weights, its biases, or nothing.
    pub fn frozen(self, row: &str) -> Option<String> {
        match (self.weights == 0.0, self.biases == 0.0) {
            (true, true) => Some(row.to_owned()),
            (true, false) => Some(format!("{row}{WEIGHTS}")),
            (false, true) => Some(format!("{row}{BIAS}")),
            (false, false) => None,
        }
    }

    /// The factors after a further change by `other`.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        Self { weights: self.weights * other.weights, biases: self.biases * other.biases }
    }
}

/// Whether the tensor called `name`, `conv1.a.weights.b`, is held by an entry of `frozen`: its row, or the row's
/// weights or biases.
pub fn is_frozen(name: &str, frozen: &BTreeSet<String>) -> bool {
    let row = name.split('.').next().unwrap_or(name);
    let part = if name.split('.').any(|word| word == &BIAS[1..]) { BIAS } else { WEIGHTS };
    frozen.contains(row) || frozen.contains(&format!("{row}{part}"))
}

impl Default for LayerFactors {
    fn default() -> Self {
        Self::ONE
    }
}

/// The factors as a table; what is absent is 1.
#[derive(DeriveDeserialize, DeriveSerialize)]
#[serde(deny_unknown_fields, default)]
struct Apart {
    weights: f32,
    biases: f32,
}

impl Default for Apart {
    fn default() -> Self {
        Self { weights: 1.0, biases: 1.0 }
    }
}

impl Serialize for LayerFactors {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { weights, biases } = *self;
        if weights == biases {
            serializer.serialize_f32(weights)
        } else {
            Apart { weights, biases }.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for LayerFactors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrTable;

        impl<'de> Visitor<'de> for NumberOrTable {
            type Value = LayerFactors;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a factor of a layer's rates, or a table of those of its weights and biases")
            }

            fn visit_f64<E>(self, factor: f64) -> Result<LayerFactors, E> {
                Ok(LayerFactors::both(factor as f32))
            }

            fn visit_i64<E>(self, factor: i64) -> Result<LayerFactors, E> {
                Ok(LayerFactors::both(factor as f32))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<LayerFactors, A::Error> {
                let Apart { weights, biases } = Apart::deserialize(MapAccessDeserializer::new(map))?;
                Ok(LayerFactors { weights, biases })
            }
        }

        deserializer.deserialize_any(NumberOrTable)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_number_is_for_both_and_a_table_names_them() {
        let read = |text: &str| toml::from_str::<BTreeMap<String, LayerFactors>>(text).map(|table| table["conv1"]);
        for (text, weights, biases, written) in [
            ("conv1 = 0.5", 0.5, 0.5, "conv1 = 0.5\n"),
            ("conv1 = 0", 0.0, 0.0, "conv1 = 0.0\n"),
            ("conv1 = { weights = 0.5 }", 0.5, 1.0, "[conv1]\nweights = 0.5\nbiases = 1.0\n"),
            ("conv1 = { biases = 0 }", 1.0, 0.0, "[conv1]\nweights = 1.0\nbiases = 0.0\n"),
        ] {
            let factors = read(text).unwrap();
            assert_eq!((factors.weights, factors.biases), (weights, biases), "{text}");
            let again = toml::to_string(&BTreeMap::from([("conv1", factors)])).unwrap();
            assert_eq!((again.as_str(), read(&again).unwrap()), (written, factors));
        }
        for (wrong, said) in [("conv1 = \"half\"", "a factor"), ("conv1 = { weight = 0.5 }", "unknown field `weight`")]
        {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
