//! Values that a caller gives for the inputs of a graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::refusal::Refusal;
use super::shapes::{AXES, volume};
use super::{Constant, Elem, Extent, Graph, GraphError, Input, Values};

/// The value given for an input when a network is set up.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// Extents of floats whose values come with every run.
    Floats(Vec<usize>),
    /// Whole numbers, constant from now on.
    Integers {
        /// Extents, the last axis innermost.
        dims: Vec<usize>,
        /// Values, as many as the product of `dims`.
        values: Arc<[i64]>,
    },
}

impl Given {
    fn dims(&self) -> &[usize] {
        match self {
            Self::Floats(dims) | Self::Integers { dims, .. } => dims,
        }
    }
}

/// An input of a graph, bound to what is given for it.
pub(super) enum Bound {
    /// Floats of these extents, in a slot.
    Floats(Vec<usize>),
    /// A constant, known before the network runs.
    Constant(Constant),
}

impl Graph {
    /// Binds `input` to what is `given`; adds to `extents`, those of names so far.
    pub(super) fn bind<'a>(
        &'a self,
        input: &'a Input,
        given: &BTreeMap<String, Given>,
        extents: &mut BTreeMap<&'a str, usize>,
    ) -> Result<Bound, GraphError> {
        let name = self.name(input.value);
        let refuse =
            |reason: Refusal| GraphError::Value { what: "input", name: name.into(), reason: reason.to_string() };
        let other = |elem: &str| Bound::Constant(Constant { dims: Vec::new(), values: Values::Other(elem.into()) });
        let Some(given) = given.get(name) else {
            return match &input.elem {
                Elem::Other(elem) => Ok(other(elem)),
                _ => Err(refuse(Refusal::NotGiven(name.into()))),
            };
        };
        let dims = given.dims();
        if dims.len() > AXES {
            return Err(refuse(Refusal::Axes(dims.len())));
        }
        if let Some(declared) = &input.dims {
            fits(declared, dims, extents).map_err(refuse)?;
        }
        match (given, &input.elem) {
            (Given::Floats(_), Elem::Float) => {
                volume(dims).map_err(refuse)?;
                Ok(Bound::Floats(dims.to_vec()))
            }
            (Given::Integers { values, .. }, Elem::Integer) => {
                Ok(Bound::Constant(Constant { dims: dims.to_vec(), values: Values::Integers(Arc::clone(values)) }))
            }
            (_, Elem::Other(elem)) => Ok(other(elem)),
            (Given::Floats(_), Elem::Integer) => Err(refuse(Refusal::FloatsGiven)),
            (Given::Integers { .. }, Elem::Float) => Err(refuse(Refusal::IntegersGiven)),
        }
    }
}

/// Checks `dims` against the `declared` extents; a name stands for the same extent everywhere.
fn fits<'a>(declared: &'a [Extent], dims: &[usize], extents: &mut BTreeMap<&'a str, usize>) -> Result<(), Refusal> {
    let fit = |(declared, &found): (&'a Extent, &usize)| match declared {
        Extent::Known(extent) => *extent == found,
        Extent::Named(name) => *extents.entry(name).or_insert(found) == found,
        Extent::Unknown => true,
    };
    if declared.len() == dims.len() && declared.iter().zip(dims).all(fit) {
        return Ok(());
    }
    let wanted: Vec<String> = declared.iter().map(ToString::to_string).collect();
    Err(Refusal::InputShape { found: dims.to_vec(), declared: wanted.join(", ") })
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(extent) => write!(f, "{extent}"),
            Self::Named(name) => f.write_str(name),
            Self::Unknown => f.write_str("?"),
        }
    }
}
