//! Normalisation as this program exports it where ONNX has no operator for it, over an even number of maps or within
//! maps: x · (k + Σ alpha x²)^-beta, the sum a convolution of the squares. Recognised, it is the one operation that it
//! is, and its constants are no weights.

use std::borrow::Cow;
use std::collections::HashMap;

use super::{Constant, ConstantValues, Graph, Neighbours, Node, Op, Operation, Pads, ValueId, WindowSpec};
use crate::ops::lrn;

/// The graph with every such normalisation as [`Op::Response`].
pub fn recognise_exported(graph: &Graph) -> Cow<'_, Graph> {
    let parts = Parts::new(graph);
    let mut recognised = Cow::Borrowed(graph);
    let mut gone = Vec::new();
    for (last, node) in graph.nodes.iter().enumerate() {
        let Some((inner, x, op)) = parts.response(node) else { continue };
        let nodes = &mut recognised.to_mut().nodes;
        (nodes[last].inputs, nodes[last].op) = (vec![Some(x)], op);
        gone.extend(inner);
    }
    if !gone.is_empty() {
        gone.sort_unstable();
        let mut index = 0..;
        recognised.to_mut().nodes.retain(|_| index.next().is_none_or(|index| gone.binary_search(&index).is_err()));
    }
    recognised
}

/// A graph, and the nodes whose one output one other node reads.
struct Parts<'g> {
    graph: &'g Graph,
    inner: HashMap<ValueId, usize>,
}

impl<'g> Parts<'g> {
    fn new(graph: &'g Graph) -> Self {
        let mut readers: HashMap<ValueId, usize> = HashMap::new();
        let read = graph.nodes.iter().flat_map(|node| node.inputs.iter().flatten()).chain(&graph.outputs);
        read.for_each(|&value| *readers.entry(value).or_default() += 1);
        let inner = |(index, node): (usize, &Node)| match node.outputs[..] {
            [Some(output)] if readers.get(&output) == Some(&1) => Some((output, index)),
            _ => None,
        };
        Self { graph, inner: graph.nodes.iter().enumerate().filter_map(inner).collect() }
    }

    fn node(&self, value: ValueId) -> Option<(usize, &'g Node)> {
        self.inner.get(&value).map(|&index| (index, &self.graph.nodes[index]))
    }

    fn floats(&self, value: ValueId) -> Option<(&'g Constant, &'g [f32])> {
        let constant = self.graph.constants.get(&value)?;
        if let ConstantValues::Floats(values) = &constant.values { Some((constant, values)) } else { None }
    }

    /// The nodes before the last one of a normalisation, what is normalised, and how.
    fn response(&self, last: &Node) -> Option<([usize; 3], ValueId, Op)> {
        let [scale, x] = operands(last, Operation::Multiply)?;
        let (power, node) = self.node(scale)?;
        let [sums, exponent] = operands(node, Operation::Power)?;
        let &[minus_beta] = self.floats(exponent)?.1 else { return None };
        let (sum, node) = self.node(sums)?;
        let (Op::Conv { window, groups }, &[Some(squares), Some(w), Some(b)]) = (&node.op, &node.inputs[..]) else {
            return None;
        };
        let (square, node) = self.node(squares)?;
        if operands(node, Operation::Multiply)? != [x, x] {
            return None;
        }
        let (bias, filters) = (self.floats(b)?.1, self.floats(w)?);
        let &k = bias.first()?;
        let (over, size, alpha) = neighbours(window, *groups, &filters.0.dims, filters.1)?;
        let same = bias.iter().all(|&other| other == k) && bias.len() == filters.0.dims[0];
        let op = Op::Response { over, size, alpha, beta: -minus_beta, k };
        (same && minus_beta <= 0.0).then_some(([square, sum, power], x, op))
    }
}

/// The operands of a node that computes `wanted`.
fn operands(node: &Node, wanted: Operation) -> Option<[ValueId; 2]> {
    match (&node.op, &node.inputs[..]) {
        (Op::Binary { operation, axis: None }, &[Some(a), Some(b)]) if *operation == wanted => Some([a, b]),
        _ => None,
    }
}

/// What filters `[K][C / groups][R][S]` sum over, the number of neighbours, and the factor of their sum.
fn neighbours(window: &WindowSpec, groups: usize, dims: &[usize], w: &[f32]) -> Option<(Neighbours, usize, f32)> {
    let &[filters, depth, rows, columns] = dims else { return None };
    let alpha = w.iter().copied().fold(0.0, f32::max);
    let ones = |numbers: &Option<Vec<usize>>| numbers.iter().flatten().all(|&number| number == 1);
    let pads = match &window.pads {
        Pads::Given(None) => [0; 4],
        Pads::Given(Some(pads)) => <[usize; 4]>::try_from(&pads[..]).ok()?,
        _ => return None,
    };
    if !ones(&window.strides) || !ones(&window.dilations) || filters != depth.checked_mul(groups)? || w.is_empty() {
        return None;
    }
    if (depth, rows) == (1, columns) && rows > 1 {
        let [before, behind] = [rows / 2, rows - 1 - rows / 2];
        let whole = w.iter().all(|&w| w == alpha) && pads == [before, before, behind, behind];
        return whole.then_some((Neighbours::Pixels, rows, alpha));
    }
    let sums = |size: usize| {
        let near = |i: usize, j: usize| lrn::window(i, size, depth).contains(&j);
        let filter = |(i, filter): (usize, &[f32])| {
            filter.iter().enumerate().all(|(j, &w)| w == if near(i % depth, j) { alpha } else { 0.0 })
        };
        w.chunks(depth).enumerate().all(filter)
    };
    let first = w.get(..depth)?.iter().filter(|w| **w == alpha).count();
    let sizes = (1..=super::layers::LRN_SIZE).filter(|&size| lrn::window(0, size, depth).len() == first);
    let size = sizes.take(3).find(|&size| sums(size)).filter(|_| (rows, columns, pads) == (1, 1, [0; 4]))?;
    Some((Neighbours::Maps { groups }, size, alpha))
}
