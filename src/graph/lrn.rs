//! Response normalisation as exporters of PyTorch write `nn.LocalResponseNorm`: x / (k + alpha · mean of x² over
//! neighbouring maps)^beta, the mean an average pool over an axis of its own, padded by a node or by the pool. It is
//! recognised by its last division and computed as the one operator that it is.

use super::lower::{GraphLowering, Value};
use super::refusal::Refusal;
use super::storage::{Storage, Tensor};
use super::{Node, Op, Operation, PadMode, Pads, ValueId};

/// What a division is the last node of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Response {
    /// The maps that are normalised.
    pub(super) x: ValueId,
    /// Its squares, as the pool or the padding before it reads them: `[N][1][C]…`.
    squares: ValueId,
    /// The padding, where it is a node's input.
    pads: Option<ValueId>,
    pub(super) size: usize,
    pub(super) alpha: f32,
    pub(super) beta: f32,
    pub(super) k: f32,
    /// Zeros before the first map and behind the last, where the pool has them.
    padding: Option<[usize; 2]>,
}

impl GraphLowering<'_> {
    fn producer(&self, value: ValueId) -> Option<&Node> {
        self.producers.get(&value).map(|&index| &self.graph.nodes[index])
    }

    /// The one number of a constant.
    fn number(&self, value: ValueId) -> Option<f32> {
        match self.values.get(&value)? {
            Value::Floats(Tensor { source: Storage::Host(values), .. }) if values.len() == 1 => Some(values[0]),
            Value::Integers(integers) => integers.single().ok().map(|value| value as f32),
            _ => None,
        }
    }

    /// The operands of a node that computes `operation` of a value and a number.
    fn with_number(&self, value: ValueId, wanted: Operation) -> Option<(ValueId, f32)> {
        let node = self.producer(value)?;
        let (&[Some(a), Some(b)], Op::Binary { operation, .. }) = (&node.inputs[..], &node.op) else { return None };
        if *operation != wanted {
            return None;
        }
        let turned = |_: &f32| matches!(wanted, Operation::Add | Operation::Multiply);
        self.number(b).map(|b| (a, b)).or_else(|| self.number(a).filter(turned).map(|a| (b, a)))
    }

    /// The value whose elements `value` has, in their order, behind nodes that change its shape alone.
    fn behind_shapes(&self, mut value: ValueId) -> ValueId {
        loop {
            let Some(node) = self.producer(value) else { return value };
            let both =
                |a: ValueId, b: ValueId| Some(self.behind_shapes_once(a)).filter(|&a| a == self.behind_shapes_once(b));
            let next = match (&node.op, &node.inputs[..]) {
                (Op::Choose, &[_, Some(a), Some(b)]) => both(a, b),
                _ => self.graph.passes(node),
            };
            match next {
                Some(next) => value = next,
                None => return value,
            }
        }
    }

    /// The same past one node.
    fn behind_shapes_once(&self, value: ValueId) -> ValueId {
        self.producer(value).and_then(|node| self.graph.passes(node)).unwrap_or(value)
    }

    /// The normalisation that `node` ends, by its operators alone.
    pub(super) fn response(&self, node: &Node) -> Option<Response> {
        let (Op::Binary { operation: Operation::Divide, .. }, &[Some(x), Some(divisor)]) = (&node.op, &node.inputs[..])
        else {
            return None;
        };
        let (sums, beta) = self.with_number(divisor, Operation::Power)?;
        let (scaled, k) = self.with_number(sums, Operation::Add)?;
        let (means, alpha) = self.with_number(scaled, Operation::Multiply)?;
        let pool = self.producer(self.behind_shapes(means))?;
        let Op::AveragePool { window, count_padding } = &pool.op else { return None };
        let (&size, ones) = window.size.as_ref()?.split_first()?;
        let plain = |numbers: &Option<Vec<usize>>| numbers.iter().flatten().all(|&number| number == 1);
        if ones.iter().any(|&one| one != 1) || !plain(&window.strides) || !plain(&window.dilations) || window.ceil {
            return None;
        }
        let padding = match &window.pads {
            Pads::Given(None) => None,
            Pads::Given(Some(pads)) if pads.iter().all(|&pad| pad == 0) => None,
            Pads::Given(Some(pads)) if *count_padding => Some(pads_of_one(pads, 0, 1 + ones.len())?),
            _ => return None,
        };
        let mut squares = (*pool.inputs.first()?)?;
        let mut pads = None;
        if let Some(node) = self.producer(squares)
            && let Op::Pad { pads: None, mode: PadMode::Constant, value: None } = node.op
            && padding.is_none()
        {
            let zero = node.inputs.get(2).copied().flatten().is_none_or(|value| self.number(value) == Some(0.0));
            let axes = node.inputs.get(3).copied().flatten();
            if !zero || axes.is_some() {
                return None;
            }
            (squares, pads) = ((*node.inputs.first()?)?, *node.inputs.get(1)?);
        }
        let square = self.producer(self.behind_shapes(squares))?;
        let squared = match (&square.op, &square.inputs[..]) {
            (Op::Binary { operation: Operation::Multiply, .. }, &[Some(a), Some(b)]) => a == x && b == x,
            (Op::Binary { operation: Operation::Power, .. }, &[Some(a), Some(b)]) => {
                a == x && self.number(b) == Some(2.0)
            }
            _ => false,
        };
        squared.then_some(Response { x, squares, pads, size, alpha, beta, k, padding })
    }

    /// Values of a normalisation that have to be there before it can be confirmed.
    pub(super) fn evidence(&self, response: &Response) -> Vec<ValueId> {
        let wanted = [Some(response.x), Some(response.squares), response.pads];
        wanted.into_iter().flatten().filter(|value| !self.values.contains_key(value)).collect()
    }

    /// Whether the shapes are those of a normalisation across maps.
    pub(super) fn confirmed(&self, response: &Response) -> bool {
        let (Some(Value::Floats(x)), Some(Value::Floats(squares))) =
            (self.values.get(&response.x), self.values.get(&response.squares))
        else {
            return false;
        };
        let (&[images, maps, ..], dims) = (x.dims(), squares.dims()) else { return false };
        let size = response.size;
        let padding = match response.pads.map(|pads| self.values.get(&pads)) {
            None => response.padding.unwrap_or([0, 0]),
            Some(Some(Value::Integers(pads))) => match pads_of_one(&pads.values, 2, dims.len()) {
                Some(pads) => pads,
                None => return false,
            },
            Some(_) => return false,
        };
        x.dims().len() == 4
            && dims.len() >= 4
            && dims[..3] == [images, 1, maps]
            && padding == [size / 2, (size - 1) / 2]
    }

    /// Records a confirmed normalisation.
    pub(super) fn respond(&mut self, node: &Node, response: &Response) -> Result<Tensor, Refusal> {
        let Some(Value::Floats(x)) = self.values.get(&response.x).cloned() else { return Err(Refusal::NoInput) };
        let &Response { size, alpha, beta, k, .. } = response;
        self.normalise(node, &x, size, [alpha / size as f32, beta, k])
    }
}

/// Padding before and behind axis `at` of `axes`, where no other axis has any.
fn pads_of_one<T: Copy + TryInto<usize>>(pads: &[T], at: usize, axes: usize) -> Option<[usize; 2]> {
    if pads.len() != 2 * axes || at >= axes {
        return None;
    }
    let pads: Vec<usize> = pads.iter().map(|&pad| pad.try_into().ok()).collect::<Option<_>>()?;
    let others = pads.iter().enumerate().filter(|(i, _)| i % axes != at);
    others.map(|(_, &pad)| pad).all(|pad| pad == 0).then(|| [pads[at], pads[axes + at]])
}
