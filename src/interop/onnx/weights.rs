//! Weights of a graph by their names, laid out as other files have them.

use std::collections::{BTreeMap, HashSet};

use super::metadata;
use crate::graph::{ConstantValues, Graph, Op, ValueId};
use crate::interop::WeightsFile;
use crate::tensor::Tensor;

/// The constants of `graph` that are floats, and its class names. A matrix that is multiplied from the right becomes
/// `[outputs][inputs]`.
pub fn weights(graph: &Graph) -> WeightsFile {
    let right = |op: &Op| matches!(op, Op::MatMul | Op::Gemm { transposed_b: false, .. });
    let operand = |node: &crate::graph::Node| node.inputs.get(1).copied().flatten();
    let turned: HashSet<ValueId> = graph.nodes.iter().filter(|node| right(&node.op)).filter_map(operand).collect();
    let weighted = |node: &&crate::graph::Node| matches!(node.op, Op::Conv { .. } | Op::Gemm { .. } | Op::MatMul);
    let read = graph.nodes.iter().filter(weighted).flat_map(|node| node.inputs.iter().skip(1).flatten());
    let order = read.filter(|value| graph.constants.contains_key(value)).map(|&value| graph.name(value).to_owned());
    let mut tensors = BTreeMap::new();
    for (value, constant) in &graph.constants {
        let ConstantValues::Floats(values) = &constant.values else { continue };
        let tensor = match constant.dims[..] {
            [inputs, outputs] if turned.contains(value) => {
                let column = |output: usize| values[output..].iter().step_by(outputs).copied();
                Tensor::new([outputs, inputs], (0..outputs).flat_map(column).collect())
            }
            _ => Tensor::new(constant.dims.clone(), values.to_vec()),
        };
        tensors.insert(graph.name(*value).to_owned(), tensor);
    }
    let classes = graph.metadata.get(metadata::CLASSES).and_then(|text| serde_json::from_str(text).ok());
    WeightsFile { tensors, order: order.collect(), classes, ..WeightsFile::default() }
}
