//! Operators without weights, and changes of shape, as [`super::Op`] describes them.

use super::host::Integers;
use super::lower::{GraphLowering, Value};
use super::refusal::Refusal;
use super::shapes::{axis, boundary, broadcast, padded, reshape, volume};
use super::storage::{Places, Tensor};
use super::window::WindowSpec;
use super::{Neighbours, Node};
use crate::kernel::{Kernel, Params};
use crate::ops::activation::{self, Activation};
use crate::ops::binary::{self, Operation};
use crate::ops::pool::window::{AVERAGE, MAX, Window as Pool};
use crate::ops::{lrn, lrn_spatial, softmax};

/// The most maps in the sum of a normalisation, which kernels keep in registers.
pub(super) const LRN_SIZE: usize = 63;

/// The extents of input `name`, which must be maps `[N][C][H][W]`.
pub(super) fn maps(name: &'static str, dims: &[usize]) -> Result<[usize; 4], Refusal> {
    dims.try_into().map_err(|_| Refusal::NotMaps { name, dims: dims.to_vec() })
}

impl GraphLowering<'_> {
    pub(super) fn max_pool(&mut self, node: &Node, window: &WindowSpec) -> Result<Value, Refusal> {
        let x = self.floats(node, 0)?;
        let shape = windows(x.dims(), window, false)?;
        let y = [x.dims()[0], shape.maps, shape.out_height, shape.out_width];
        self.maps_to_maps(node, &x, &y, |images| (&MAX, Pool { images, ..shape }.params())).map(Value::Floats)
    }

    pub(super) fn average_pool(&mut self, node: &Node, window: &WindowSpec, padding: bool) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        let shape = windows(x.dims(), window, padding)?;
        let y = [x.dims()[0], shape.maps, shape.out_height, shape.out_width];
        self.maps_to_maps(node, &x, &y, |images| (&AVERAGE, Pool { images, ..shape }.params()))
    }

    pub(super) fn global_pool(&mut self, node: &Node, largest: bool) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        let [images, maps, height, width] = maps("X", x.dims())?;
        let window = WindowSpec { size: Some(vec![height, width]), ..WindowSpec::default() };
        let shape = windows(x.dims(), &window, false)?;
        let kernel = if largest { &MAX } else { &AVERAGE };
        self.maps_to_maps(node, &x, &[images, maps, 1, 1], |images| (kernel, Pool { images, ..shape }.params()))
    }

    pub(super) fn lrn(&mut self, node: &Node, size: usize, alpha: f32, beta: f32, k: f32) -> Result<Tensor, Refusal> {
        if size.is_multiple_of(2) {
            return Err(Refusal::LrnSize(size));
        }
        let x = self.floats(node, 0)?;
        self.normalise(node, &x, size, [alpha / size as f32, beta, k])
    }

    /// Normalises over neighbouring maps or pixels.
    pub(super) fn respond_to(
        &mut self,
        node: &Node,
        over: Neighbours,
        size: usize,
        numbers: [f32; 3],
    ) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        let [_, maps, height, width] = maps("X", x.dims())?;
        let groups = match over {
            Neighbours::Maps { groups: 1 } => return self.normalise(node, &x, size, numbers),
            Neighbours::Maps { groups } => groups,
            Neighbours::Pixels => {
                let [alpha, beta, k] = numbers;
                let shape = |images| lrn_spatial::Shape { maps, height, width, images, size, k, alpha, beta };
                return self.maps_to_maps(node, &x, x.dims(), |images| (&lrn_spatial::FORWARD, shape(images).params()));
            }
        };
        let depth = maps / groups;
        if depth * groups != maps {
            return Err(Refusal::Groups { groups, filters: maps, depth, maps });
        }
        let (slot, y) = self.map(node, Places::images(x.dims())?);
        for group in 0..groups {
            let part = x.with(x.places.part(1, group * depth, depth));
            let part = self.normalise(node, &part, size, numbers)?;
            self.copy(&part, slot, &y.places.part(1, group * depth, depth), 1.0);
        }
        Ok(y)
    }

    /// Normalises `x` across `size` maps, the greater part of an even number of them before each; by alpha, beta and k.
    pub(super) fn normalise(
        &mut self,
        node: &Node,
        x: &Tensor,
        size: usize,
        [alpha, beta, k]: [f32; 3],
    ) -> Result<Tensor, Refusal> {
        let [_, maps, height, width] = maps("X", x.dims())?;
        if size > LRN_SIZE {
            return Err(Refusal::LrnSize(size));
        }
        let pixels = height * width;
        let shape = |images| lrn::Shape { maps, pixels, images, size, k, alpha, beta, relu: false };
        self.maps_to_maps(node, x, x.dims(), |images| (&lrn::FORWARD, shape(images).params()))
    }

    /// Applies an activation, unless it ran in the epilogue of the node before.
    pub(super) fn activation(&mut self, node: &Node, activation: Activation) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        if self.ran_in_epilogue(node) {
            return Ok(x);
        }
        let count = Places::images(x.dims())?.size;
        let shape = activation::Shape { count, activation: activation as usize };
        self.maps_to_maps(node, &x, x.dims(), |_| (&activation::FORWARD, shape.params()))
    }

    /// Runs the kernel that `run` names for a padded number of images, from maps `x` to maps of shape `y`.
    pub(super) fn maps_to_maps(
        &mut self,
        node: &Node,
        x: &Tensor,
        y: &[usize],
        run: impl FnOnce(usize) -> (&'static Kernel, Params),
    ) -> Result<Tensor, Refusal> {
        let places = Places::images(y)?;
        let x = self.place(node, x, &Places::images(x.dims())?, 1.0);
        let (slot, out) = self.map(node, places);
        let (kernel, params) = run(padded(y.first().copied().unwrap_or(1)));
        self.r.run(kernel, params, &[x, slot]);
        Ok(out)
    }

    /// Computes probabilities, or their logarithms, along an axis or over all axes from it on.
    pub(super) fn softmax(&mut self, node: &Node, at: i64, flat: bool, log: bool) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        if !flat {
            return self.softmax_along(node, &x, axis(at, x.dims().len())?, log);
        }
        let (dims, at) = (x.dims().to_vec(), boundary(at, x.dims().len())?);
        let rows = [dims[..at].iter().product(), dims[at..].iter().product()];
        let x = self.reshaped(node, &x, &rows)?;
        let y = self.softmax_along(node, &x, 1, log)?;
        self.reshaped(node, &y, &dims)
    }

    fn softmax_along(&mut self, node: &Node, x: &Tensor, axis: usize, log: bool) -> Result<Tensor, Refusal> {
        let places = Places::columns(x.dims(), axis)?;
        let classes = x.dims()[axis];
        let shape = softmax::Shape { classes, images: places.size / classes, log, finite: false };
        let x = self.place(node, x, &places, 1.0);
        let (slot, y) = self.map(node, places);
        self.r.run(&softmax::FORWARD, shape.params(), &[x, slot]);
        Ok(y)
    }

    pub(super) fn binary(&mut self, node: &Node, operation: Operation, at: Option<i64>) -> Result<Value, Refusal> {
        if let Some(response) = self.response(node).filter(|response| self.confirmed(response)) {
            return self.respond(node, &response).map(Value::Floats);
        }
        if let (Value::Integers(a), Value::Integers(b)) = (self.value(node, 0)?, self.value(node, 1)?) {
            return Ok(Value::Integers(a.arithmetic(operation, &b)?));
        }
        let (a, mut b) = (self.numbers(node, 0)?, self.numbers(node, 1)?);
        if let Some(at) = at {
            let begin = boundary(at, a.dims().len())?;
            let behind = (a.dims().len() - begin).checked_sub(b.dims().len());
            let behind = behind.ok_or(Refusal::BinaryAxis(at))?;
            b = self.reshaped(node, &b, &[b.dims(), &vec![1; behind]].concat())?;
        }
        self.pair(node, operation, &a, &b).map(Value::Floats)
    }

    /// An operation on two tensors, repeated to each other's shape.
    pub(super) fn pair(
        &mut self,
        node: &Node,
        operation: Operation,
        a: &Tensor,
        b: &Tensor,
    ) -> Result<Tensor, Refusal> {
        let dims = broadcast(a.dims(), b.dims())?;
        let places = Places::images(&dims)?;
        let shape = binary::Shape { count: places.size, operation: operation as usize };
        let (a, b) = (Self::repeated(a, &dims)?, Self::repeated(b, &dims)?);
        let [a, b] = [a, b].map(|operand| self.place(node, &operand, &places, 1.0));
        let (slot, y) = self.map(node, places);
        self.r.run(&binary::FORWARD, shape.params(), &[a, b, slot]);
        Ok(y)
    }

    pub(super) fn concat(&mut self, node: &Node, at: i64) -> Result<Value, Refusal> {
        let values = (0..node.inputs.len()).map(|i| self.value(node, i)).collect::<Result<Vec<_>, _>>()?;
        let whole = |value: &Value| if let Value::Integers(integers) = value { Some(integers.clone()) } else { None };
        if let Some(parts) = values.iter().map(whole).collect::<Option<Vec<_>>>() {
            return Integers::joined(&parts, at).map(Value::Integers);
        }
        let parts = (0..node.inputs.len()).map(|i| self.floats(node, i)).collect::<Result<Vec<_>, _>>()?;
        let mut dims = parts.first().ok_or(Refusal::NoInput)?.dims().to_vec();
        let at = axis(at, dims.len())?;
        dims[at] = 0;
        for part in &parts {
            let same = |(axis, (have, want)): (usize, (&usize, &usize))| axis == at || have == want;
            if part.dims().len() != dims.len() || !part.dims().iter().zip(&dims).enumerate().all(same) {
                return Err(Refusal::Concat { first: parts[0].dims().to_vec(), part: part.dims().to_vec() });
            }
            dims[at] += part.dims()[at];
        }
        let (slot, y) = self.map(node, Places::images(&dims)?);
        let mut start = 0;
        for part in &parts {
            self.copy(part, slot, &y.places.part(at, start, part.dims()[at]), 1.0);
            start += part.dims()[at];
        }
        Ok(Value::Floats(y))
    }

    /// Splits a tensor along an axis; nothing is copied.
    pub(super) fn split(
        &mut self,
        node: &Node,
        at: i64,
        sizes: Option<&[i64]>,
        uneven: bool,
    ) -> Result<Vec<Value>, Refusal> {
        let x = self.floats(node, 0)?;
        let at = axis(at, x.dims().len())?;
        let (extent, count) = (x.dims()[at], node.outputs.len());
        let given = match sizes {
            Some(sizes) => Some(sizes.to_vec()),
            None => self.list(node, None, 1)?,
        };
        let sizes: Vec<usize> = match given {
            Some(sizes) => sizes.iter().map(|&size| usize::try_from(size).unwrap_or(0)).collect(),
            None if extent.is_multiple_of(count) || uneven => {
                let each = extent.div_ceil(count);
                (0..count).map(|i| each.min(extent.saturating_sub(i * each))).collect()
            }
            None => return Err(Refusal::SplitUneven { extent, count }),
        };
        let sum = sizes.iter().try_fold(0_usize, |sum, &size| sum.checked_add(size));
        if sizes.len() != count || sum != Some(extent) || sizes.contains(&0) {
            return Err(Refusal::Split { extent, count, sizes });
        }
        let mut start = 0;
        let part = |size| {
            start += size;
            Value::Floats(x.with(x.places.part(at, start - size, size)))
        };
        Ok(sizes.into_iter().map(part).collect())
    }

    pub(super) fn reshape(&mut self, node: &Node, dims: Option<&[i64]>, zero: bool) -> Result<Value, Refusal> {
        let wanted = self.list(node, dims, 1)?.ok_or(Refusal::MissingSetting("shape"))?;
        if let Value::Integers(integers) = self.value(node, 0)? {
            let dims = reshape(&integers.dims, &wanted, zero)?;
            return integers.reshaped(dims).map(Value::Integers);
        }
        let x = self.floats(node, 0)?;
        let dims = reshape(x.dims(), &wanted, zero)?;
        self.reshaped(node, &x, &dims).map(Value::Floats)
    }

    pub(super) fn flatten(&mut self, node: &Node, at: i64) -> Result<Tensor, Refusal> {
        let x = self.floats(node, 0)?;
        let (before, behind) = x.dims().split_at(boundary(at, x.dims().len())?);
        let dims = [volume(before)?, volume(behind)?];
        self.reshaped(node, &x, &dims)
    }

    /// Passes its input on, as dropout does when a network is evaluated.
    pub(super) fn dropout(&mut self, node: &Node) -> Result<Value, Refusal> {
        if self.integers(node, 2)?.is_some_and(|training| training.values.iter().any(|&on| on != 0)) {
            return Err(Refusal::Training);
        }
        self.value(node, 0)
    }
}

/// The shape of a pooling over maps of extents `dims`, with one image; `count_padding` lets means count it.
pub(super) fn windows(dims: &[usize], window: &WindowSpec, count_padding: bool) -> Result<Pool, Refusal> {
    let [_, maps, height, width] = maps("X", dims)?;
    let [y, x] = window.over([height, width], None)?;
    let counted = |pad: usize, extent: usize, behind: usize| {
        if count_padding { (0, pad + extent + behind) } else { (pad, pad + extent) }
    };
    let ((low_y, high_y), (low_x, high_x)) = (counted(y.before, height, y.behind), counted(x.before, width, x.behind));
    Ok(Pool {
        maps,
        height,
        width,
        out_height: y.count,
        out_width: x.count,
        images: 1,
        rows: y.size,
        columns: x.size,
        stride_y: y.stride,
        stride_x: x.stride,
        dilation_y: y.dilation,
        dilation_x: x.dilation,
        pad_y: y.before,
        pad_x: x.before,
        low_y,
        low_x,
        high_y,
        high_x,
    })
}
