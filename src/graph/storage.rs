//! Tensors in buffers: where their elements lie. Most changes of shape change that alone and copy nothing.

use std::sync::Arc;

use super::refusal::Refusal;
use super::shapes::{padded, volume};
use crate::program::Slot;

/// Where the elements of a tensor lie in a buffer: element i at `first` + Σ i · `strides`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Places {
    pub(super) first: usize,
    pub(super) dims: Vec<usize>,
    /// Elements between neighbours along each axis.
    pub(super) strides: Vec<usize>,
    /// Elements of the whole buffer.
    pub(super) size: usize,
}

/// Strides of a tensor whose elements follow one another, the last axis innermost, `unit` apart.
fn strides(dims: &[usize], unit: usize) -> Vec<usize> {
    let mut strides = vec![unit; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

impl Places {
    /// The same places with stride 0 along axes of extent 1, so that equal places compare as equal.
    fn normal(mut self) -> Self {
        self.strides.iter_mut().zip(&self.dims).filter(|(_, extent)| **extent == 1).for_each(|(stride, _)| *stride = 0);
        self
    }

    /// The places of a tensor in row-major order, as in files.
    pub(super) fn rows(dims: &[usize]) -> Result<Self, Refusal> {
        let size = volume(dims)?;
        Ok(Self { first: 0, dims: dims.to_vec(), strides: strides(dims, 1), size }.normal())
    }

    /// The places of maps: the first axis, that of the images, lies innermost, padded to a multiple of 8.
    pub(super) fn images(dims: &[usize]) -> Result<Self, Refusal> {
        let Some((&images, rest)) = dims.split_first() else {
            return Ok(Self { first: 0, dims: Vec::new(), strides: Vec::new(), size: padded(1) });
        };
        let size = volume(&[rest, &[padded(images)]].concat())?;
        let strides = [vec![1], strides(rest, padded(images))].concat();
        Ok(Self { first: 0, dims: dims.to_vec(), strides, size }.normal())
    }

    /// The places of filters `[K][C][R][S]` as convolutions read them, K innermost.
    pub(super) fn filters(dims: &[usize; 4]) -> Result<Self, Refusal> {
        let [filters, rest @ ..] = dims;
        let strides = [vec![1], strides(rest, *filters)].concat();
        Ok(Self { first: 0, dims: dims.to_vec(), strides, size: volume(dims)? }.normal())
    }

    /// The places of filters `[groups][K / groups][C / groups][R][S]` as grouped convolutions read them, K / groups
    /// innermost.
    pub(super) fn grouped_filters(groups: usize, own: usize, window: [usize; 3]) -> Result<Self, Refusal> {
        let dims = [&[groups, own], &window[..]].concat();
        let strides = [vec![own * window.iter().product::<usize>(), 1], strides(&window, own)].concat();
        Ok(Self { first: 0, size: volume(&dims)?, dims, strides }.normal())
    }

    /// The places of `dims` as a softmax over `axis` reads them: that axis outermost, all others together as the images
    /// of a batch. Maps keep their places where `axis` is that of the channels.
    pub(super) fn columns(dims: &[usize], axis: usize) -> Result<Self, Refusal> {
        let others: Vec<usize> = (1..dims.len()).filter(|&a| a != axis).collect();
        let batch = if axis == 0 { None } else { dims.first().copied() };
        let unit = batch.map_or(1, padded);
        let rest: Vec<usize> = others.iter().map(|&a| dims[a]).collect();
        let lanes = padded(volume(&[&rest[..], &[unit]].concat())?);
        let mut places = vec![lanes; dims.len()];
        others.iter().zip(strides(&rest, unit)).for_each(|(&axis, stride)| places[axis] = stride);
        if batch.is_some() {
            places[0] = 1;
        }
        let size = volume(&[lanes, dims.get(axis).copied().unwrap_or(1)])?;
        Ok(Self { first: 0, dims: dims.to_vec(), strides: places, size }.normal())
    }

    /// The same elements under another shape, where no element has to move for it.
    pub(super) fn reshaped(&self, dims: &[usize]) -> Option<Self> {
        // Runs of axes whose elements follow one another evenly can be divided anew.
        let old: Vec<(usize, usize)> =
            self.dims.iter().copied().zip(self.strides.iter().copied()).filter(|(extent, _)| *extent != 1).collect();
        let mut strides = Vec::with_capacity(dims.len());
        let (mut from, mut to) = (0, 0);
        while from < old.len() {
            let (mut have, mut want, begin) = (old[from].0, 1, to);
            from += 1;
            while have != want || dims.get(to) == Some(&1) {
                if want < have || have == want {
                    want *= dims.get(to)?;
                    to += 1;
                } else {
                    let (extent, stride) = *old.get(from)?;
                    if old[from - 1].1 != stride * extent {
                        return None;
                    }
                    have *= extent;
                    from += 1;
                }
            }
            strides.extend(self::strides(&dims[begin..to], old[from - 1].1));
        }
        strides.resize(dims.len(), 1);
        Some(Self { first: self.first, dims: dims.to_vec(), strides, size: self.size }.normal())
    }

    /// The places of `count` elements along an axis, from `start` on.
    pub(super) fn part(&self, axis: usize, start: usize, count: usize) -> Self {
        self.spaced(axis, start, 1, count)
    }

    /// The places of `count` elements along an axis, from `start` on, `step` apart.
    pub(super) fn spaced(&self, axis: usize, start: usize, step: usize, count: usize) -> Self {
        let mut part = self.clone();
        part.first += start * part.strides[axis];
        part.strides[axis] = part.strides[axis].saturating_mul(step);
        part.dims[axis] = count;
        part.normal()
    }

    /// The elements of `values` at these places, in row-major order.
    pub(super) fn elements(&self, values: &[f32]) -> Result<Vec<f32>, Refusal> {
        let rows = Self::rows(&self.dims)?;
        let mut out = vec![0.0; rows.size];
        self.each(&rows, &mut |from, to| out[to] = values[from]);
        Ok(out)
    }

    /// The same places with the axes in another order.
    pub(super) fn permuted(&self, order: &[usize]) -> Self {
        let pick = |values: &[usize]| order.iter().map(|&axis| values[axis]).collect();
        Self { dims: pick(&self.dims), strides: pick(&self.strides), ..*self }
    }

    /// The places repeated to `dims`, aligned at the last axes; `None` where extents differ and are not 1.
    pub(super) fn repeated(&self, dims: &[usize]) -> Option<Self> {
        let missing = dims.len().checked_sub(self.dims.len())?;
        let mut strides = vec![0; missing];
        for (axis, (&have, &stride)) in self.dims.iter().zip(&self.strides).enumerate() {
            match dims[missing + axis] {
                want if want == have => strides.push(stride),
                _ if have == 1 => strides.push(0),
                _ => return None,
            }
        }
        Some(Self { dims: dims.to_vec(), strides, ..*self })
    }

    /// Whether one place stands for several elements.
    pub(super) fn repeats(&self) -> bool {
        self.strides.iter().zip(&self.dims).any(|(&stride, &extent)| stride == 0 && extent > 1)
    }

    /// Calls `body` with the place of each element here and in `to`, which has the same shape.
    fn each(&self, to: &Self, body: &mut impl FnMut(usize, usize)) {
        fn walk(axes: &[[usize; 3]], from: usize, to: usize, body: &mut impl FnMut(usize, usize)) {
            let Some((&[extent, a, b], inner)) = axes.split_first() else { return body(from, to) };
            (0..extent).for_each(|i| walk(inner, from + i * a, to + i * b, body));
        }
        let axes = self.dims.iter().zip(&self.strides).zip(&to.strides).map(|((&extent, &a), &b)| [extent, a, b]);
        walk(&axes.collect::<Vec<_>>(), self.first, to.first, body);
    }
}

/// A tensor of floats: a buffer, and the places of its elements there.
#[derive(Clone, Debug)]
pub(super) struct Tensor {
    pub(super) source: Storage,
    pub(super) places: Places,
}

/// The buffer that holds a tensor.
#[derive(Clone, Debug)]
pub(super) enum Storage {
    /// A slot on the device.
    Slot(Slot),
    /// A constant on the host.
    Host(Arc<[f32]>),
}

impl Tensor {
    /// Whether the numbers are known only once the network runs.
    pub(super) fn is_computed(&self) -> bool {
        matches!(self.source, Storage::Slot(_))
    }

    pub(super) fn dims(&self) -> &[usize] {
        &self.places.dims
    }

    /// The tensor of other places in the same buffer.
    pub(super) fn with(&self, places: Places) -> Self {
        Self { source: self.source.clone(), places }
    }
}

/// A constant to write to a slot, in the layout that its kernel reads.
#[derive(Clone, Debug)]
pub struct Upload {
    /// The slot to write.
    pub slot: Slot,
    pub(super) values: Arc<[f32]>,
    pub(super) from: Places,
    pub(super) to: Places,
    pub(super) factor: f32,
}

impl Upload {
    /// The values to write, as many as the slot has elements.
    pub fn values(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.to.size];
        self.from.each(&self.to, &mut |from, to| out[to] = self.factor * self.values[from]);
        out
    }

    /// Whether this is the upload of the same values from and to the same places.
    pub(super) fn is(&self, values: &Arc<[f32]>, from: &Places, to: &Places, factor: f32) -> bool {
        Arc::ptr_eq(&self.values, values) && self.from == *from && self.to == *to && self.factor == factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(places: &Places) -> Vec<usize> {
        let rows = Places::rows(&places.dims).unwrap();
        let mut found = vec![usize::MAX; rows.size];
        places.each(&rows, &mut |from, to| found[to] = from);
        found
    }

    #[test]
    fn layouts_by_hand() {
        let images = Places::images(&[3, 2, 2]).unwrap();
        assert_eq!((&images.strides[..], images.size), (&[1, 16, 8][..], 32));
        let filters = Places::filters(&[5, 2, 3, 4]).unwrap();
        assert_eq!((&filters.strides[..], filters.size), (&[1, 60, 20, 5][..], 120));
        assert_eq!(Places::images(&[]).unwrap().size, 8);
        // Maps are columns already; along images they are turned.
        let dims = [3, 4, 5];
        assert_eq!(Places::columns(&dims, 1).unwrap(), Places::images(&dims).unwrap());
        let turned = Places::columns(&dims, 0).unwrap();
        assert_eq!((&turned.strides[..], turned.size), (&[24, 5, 1][..], 72));
        assert_eq!(Places::columns(&dims, 2).unwrap().strides, [1, 8, 32]);
    }

    #[test]
    fn shapes_change_without_a_move_where_they_can() {
        let maps = Places::images(&[3, 4, 5, 6]).unwrap();
        for (dims, can) in [
            (&[3, 120][..], true),
            (&[3, 2, 2, 30], true),
            (&[1, 3, 4, 1, 30, 1], true),
            (&[12, 30], false),
            (&[360], false),
        ] {
            let reshaped = maps.reshaped(dims);
            assert_eq!(reshaped.is_some(), can, "{dims:?}");
            if let Some(reshaped) = reshaped {
                assert_eq!(elements(&reshaped), elements(&maps), "{dims:?}");
            }
        }
        let rows = Places::rows(&[2, 3, 4]).unwrap();
        assert_eq!(elements(&rows.reshaped(&[4, 6]).unwrap()), (0..24).collect::<Vec<_>>());
        assert!(rows.part(1, 0, 2).reshaped(&[2, 8]).is_some() && rows.part(1, 0, 2).reshaped(&[4, 4]).is_none());
        assert!(Places::rows(&[1]).unwrap().reshaped(&[]).unwrap().dims.is_empty());
        assert_eq!(elements(&Places::rows(&[]).unwrap().reshaped(&[1, 1]).unwrap()), [0]);
    }

    #[test]
    fn parts_and_repetition() {
        let rows = Places::rows(&[2, 3]).unwrap();
        assert_eq!(elements(&rows.part(1, 1, 2)), [1, 2, 4, 5]);
        assert_eq!(elements(&rows.permuted(&[1, 0])), [0, 3, 1, 4, 2, 5]);
        assert_eq!(elements(&rows.part(0, 1, 1).repeated(&[2, 2, 3]).unwrap()), [3, 4, 5, 3, 4, 5, 3, 4, 5, 3, 4, 5]);
        assert!(rows.repeated(&[3, 3]).is_none() && rows.repeated(&[3]).is_none());
    }
}
