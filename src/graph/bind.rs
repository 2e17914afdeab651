//! What a caller gives for the inputs of a graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::shapes::{AXES, volume};
use super::{Constant, Elem, Extent, Graph, GraphError, Input, Values};

/// What is given for an input when a network is set up.
#[derive(Clone, Debug, PartialEq)]
pub enum Given {
    /// The extents of floats, which come later.
    Floats(Vec<usize>),
    /// Whole numbers, from now on constant.
    Integers {
        /// Extents.
        dims: Vec<usize>,
        /// As many as these come to.
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

/// What an input becomes.
pub(super) enum Bound {
    /// Floats, in a slot.
    Floats(Vec<usize>),
    /// Known beforehand.
    Constant(Constant),
}

impl Graph {
    /// What input `input` becomes with what is `given`; `extents` are those of names, which it adds to.
    pub(super) fn bind<'a>(
        &'a self,
        input: &'a Input,
        given: &BTreeMap<String, Given>,
        extents: &mut BTreeMap<&'a str, usize>,
    ) -> Result<Bound, GraphError> {
        let name = self.name(input.value);
        let refuse = |reason: String| GraphError::Value { what: "input", name: name.into(), reason };
        let other = |elem: &str| Bound::Constant(Constant { dims: Vec::new(), values: Values::Other(elem.into()) });
        let Some(given) = given.get(name) else {
            return match &input.elem {
                Elem::Other(elem) => Ok(other(elem)),
                _ => Err(refuse(format!("it is not given: say --input {name}=FILE.npy"))),
            };
        };
        let dims = given.dims();
        if dims.len() > AXES {
            return Err(refuse(format!("it has {} axes, of which at most {AXES} are supported", dims.len())));
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
            (Given::Floats(_), Elem::Integer) => Err(refuse("it holds whole numbers, and floats were given".into())),
            (Given::Integers { .. }, Elem::Float) => {
                Err(refuse("it holds floats, and whole numbers were given".into()))
            }
        }
    }
}

fn fits<'a>(declared: &'a [Extent], dims: &[usize], extents: &mut BTreeMap<&'a str, usize>) -> Result<(), String> {
    let fit = |(declared, &found): (&'a Extent, &usize)| match declared {
        Extent::Known(extent) => *extent == found,
        Extent::Named(name) => *extents.entry(name).or_insert(found) == found,
        Extent::Unknown => true,
    };
    if declared.len() == dims.len() && declared.iter().zip(dims).all(fit) {
        return Ok(());
    }
    let wanted: Vec<String> = declared.iter().map(ToString::to_string).collect();
    Err(format!("it has shape {dims:?}, the network needs [{}]", wanted.join(", ")))
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
