//! Operators over axes and maps that other kernels compute: batch normalisation as a convolution of each map by itself,
//! means, sums and largest numbers along axes as pools, functions of one number.

use super::layers::windows;
use super::lower::{GraphLowering, Value};
use super::moves::{PIECES, floats};
use super::refusal::Refusal;
use super::shapes::{axis, padded};
use super::storage::{Places, Storage, Tensor};
use super::window::{self, WindowSpec};
use super::{Node, Reduction};
use crate::ops::binary::Operation;
use crate::ops::conv::{Conv, GROUPED, Grouped};
use crate::ops::pool::window::{AVERAGE, MAX, Window as Pool};
use crate::ops::unary::{self, Function};

/// Numbers of a batch normalisation, one of each kind for every map.
pub(super) struct Statistics<'v> {
    pub(super) scale: &'v [f32],
    pub(super) shift: &'v [f32],
    pub(super) mean: &'v [f32],
    pub(super) variance: &'v [f32],
    pub(super) epsilon: f32,
}

impl Statistics<'_> {
    /// Factor and offset of a map, [scale / √(variance + epsilon), shift − mean · factor].
    pub(super) fn of_map(&self, map: usize) -> [f64; 2] {
        let [scale, shift, mean, variance] =
            [self.scale, self.shift, self.mean, self.variance].map(|values| f64::from(values[map]));
        let factor = scale / (variance + f64::from(self.epsilon)).sqrt();
        [factor, shift - mean * factor]
    }
}

/// A constant without axes.
pub(super) fn number(value: f32) -> Tensor {
    let places = Places { first: 0, dims: Vec::new(), strides: Vec::new(), size: 1 };
    Tensor { source: Storage::Host([value].into()), places }
}

