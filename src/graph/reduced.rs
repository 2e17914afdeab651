//! Operators over axes and maps that other kernels compute: batch normalisation as a convolution of each map by itself,
//! means, sums and largest numbers along axes as pools, functions of one number.

use super::layers::windows;
use super::lower::{GraphLowering, Value};
use super::moves::floats;
use super::refusal::Refusal;
use super::shapes::{axis, padded};
use super::storage::{Places, Storage, Tensor};
use super::window::WindowSpec;
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

impl GraphLowering<'_> {
    /// Scales and shifts every map by the statistics of training: y = scale (x − mean) / √(variance + epsilon) + b.
    pub(super) fn batch_norm(&mut self, node: &Node, epsilon: f32) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        let &[images, maps, ref rest @ ..] = x.dims() else { return Err(Refusal::NoMaps(x.dims().to_vec())) };
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

    /// Means, sums or largest numbers along some axes, all where none is named unless `nothing` says that none is
    /// meant.
    pub(super) fn reduce(
        &mut self,
        node: &Node,
        to: Reduction,
        axes: Option<&[i64]>,
        keep: bool,
        nothing: bool,
    ) -> Result<Tensor, Refusal> {
        let (x, axes) = (self.floats(node, 0)?, self.list(node, axes, 1)?.unwrap_or_default());
        let dims = x.dims().to_vec();
        if axes.is_empty() && nothing {
            return Ok(x);
        }
        let named = axes.iter().map(|&at| axis(at, dims.len())).collect::<Result<Vec<_>, _>>()?;
        let is_reduced = |at: &usize| named.is_empty() || named.contains(at);
        let (reduced, kept): (Vec<usize>, Vec<usize>) = (0..dims.len()).partition(is_reduced);
        let extent = |axes: &[usize]| axes.iter().map(|&at| dims[at]).product::<usize>();
        let (first, rest) = kept.split_at(kept.len().min(1));
        let (images, maps, count) = (extent(first), extent(rest), extent(&reduced));
        let turned = x.with(x.places.permuted(&[&kept[..], &reduced].concat()));
        let turned = self.reshaped(node, &turned, &[images, maps, count, 1])?;
        let window = WindowSpec { size: Some(vec![count, 1]), ..WindowSpec::default() };
        let shape = windows(turned.dims(), &window, false)?;
        let kernel = if to == Reduction::Largest { &MAX } else { &AVERAGE };
        let mut y = self
            .maps_to_maps(node, &turned, &[images, maps, 1, 1], |images| (kernel, Pool { images, ..shape }.params()))?;
        if to == Reduction::Sum {
            let places = Places::rows(y.dims())?;
            let slot = self.place(node, &y, &places, count as f32);
            y = Tensor { source: Storage::Slot(slot), places };
        }
        let one = |at: usize| if is_reduced(&at) { keep.then_some(1) } else { Some(dims[at]) };
        let dims: Vec<usize> = (0..dims.len()).filter_map(one).collect();
        self.reshaped(node, &y, &dims)
    }

    /// Applies a function of one number.
    pub(super) fn function(&mut self, node: &Node, function: Function, [a, b]: [f32; 2]) -> Result<Value, Refusal> {
        let x = match (self.value(node, 0)?, function) {
            (Value::Integers(integers), Function::Negate) => {
                let minus = super::host::Integers::list(vec![-1]);
                return Ok(Value::Integers(integers.arithmetic(Operation::Multiply, &minus)?.reshaped(integers.dims)?));
            }
            _ => self.floats(node, 0)?,
        };
        let shape = unary::Shape { count: Places::images(x.dims())?.size, function: function as usize, a, b };
        self.maps_to_maps(node, &x, x.dims(), |_| (&unary::FORWARD, shape.params())).map(Value::Floats)
    }

    /// Bounds every number; the bounds are attributes or constants.
    pub(super) fn clip(&mut self, node: &Node, bounds: [Option<f32>; 2]) -> Result<Value, Refusal> {
        let mut known = [f32::MIN, f32::MAX];
        for (index, bound) in known.iter_mut().enumerate() {
            let input = self.known(node, index + 1)?.and_then(|values| values.first().copied());
            *bound = bounds[index].or(input).unwrap_or(*bound).clamp(f32::MIN, f32::MAX);
        }
        self.function(node, Function::Clip, known)
    }

    /// The sum of any number of tensors.
    pub(super) fn sum(&mut self, node: &Node) -> Result<Tensor, Refusal> {
        let mut sum = self.floats(node, 0)?;
        for index in 1..node.inputs.len() {
            let part = self.floats(node, index)?;
            sum = self.pair(node, Operation::Add, &sum, &part)?;
        }
        Ok(sum)
    }

    /// Input `index` as floats, whole numbers turned into them.
    pub(super) fn numbers(&self, node: &Node, index: usize) -> Result<Tensor, Refusal> {
        match self.value(node, index)? {
            Value::Integers(integers) => floats(&integers),
            _ => self.floats(node, index),
        }
    }
}
