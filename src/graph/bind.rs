//! Values that a caller gives for the inputs of a graph.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::host::Integers;
use super::lower::{GraphLowering, Value};
use super::refusal::Refusal;
use super::shapes::AXES;
use super::storage::{Places, Storage, Tensor};
use super::{ElementType, Extent, GraphError, GraphInput};
use crate::program::{Role, Slot};

/// The value given for an input when a network is set up.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "a variant says what its fields are")]
pub enum Given {
    /// Extents of floats whose values come with every run.
    Floats(Vec<usize>),
    /// Whole numbers, constant from now on: extents, the last axis innermost, and as many values as their product.
    Integers { dims: Vec<usize>, values: Arc<[i64]> },
}

impl<'a> GraphLowering<'a> {
    /// Binds the inputs to what is `given`; the slots of those that are floats, by name.
    pub(super) fn bind(&mut self, given: &BTreeMap<String, Given>) -> Result<BTreeMap<String, Slot>, GraphError> {
        let (graph, mut extents, mut slots) = (self.graph, BTreeMap::new(), BTreeMap::new());
        for input in &graph.inputs {
            let name = graph.name(input.value);
            let value = self.input(input, given.get(name), &mut extents);
            let value = value.map_err(|refusal| refusal.about("input", name))?;
            if let Value::Floats(Tensor { source: Storage::Slot(slot), .. }) = value {
                slots.insert(name.to_owned(), slot);
            }
            self.values.insert(input.value, value);
        }
        let names: Vec<&str> = graph.inputs.iter().map(|input| graph.name(input.value)).collect();
        match given.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(slots),
            Some(name) => Err(Refusal::UnknownName(names.join(", ")).about("input", name)),
        }
    }

    /// The value of `input` from what is `given` for it; adds to `extents`, those of names so far.
    fn input(
        &mut self,
        input: &'a GraphInput,
        given: Option<&Given>,
        extents: &mut BTreeMap<&'a str, usize>,
    ) -> Result<Value, Refusal> {
        let name = self.graph.name(input.value);
        let Some(given) = given else {
            return match &input.elem {
                ElementType::Other(elem) => Ok(Value::Other(elem.clone())),
                _ => Err(Refusal::NotGiven(name.into())),
            };
        };
        let (Given::Floats(dims) | Given::Integers { dims, .. }) = given;
        if dims.len() > AXES {
            return Err(Refusal::Axes(dims.len()));
        }
        if let Some(declared) = &input.dims {
            fits(declared, dims, extents)?;
        }
        match (given, &input.elem) {
            (Given::Floats(_), ElementType::Float) => {
                let places = Places::rows(dims)?;
                let source = Storage::Slot(self.slot(name, dims, Role::Input));
                Ok(Value::Floats(Tensor { source, places }))
            }
            (Given::Integers { dims, values }, ElementType::Integer) => {
                let list = Integers { dims: vec![values.len()], values: Arc::clone(values) };
                list.reshaped(dims.clone()).map(Value::Integers)
            }
            (_, ElementType::Other(elem)) => Ok(Value::Other(elem.clone())),
            (Given::Floats(_), ElementType::Integer) => Err(Refusal::FloatsGiven),
            (Given::Integers { .. }, ElementType::Float) => Err(Refusal::IntegersGiven),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Node, Op, ValueId, lower};

    /// Found by fuzzing: fewer whole numbers than their extents say.
    #[test]
    fn whole_numbers_are_as_many_as_their_extents_say() {
        let input = GraphInput { value: ValueId(0), elem: ElementType::Integer, dims: None };
        let node = Node {
            name: String::new(),
            operator: String::new(),
            op: Op::Transpose { order: None },
            inputs: vec![Some(ValueId(0))],
            outputs: vec![Some(ValueId(1))],
        };
        let names = ["x", "y"].map(str::to_owned).to_vec();
        let graph =
            Graph { names, inputs: vec![input], outputs: vec![ValueId(1)], nodes: vec![node], ..Graph::default() };
        let given = |dims: &[usize]| {
            let given = Given::Integers { dims: dims.to_vec(), values: Arc::new([1; 4]) };
            lower(&graph, &BTreeMap::from([("x".to_owned(), given)]))
        };
        assert_eq!(given(&[2, 2]).unwrap().known[0].dims, [2, 2]);
        let refusal = given(&[2, 3]).unwrap_err().to_string();
        assert!(refusal.contains("input x") && refusal.contains("[2, 3]"), "{refusal}");
    }
}
