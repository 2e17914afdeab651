//! Weights of a graph by their names, laid out as other files have them.

use std::collections::{BTreeMap, HashSet};

use super::metadata;
use crate::graph::{ConstantValues, Graph, Node, Op, Operation, ValueId, recognise_exported};
use crate::interop::{MEAN, WeightsFile};
use crate::tensor::Tensor;

/// The constants of `graph` that are floats, its class names, and means and factors of colours. A matrix that is
/// multiplied from the right becomes `[outputs][inputs]`.
pub fn weights(graph: &Graph) -> WeightsFile {
    let graph = &*recognise_exported(graph);
    let right = |op: &Op| matches!(op, Op::MatMul | Op::Gemm { transposed_b: false, .. });
    let operand = |node: &Node| node.inputs.get(1).copied().flatten();
    let turned: HashSet<ValueId> = graph.nodes.iter().filter(|node| right(&node.op)).filter_map(operand).collect();
    let weighted = |node: &&Node| matches!(node.op, Op::Conv { .. } | Op::Gemm { .. } | Op::MatMul);
    let read = graph.nodes.iter().filter(weighted).flat_map(|node| node.inputs.iter().skip(1).flatten());
    let order = read.filter(|value| graph.constants.contains_key(value)).map(|&value| graph.name(value).to_owned());
    // Factors, divisors and exponents are no weights, nor is what no node reads.
    let factor = |node: &&Node| {
        use Operation::{Divide, Multiply, Power};
        matches!(node.op, Op::Binary { operation: Multiply | Divide | Power, .. })
    };
    let used: HashSet<&ValueId> =
        graph.nodes.iter().filter(|node| !factor(node)).flat_map(|node| node.inputs.iter().flatten()).collect();
    let mut tensors = BTreeMap::new();
    for (value, constant) in &graph.constants {
        if !used.contains(value) && graph.name(*value) != MEAN {
            continue;
        }
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
    let colours = |key| {
        let numbers: Result<Vec<f32>, _> = graph.metadata.get(key)?.split(',').map(str::parse).collect();
        numbers.ok()?.try_into().ok()
    };
    let (means, scale) = (colours(metadata::MEAN), colours(metadata::SCALE));
    WeightsFile { tensors, order: order.collect(), classes, means, scale, ..WeightsFile::default() }
}
