//! Operators that move elements, or make sizes of shapes: on whole numbers they are computed here ([`super::host`]), of
//! floats they mostly change where elements are looked for.

use std::sync::Arc;

use super::host::{Integers, MOST};
use super::lower::{GraphLowering, Value};
use super::refusal::Refusal;
use super::shapes::{AXES, axis, broadcast, normal_slice, volume};
use super::storage::{Places, Storage, Tensor};
use super::{CastTo, ConstantValues, Node};

/// The most pieces that are gathered one by one.
pub(super) const PIECES: usize = 256;

/// The extents `[i64]` of a list of whole numbers.
fn extents(dims: &[usize]) -> Vec<i64> {
    dims.iter().map(|&extent| extent as i64).collect()
}

impl GraphLowering<'_> {
    fn dims_of(&self, node: &Node, index: usize) -> Result<Vec<usize>, Refusal> {
        match self.value(node, index)? {
            Value::Floats(tensor) => Ok(tensor.dims().to_vec()),
            Value::Integers(integers) => Ok(integers.dims),
            Value::Other(found) => Err(Refusal::NotFloats { name: format!("input {index}"), found }),
        }
    }

    /// Whole numbers from an attribute, else from input `index`.
    pub(super) fn list(&self, node: &Node, stated: Option<&[i64]>, index: usize) -> Result<Option<Vec<i64>>, Refusal> {
        match stated {
            Some(stated) => Ok(Some(stated.to_vec())),
            None => Ok(self.integers(node, index)?.map(|integers| integers.values.to_vec())),
        }
    }

    pub(super) fn shape(&self, node: &Node, [start, end]: [i64; 2]) -> Result<Value, Refusal> {
        let dims = Integers::list(extents(&self.dims_of(node, 0)?));
        Ok(Value::Integers(dims.sliced(&[[start, end, 1]])?))
    }

    pub(super) fn size(&self, node: &Node) -> Result<Value, Refusal> {
        let count = self.dims_of(node, 0)?.iter().fold(1_i64, |count, &extent| count.saturating_mul(extent as i64));
        Ok(Value::Integers(Integers::new(Vec::new(), vec![count])))
    }

    pub(super) fn gather(&mut self, node: &Node, at: i64) -> Result<Value, Refusal> {
        let indices = self.integers(node, 1)?.ok_or(Refusal::MissingInput(1))?;
        let x = match self.value(node, 0)? {
            Value::Integers(integers) => return Ok(Value::Integers(integers.gathered(at, &indices)?)),
            _ => self.floats(node, 0)?,
        };
        let at = axis(at, x.dims().len())?;
        let extent = x.dims()[at];
        let places = indices.values.iter().map(|&index| axis(index, extent)).collect::<Result<Vec<_>, _>>()?;
        let dims = [&x.dims()[..at], &indices.dims, &x.dims()[at + 1..]].concat();
        let picked = self.picked(node, &x, at, &places)?;
        self.reshaped(node, &picked, &dims).map(Value::Floats)
    }

    /// The parts of a tensor at `places` along axis `at`, joined.
    pub(super) fn picked(&mut self, node: &Node, x: &Tensor, at: usize, places: &[usize]) -> Result<Tensor, Refusal> {
        let (Some(&first), count) = (places.first(), places.len()) else { return Err(Refusal::Empty(vec![0])) };
        if places.iter().enumerate().all(|(i, &place)| place == first + i) {
            return Ok(x.with(x.places.part(at, first, count)));
        }
        if count > PIECES {
            return Err(Refusal::Pieces(count));
        }
        let mut dims = x.dims().to_vec();
        dims[at] = count;
        let (slot, y) = self.map(node, Places::images(&dims)?);
        for (i, &place) in places.iter().enumerate() {
            self.copy(&x.with(x.places.part(at, place, 1)), slot, &y.places.part(at, i, 1), 1.0);
        }
        Ok(y)
    }

    /// The parts of a tensor at places along its first axes, which input 1 lists: a grid, each axis of which is picked
    /// by itself. Exporters list the windows of an adaptive pool so.
    pub(super) fn gather_grid(&mut self, node: &Node) -> Result<Value, Refusal> {
        let indices = self.integers(node, 1)?.ok_or(Refusal::MissingInput(1))?;
        let mut x = self.floats(node, 0)?;
        let grid = indices.grid().filter(|grid| grid.len() <= x.dims().len()).ok_or(Refusal::Grid)?;
        let rest = x.dims()[grid.len()..].to_vec();
        for (at, lines) in grid.iter().enumerate() {
            let extent = x.dims()[at];
            let lines = lines.iter().map(|&line| axis(line, extent)).collect::<Result<Vec<_>, _>>()?;
            x = self.picked(node, &x, at, &lines)?;
        }
        let dims = [&indices.dims[..indices.dims.len() - 1], &rest].concat();
        if dims.len() > AXES {
            return Err(Refusal::ReshapeAxes { want: extents(&dims) });
        }
        self.reshaped(node, &x, &dims).map(Value::Floats)
    }

    /// A part along some axes; `stated` are starts, ends and axes where they are attributes.
    pub(super) fn slice(&mut self, node: &Node, stated: Option<&[Vec<i64>; 3]>) -> Result<Value, Refusal> {
        let stated = |index: usize| stated.map(|stated| &stated[index][..]);
        let starts = self.list(node, stated(0), 1)?.ok_or(Refusal::MissingInput(1))?;
        let ends = self.list(node, stated(1), 2)?.ok_or(Refusal::MissingInput(2))?;
        let axes = self.list(node, stated(2), 3)?.filter(|axes| !axes.is_empty());
        let steps = self.list(node, None, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        let dims = self.dims_of(node, 0)?;
        let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
        if ends.len() != starts.len() || axes.len() != starts.len() || steps.len() != starts.len() {
            return Err(Refusal::SliceLists([starts.len(), ends.len(), axes.len(), steps.len()]));
        }
        let mut parts = vec![[0, i64::MAX, 1]; dims.len()];
        for (i, &at) in axes.iter().enumerate() {
            parts[axis(at, dims.len())?] = [starts[i], ends[i], steps[i]];
        }
        let mut x = match self.value(node, 0)? {
            Value::Integers(integers) => return Ok(Value::Integers(integers.sliced(&parts)?)),
            _ => self.floats(node, 0)?,
        };
        for (at, part) in parts.into_iter().enumerate() {
            let slice = normal_slice(part, dims[at])?;
            if slice.count == 0 {
                return Err(Refusal::Empty(dims));
            }
            if let Ok(step) = usize::try_from(slice.step) {
                x = x.with(x.places.spaced(at, slice.start as usize, step, slice.count));
            } else {
                let lines: Vec<usize> =
                    (0..slice.count as i64).map(|i| (slice.start + i * slice.step) as usize).collect();
                x = self.picked(node, &x, at, &lines)?;
            }
        }
        Ok(Value::Floats(x))
    }

    /// Adds axes of extent 1 (`more`), or takes them away.
    pub(super) fn squeeze(&mut self, node: &Node, axes: Option<&[i64]>, more: bool) -> Result<Value, Refusal> {
        let (axes, dims) = (self.list(node, axes, 1)?, self.dims_of(node, 0)?);
        let dims = if more {
            let axes = axes.ok_or(Refusal::MissingInput(1))?;
            let count = dims.len() + axes.len();
            let places = axes.iter().map(|&at| axis(at, count)).collect::<Result<Vec<_>, _>>()?;
            let mut rest = dims.into_iter();
            (0..count).map(|at| if places.contains(&at) { 1 } else { rest.next().unwrap_or(1) }).collect()
        } else {
            let places = match axes {
                Some(axes) => axes.iter().map(|&at| axis(at, dims.len())).collect::<Result<Vec<_>, _>>()?,
                None => (0..dims.len()).filter(|&at| dims[at] == 1).collect(),
            };
            let kept = |(at, extent): (usize, usize)| Some(extent).filter(|_| !places.contains(&at));
            dims.into_iter().enumerate().filter_map(kept).collect::<Vec<_>>()
        };
        if let Value::Integers(integers) = self.value(node, 0)? {
            return integers.reshaped(dims).map(Value::Integers);
        }
        let x = self.floats(node, 0)?;
        if volume(&dims)? != volume(x.dims())? {
            return Err(Refusal::Reshape { have: x.dims().to_vec(), want: extents(&dims) });
        }
        self.reshaped(node, &x, &dims).map(Value::Floats)
    }

    pub(super) fn transpose(&self, node: &Node, order: Option<&[i64]>) -> Result<Value, Refusal> {
        let axes = self.dims_of(node, 0)?.len();
        let order: Vec<usize> = match order {
            None => (0..axes).rev().collect(),
            Some(order) => order.iter().map(|&at| axis(at, axes)).collect::<Result<_, _>>()?,
        };
        if order.len() != axes || (0..axes).any(|at| !order.contains(&at)) {
            return Err(Refusal::Order { order, axes });
        }
        if let Value::Integers(integers) = self.value(node, 0)? {
            return integers.permuted(&order).map(Value::Integers);
        }
        let x = self.floats(node, 0)?;
        Ok(Value::Floats(x.with(x.places.permuted(&order))))
    }

    pub(super) fn expand(&self, node: &Node) -> Result<Value, Refusal> {
        let want = self.list(node, None, 1)?.ok_or(Refusal::MissingInput(1))?;
        let want: Result<Vec<usize>, _> = want.iter().map(|&extent| usize::try_from(extent)).collect();
        let want = want.map_err(|_| Refusal::Negative)?;
        let dims = broadcast(&self.dims_of(node, 0)?, &want)?;
        if let Value::Integers(integers) = self.value(node, 0)? {
            return integers.repeated(&dims).map(Value::Integers);
        }
        volume(&dims)?;
        Self::repeated(&self.floats(node, 0)?, &dims).map(Value::Floats)
    }

    /// As many copies of the tensor side by side as input 1 says for every axis.
    pub(super) fn tile(&mut self, node: &Node) -> Result<Value, Refusal> {
        let counts = self.list(node, None, 1)?.ok_or(Refusal::MissingInput(1))?;
        let mut dims = self.dims_of(node, 0)?;
        if counts.len() != dims.len() {
            return Err(Refusal::TileCount { counts: counts.len(), axes: dims.len() });
        }
        let mut value = match self.value(node, 0)? {
            value @ Value::Integers(_) => value,
            _ => Value::Floats(self.floats(node, 0)?),
        };
        for (at, &count) in counts.iter().enumerate().filter(|(_, count)| **count != 1) {
            let count = usize::try_from(count).map_err(|_| Refusal::Negative)?;
            let (outer, inner) = (dims[..at].iter().product(), dims[at..].iter().product());
            dims[at] = dims[at].checked_mul(count).ok_or_else(|| Refusal::TooLarge(dims.clone()))?;
            volume(&dims)?;
            // The copies are an axis of their own before what is copied.
            let (one, several) = ([outer, 1, inner], [outer, count, inner]);
            value = match value {
                Value::Integers(x) => {
                    Value::Integers(x.reshaped(one.to_vec())?.repeated(&several)?.reshaped(dims.clone())?)
                }
                Value::Floats(x) => {
                    let copies = Self::repeated(&self.reshaped(node, &x, &one)?, &several)?;
                    Value::Floats(self.reshaped(node, &copies, &dims)?)
                }
                other @ Value::Other(_) => other,
            };
        }
        Ok(value)
    }

    /// Floats that are constants on the host.
    pub(super) fn known(&self, node: &Node, index: usize) -> Result<Option<Vec<f32>>, Refusal> {
        let Some(value) = node.inputs.get(index).copied().flatten() else { return Ok(None) };
        match self.optional(node, index)? {
            // Repeated numbers are as many as a shape of a few bytes says.
            Some(Tensor { source: Storage::Host(values), places })
                if volume(&places.dims)? <= values.len().max(MOST) =>
            {
                Ok(Some(places.elements(&values)?))
            }
            Some(Tensor { source: Storage::Host(_), places }) => Err(Refusal::TooLarge(places.dims)),
            _ => Err(Refusal::NotKnown(self.graph.name(value).into())),
        }
    }

    pub(super) fn cast(&mut self, node: &Node, to: CastTo) -> Result<Value, Refusal> {
        Ok(match (self.value(node, 0)?, to) {
            (Value::Floats(x), CastTo::Truth) if x.is_computed() => Value::Floats(self.truth(node, &x)?),
            (Value::Integers(integers), CastTo::Float) => Value::Floats(floats(&integers)?),
            (Value::Integers(integers), CastTo::Truth) => {
                let values = integers.values.iter().map(|&value| i64::from(value != 0)).collect();
                Value::Integers(Integers::new(integers.dims, values))
            }
            (value @ Value::Integers(_), CastTo::Integer) | (value @ Value::Floats(_), CastTo::Float) => value,
            (_, to) => {
                let (dims, values) = (self.dims_of(node, 0)?, self.known(node, 0)?.unwrap_or_default());
                let whole = |value: f32| if to == CastTo::Truth { i64::from(value != 0.0) } else { value as i64 };
                Value::Integers(Integers::new(dims, values.into_iter().map(whole).collect()))
            }
        })
    }

    pub(super) fn constant_of_shape(&self, node: &Node, fill: &ConstantValues) -> Result<Value, Refusal> {
        let dims = self.list(node, None, 0)?.ok_or(Refusal::MissingInput(0))?;
        let dims: Result<Vec<usize>, _> = dims.iter().map(|&extent| usize::try_from(extent)).collect();
        let dims = dims.map_err(|_| Refusal::Negative)?;
        match fill {
            ConstantValues::Integers(values) => {
                Ok(Value::Integers(Integers::filled(&dims, values.first().copied().unwrap_or(0))?))
            }
            ConstantValues::Floats(values) => {
                volume(&dims)?;
                let places = Places { first: 0, strides: vec![0; dims.len()], dims, size: 1 };
                Ok(Value::Floats(Tensor { source: Storage::Host(Arc::clone(values)), places }))
            }
            ConstantValues::Other(found) => Ok(Value::Other(found.clone())),
        }
    }

    pub(super) fn remainder(&self, node: &Node, truncated: bool) -> Result<Value, Refusal> {
        let [a, b] = [self.integers(node, 0)?, self.integers(node, 1)?];
        let (a, b) = (a.ok_or(Refusal::MissingInput(0))?, b.ok_or(Refusal::MissingInput(1))?);
        Ok(Value::Integers(a.remainder(&b, truncated)?))
    }

    pub(super) fn range(&self, node: &Node) -> Result<Value, Refusal> {
        let input = |index: usize| self.integers(node, index)?.ok_or(Refusal::MissingInput(index))?.single();
        Ok(Value::Integers(Integers::range(input(0)?, input(1)?, input(2)?)?))
    }
}

/// Whole numbers as floats on the host.
pub(super) fn floats(integers: &Integers) -> Result<Tensor, Refusal> {
    let values: Vec<f32> = integers.values.iter().map(|&value| value as f32).collect();
    Ok(Tensor { source: Storage::Host(values.into()), places: Places::rows(&integers.dims)? })
}