impl GraphLowering<'_> {
    /// Scales and shifts every map by the statistics of training: y = scale (x − mean) / √(variance + epsilon) + b.
    pub(super) fn batch_norm(&mut self, node: &Node, epsilon: f32) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        let &[images, maps, ref rest @ ..] = x.dims() else { return Err(Refusal::NoMaps(x.dims().to_vec())) };
        let mut tensors = Vec::with_capacity(4);
        for index in 1..5 {
            tensors.push(self.floats(node, index)?);
        }
        if tensors.iter().any(Tensor::is_computed) {
            return self.computed_batch_norm(node, &x, &tensors, epsilon);
        }
        let mut settings = Vec::with_capacity(4);
        for index in 1..5 {
            let values = self.known(node, index)?.ok_or(Refusal::MissingInput(index))?;
            if values.len() != maps {
                return Err(Refusal::Statistics { found: values.len(), maps });
            }
            settings.push(values);
        }
        let [scale, shift, mean, variance] = [0, 1, 2, 3].map(|index| &settings[index][..]);
        let statistics = Statistics { scale, shift, mean, variance, epsilon };
        let constant = |which: usize, dims: &[usize]| {
            let values: Vec<f32> = (0..maps).map(|map| statistics.of_map(map)[which] as f32).collect();
            Ok::<_, Refusal>(Tensor { source: Storage::Host(values.into()), places: Places::rows(dims)? })
        };
        let filters = [maps, 1, 1, 1];
        let (w, b) = (constant(0, &filters)?, constant(1, &[maps])?);
        let (h, dims, n) = (rest.iter().product(), x.dims().to_vec(), padded(images));
        let flat = [images, maps, h, 1];
        let x = self.reshaped(node, &x, &flat)?;
        let places = Places::images(&flat)?;
        let x = self.place(node, &x, &places, 1.0);
        let w = self.place(node, &w, &Places::filters(&filters)?, 1.0);
        let b = self.place(node, &b, &Places::rows(&[maps])?, 1.0);
        let (slot, y) = self.map(node, places);
        let one = Conv { h, p: h, bias: true, ..Conv::dense(1, 1, n) };
        let shape = Grouped::new(one, maps);
        self.r.run(&GROUPED, shape.params(), &[x, w, b, slot]);
        self.reshaped(node, &y, &dims)
    }

    /// The same by statistics that the network computes or is given.
    fn computed_batch_norm(
        &mut self,
        node: &Node,
        x: &Tensor,
        tensors: &[Tensor],
        epsilon: f32,
    ) -> Result<Tensor, Refusal> {
        let ones = vec![1; x.dims().len() - 2];
        let mut each = Vec::with_capacity(4);
        for tensor in tensors {
            if tensor.dims() != &x.dims()[1..2] {
                return Err(Refusal::Statistics { found: tensor.dims().iter().product(), maps: x.dims()[1] });
            }
            each.push(self.reshaped(node, tensor, &[tensor.dims(), &ones].concat())?);
        }
        let variance = self.pair(node, Operation::Add, &each[3], &number(epsilon))?;
        let deviation = self.each(node, &variance, Function::Sqrt, [0.0; 2])?;
        let centred = self.pair(node, Operation::Subtract, x, &each[2])?;
        let normal = self.pair(node, Operation::Divide, &centred, &deviation)?;
        let scaled = self.pair(node, Operation::Multiply, &normal, &each[0])?;
        self.pair(node, Operation::Add, &scaled, &each[1])
    }

    /// Means, sums or largest numbers along some axes, all where none is named unless `nothing` says that none is
    /// meant.
    pub(super) fn reduce(
        &mut self,
        node: &Node,
        to: Reduction,
        axes: Option<&[i64]>,
        keep: bool,
        nothing: bool,
    ) -> Result<Value, Refusal> {
        let axes = self.list(node, axes, 1)?.unwrap_or_default();
        if let Value::Integers(x) = self.value(node, 0)? {
            let all = axes.is_empty() && !nothing || axes.len() == x.dims.len();
            return if all { x.reduced(to, keep).map(Value::Integers) } else { Err(Refusal::AllAxes) };
        }
        let x = self.floats(node, 0)?;
        if to != Reduction::LogOfPowers {
            return self.reduce_floats(node, to, x, &axes, [keep, nothing]).map(Value::Floats);
        }
        // Powers of the numbers less the largest one do not overflow; infinity less itself would be no number.
        let largest = self.reduce_floats(node, Reduction::Largest, x.clone(), &axes, [true, nothing])?;
        let largest = self.pair(node, Operation::Maximum, &largest, &number(f32::MIN))?;
        let largest = self.pair(node, Operation::Minimum, &largest, &number(f32::MAX))?;
        let less = self.pair(node, Operation::Subtract, &x, &largest)?;
        let y = self.reduce_floats(node, to, less, &axes, [keep, nothing])?;
        let largest = self.reshaped(node, &largest, y.dims())?;
        self.pair(node, Operation::Add, &y, &largest).map(Value::Floats)
    }

    fn reduce_floats(
        &mut self,
        node: &Node,
        to: Reduction,
        mut x: Tensor,
        axes: &[i64],
        [keep, nothing]: [bool; 2],
    ) -> Result<Tensor, Refusal> {
        x = match to {
            Reduction::Mean | Reduction::Sum | Reduction::LogOfSum | Reduction::Largest | Reduction::Product => x,
            Reduction::LogOfPowers => self.each(node, &x, Function::Exp, [0.0; 2])?,
            Reduction::Smallest => self.each(node, &x, Function::Negate, [0.0; 2])?,
            Reduction::SumOfSizes => self.each(node, &x, Function::Abs, [0.0; 2])?,
            Reduction::SumOfSquares | Reduction::Length => self.pair(node, Operation::Multiply, &x, &x)?,
        };
        let dims = x.dims().to_vec();
        if axes.is_empty() && nothing {
            return self.reduced(node, to, x);
        }
        let named = axes.iter().map(|&at| axis(at, dims.len())).collect::<Result<Vec<_>, _>>()?;
        let is_reduced = |at: &usize| named.is_empty() || named.contains(at);
        let (reduced, kept): (Vec<usize>, Vec<usize>) = (0..dims.len()).partition(is_reduced);
        let extent = |axes: &[usize]| axes.iter().map(|&at| dims[at]).product::<usize>();
        let (first, rest) = kept.split_at(kept.len().min(1));
        let (images, maps, count) = (extent(first), extent(rest), extent(&reduced));
        if count > window::LARGEST {
            return Err(Refusal::ReducedElements(count));
        }
        let turned = x.with(x.places.permuted(&[&kept[..], &reduced].concat()));
        let turned = self.reshaped(node, &turned, &[images, maps, count, 1])?;
        let window = WindowSpec { size: Some(vec![count, 1]), ..WindowSpec::default() };
        let shape = windows(turned.dims(), &window, false)?;
        let largest = matches!(to, Reduction::Largest | Reduction::Smallest);
        let kernel = if largest { &MAX } else { &AVERAGE };
        let mut y = if to == Reduction::Product {
            self.product_of_rows(node, &turned, count)?
        } else {
            let y = [images, maps, 1, 1];
            self.maps_to_maps(node, &turned, &y, |images| (kernel, Pool { images, ..shape }.params()))?
        };
        if !largest && !matches!(to, Reduction::Mean | Reduction::Product) {
            let places = Places::rows(y.dims())?;
            let slot = self.place(node, &y, &places, count as f32);
            y = Tensor { source: Storage::Slot(slot), places };
        }
        let one = |at: usize| if is_reduced(&at) { keep.then_some(1) } else { Some(dims[at]) };
        let dims: Vec<usize> = (0..dims.len()).filter_map(one).collect();
        let y = self.reshaped(node, &y, &dims)?;
        self.reduced(node, to, y)
    }

    /// The product of the rows of every map, one after the other.
    fn product_of_rows(&mut self, node: &Node, x: &Tensor, count: usize) -> Result<Tensor, Refusal> {
        if count > PIECES {
            return Err(Refusal::Pieces(count));
        }
        let mut y = x.with(x.places.part(2, 0, 1));
        for row in 1..count {
            y = self.pair(node, Operation::Multiply, &y, &x.with(x.places.part(2, row, 1)))?;
        }
        Ok(y)
    }

    /// Ends a reduction: what is done to every result.
    fn reduced(&mut self, node: &Node, to: Reduction, y: Tensor) -> Result<Tensor, Refusal> {
        match to {
            Reduction::Smallest => self.each(node, &y, Function::Negate, [0.0; 2]),
            Reduction::Length => self.each(node, &y, Function::Sqrt, [0.0; 2]),
            Reduction::LogOfSum | Reduction::LogOfPowers => self.each(node, &y, Function::Log, [0.0; 2]),
            _ => Ok(y),
        }
    }

    /// Applies a function of one number to the input.
    pub(super) fn function(&mut self, node: &Node, function: Function, settings: [f32; 2]) -> Result<Value, Refusal> {
        let x = match (self.value(node, 0)?, function) {
            (Value::Integers(integers), Function::Negate) => {
                let minus = super::host::Integers::list(vec![-1]);
                return Ok(Value::Integers(integers.arithmetic(Operation::Multiply, &minus)?.reshaped(integers.dims)?));
            }
            _ => self.floats(node, 0)?,
        };
        self.each(node, &x, function, settings).map(Value::Floats)
    }

    /// Applies a function of one number to every number of a tensor.
    pub(super) fn each(
        &mut self,
        node: &Node,
        x: &Tensor,
        function: Function,
        [a, b]: [f32; 2],
    ) -> Result<Tensor, Refusal> {
        let shape = unary::Shape { count: Places::images(x.dims())?.size, function: function as usize, a, b };
        self.maps_to_maps(node, x, x.dims(), |_| (&unary::FORWARD, shape.params()))
    }

    /// Bounds every number; the bounds are attributes, constants, or computed.
    pub(super) fn clip(&mut self, node: &Node, bounds: [Option<f32>; 2]) -> Result<Value, Refusal> {
        let inputs = [self.optional(node, 1)?, self.optional(node, 2)?];
        if inputs.iter().flatten().any(Tensor::is_computed) {
            let mut x = self.floats(node, 0)?;
            for (bound, operation) in inputs.into_iter().zip([Operation::Maximum, Operation::Minimum]) {
                if let Some(bound) = bound {
                    x = self.pair(node, operation, &x, &bound)?;
                }
            }
            return Ok(Value::Floats(x));
        }
        let mut known = [f32::MIN, f32::MAX];
        for (index, bound) in known.iter_mut().enumerate() {
            let input = self.known(node, index + 1)?.and_then(|values| values.first().copied());
            *bound = bounds[index].or(input).unwrap_or(*bound).clamp(f32::MIN, f32::MAX);
        }
        self.function(node, Function::Clip, known)
    }

    /// Applies an operation to any number of tensors, one after the other.
    pub(super) fn fold(&mut self, node: &Node, operation: Operation, mean: bool) -> Result<Value, Refusal> {
        if let (Value::Integers(first), false) = (self.value(node, 0)?, mean) {
            let mut all = first;
            for index in 1..node.inputs.len() {
                let part = self.integers(node, index)?.ok_or(Refusal::MissingInput(index))?;
                all = all.arithmetic(operation, &part)?;
            }
            return Ok(Value::Integers(all));
        }
        let mut all = self.floats(node, 0)?;
        for index in 1..node.inputs.len() {
            let part = self.floats(node, index)?;
            all = self.pair(node, operation, &all, &part)?;
        }
        if mean {
            let count = number(node.inputs.len() as f32);
            all = self.pair(node, Operation::Divide, &all, &count)?;
        }
        Ok(Value::Floats(all))
    }

    /// Input `index` as floats, whole numbers turned into them.
    pub(super) fn numbers(&self, node: &Node, index: usize) -> Result<Tensor, Refusal> {
        match self.value(node, index)? {
            Value::Integers(integers) => floats(&integers),
            _ => self.floats(node, index),
        }
    }
}
