//! Batch normalisation behind a convolution, folded into its filters and bias: a network is computed with one pass over
//! its maps less. Elsewhere it is a kernel of its own ([`super::reduced`]).

use std::borrow::Cow;
use std::collections::HashMap;

use super::reduced::Statistics;
use super::{Constant, ConstantValues, Graph, Node, Op, ValueId};

/// The graph with every normalisation folded that can be: of maps that one convolution makes and no other node reads,
/// all numbers constants.
pub(super) fn fold_batch_norms(graph: &Graph) -> Cow<'_, Graph> {
    let mut readers: HashMap<ValueId, usize> = HashMap::new();
    let read = graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&graph.outputs);
    read.for_each(|&value| *readers.entry(value).or_default() += 1);
    let convolution = |(index, node): (usize, &Node)| match (&node.op, &node.outputs[..]) {
        (Op::Conv { .. }, &[Some(maps)]) if readers.get(&maps) == Some(&1) => Some((maps, index)),
        _ => None,
    };
    let convolutions: HashMap<ValueId, usize> = graph.nodes.iter().enumerate().filter_map(convolution).collect();
    let mut folded = Cow::Borrowed(graph);
    let mut gone = Vec::new();
    for (index, node) in graph.nodes.iter().enumerate() {
        let Op::BatchNorm { epsilon } = node.op else { continue };
        let (Some(Some(maps)), [Some(y), rest @ ..]) = (node.inputs.first(), &node.outputs[..]) else { continue };
        let Some(&conv) = convolutions.get(maps).filter(|_| rest.iter().all(Option::is_none)) else { continue };
        let Some([filters, bias]) = folded_numbers(graph, &graph.nodes[conv], node, epsilon) else { continue };
        let graph = folded.to_mut();
        let [w, b] = [filters, bias].map(|constant| {
            let value = ValueId(graph.names.len());
            graph.names.push(graph.nodes[conv].name.clone());
            graph.constants.insert(value, constant);
            Some(value)
        });
        let conv = &mut graph.nodes[conv];
        conv.inputs = vec![conv.inputs[0], w, b];
        conv.outputs = vec![Some(*y)];
        gone.push(index);
    }
    if !gone.is_empty() {
        let mut index = 0..;
        folded.to_mut().nodes.retain(|_| index.next().is_none_or(|index| gone.binary_search(&index).is_err()));
    }
    folded
}

/// Filters and bias of a convolution with the normalisation behind it; `None` where numbers are missing or do not fit,
/// which is refused where the node is computed.
fn folded_numbers(graph: &Graph, conv: &Node, norm: &Node, epsilon: f32) -> Option<[Constant; 2]> {
    let floats = |node: &Node, index: usize| {
        let constant = graph.constants.get(&(*node.inputs.get(index)?)?)?;
        if let ConstantValues::Floats(values) = &constant.values { Some((&constant.dims, &values[..])) } else { None }
    };
    let (dims, w) = floats(conv, 1)?;
    let count = *dims.first()?;
    let per_map =
        |node: &Node, index: usize| floats(node, index).map(|(_, values)| values).filter(|v| v.len() == count);
    let bias = match conv.inputs.get(2).copied().flatten() {
        None => vec![0.0; count],
        Some(_) => per_map(conv, 2)?.to_vec(),
    };
    let [scale, shift, mean, variance] = [1, 2, 3, 4].map(|index| per_map(norm, index));
    let statistics = Statistics { scale: scale?, shift: shift?, mean: mean?, variance: variance?, epsilon };
    let each = w.len().checked_div(count).filter(|each| *each > 0)?;
    let (mut filters, mut offsets) = (Vec::with_capacity(w.len()), Vec::with_capacity(count));
    for (map, (filter, bias)) in w.chunks(each).zip(bias).enumerate() {
        let [factor, offset] = statistics.of_map(map);
        filters.extend(filter.iter().map(|&w| (f64::from(w) * factor) as f32));
        offsets.push((f64::from(bias) * factor + offset) as f32);
    }
    let constant =
        |dims: Vec<usize>, values: Vec<f32>| Constant { dims, values: ConstantValues::Floats(values.into()) };
    Some([constant(dims.clone(), filters), constant(vec![count], offsets)])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::graph::WindowSpec;

    /// A convolution of one map to two, and a normalisation of what it makes; values 0 to 3 are its inputs and output.
    fn graph(bias: bool) -> Graph {
        let constant = |dims: &[usize], values: &[f32]| Constant {
            dims: dims.to_vec(),
            values: ConstantValues::Floats(Arc::from(values)),
        };
        let constants = [
            constant(&[2, 1, 1, 1], &[2.0, 3.0]),
            constant(&[2], &[1.0, 0.0]),
            constant(&[2], &[1.0, 4.0]),
            constant(&[2], &[0.5, 0.0]),
            constant(&[2], &[2.0, -1.0]),
            constant(&[2], &[0.25, 4.0]),
        ];
        let id = |index: usize| Some(ValueId(index));
        let node = |op: Op, inputs: Vec<Option<ValueId>>, output: usize| Node {
            name: String::new(),
            operator: String::new(),
            op,
            inputs,
            outputs: vec![id(output)],
        };
        let conv = Op::Conv { window: WindowSpec::default(), groups: 1 };
        let norm = Op::BatchNorm { epsilon: 0.0 };
        let filters = if bias { vec![id(0), id(4), id(5)] } else { vec![id(0), id(4)] };
        Graph {
            names: vec![String::new(); 10],
            outputs: vec![ValueId(2)],
            nodes: vec![node(conv, filters, 1), node(norm, vec![id(1), id(6), id(7), id(8), id(9)], 2)],
            constants: (4..).map(ValueId).zip(constants).collect(),
            ..Graph::default()
        }
    }

    fn numbers(graph: &Graph, input: usize) -> Vec<f32> {
        match &graph.constants[&graph.nodes[0].inputs[input].unwrap()].values {
            ConstantValues::Floats(values) => values.to_vec(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn filters_and_bias_by_hand() {
        for (bias, offsets) in [(true, [0.5 + 2.0 * (1.0 - 2.0), 2.0]), (false, [0.5 - 4.0, 2.0])] {
            let graph = graph(bias);
            let folded = fold_batch_norms(&graph);
            assert_eq!(folded.nodes.len(), 1);
            assert_eq!(folded.nodes[0].outputs, [Some(ValueId(2))]);
            assert_eq!((numbers(&folded, 1), numbers(&folded, 2)), (vec![4.0, 6.0], offsets.to_vec()));
        }
    }

    #[test]
    fn what_others_read_stays() {
        let mut read_twice = graph(true);
        read_twice.outputs.push(ValueId(1));
        let mut unknown = graph(true);
        unknown.constants.remove(&ValueId(6));
        let mut other_maps = graph(true);
        other_maps.constants.get_mut(&ValueId(9)).unwrap().values = ConstantValues::Floats(Arc::from([1.0]));
        for graph in [read_twice, unknown, other_maps] {
            assert_eq!(*fold_batch_norms(&graph), graph);
        }
    }
}
