//! Arithmetic of shapes: sizes, axes, reshapes, repetition.

use super::refusal::Refusal;

/// Elements of the largest buffer: kernels count in 32 bits, sums of offsets must stay within, and so must its bytes.
pub(super) const LARGEST: usize = (1 << 30) - 1;

/// MiB of a tensor of 32-bit floats.
pub(super) fn mebibytes(dims: &[usize]) -> usize {
    dims.iter().fold(4_usize, |bytes, &extent| bytes.saturating_mul(extent)) >> 20
}

/// The most axes that a tensor may have.
pub(super) const AXES: usize = crate::ops::strided::AXES;

/// `images` rounded up to a multiple of 8.
pub(super) fn padded(images: usize) -> usize {
    images.next_multiple_of(8)
}

/// The product of `dims`, from 1 to [`LARGEST`].
pub(super) fn volume(dims: &[usize]) -> Result<usize, Refusal> {
    let product = dims.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    match product {
        Some(0) => Err(Refusal::Empty(dims.to_vec())),
        Some(product) if product <= LARGEST => Ok(product),
        _ => Err(Refusal::TooLarge(dims.to_vec())),
    }
}

/// The index of `axis`, counted from the end if it is negative.
pub(super) fn axis(axis: i64, axes: usize) -> Result<usize, Refusal> {
    let from_the_end = usize::try_from(axis).or_else(|_| usize::try_from(axis.saturating_add(axes as i64)));
    from_the_end.ok().filter(|&axis| axis < axes).ok_or(Refusal::Axis { axis, axes })
}

/// The index of the boundary before axis `at`, as [`axis`]; the end is a boundary too.
pub(super) fn boundary(at: i64, axes: usize) -> Result<usize, Refusal> {
    if at == axes as i64 { Ok(axes) } else { axis(at, axes) }
}

/// The extents of a reshape: -1 stands for what is left, 0 for the extent of the input unless `zero`.
pub(super) fn reshape(have: &[usize], want: &[i64], zero: bool) -> Result<Vec<usize>, Refusal> {
    let refuse = || Refusal::Reshape { have: have.to_vec(), want: want.to_vec() };
    let total = volume(have)?;
    let extent = |(axis, &extent): (usize, &i64)| match extent {
        -1 => Ok(1),
        0 if !zero => have.get(axis).copied().ok_or_else(refuse),
        _ => usize::try_from(extent).map_err(|_| refuse()),
    };
    let mut dims: Vec<usize> = want.iter().enumerate().map(extent).collect::<Result<_, _>>()?;
    if dims.len() > AXES {
        return Err(Refusal::ReshapeAxes { want: want.to_vec() });
    }
    let known = volume(&dims)?;
    let mut open = want.iter().enumerate().filter(|(_, extent)| **extent == -1).map(|(axis, _)| axis);
    if let Some(axis) = open.next() {
        dims[axis] = total / known;
    }
    if open.next().is_some() || volume(&dims)? != total { Err(refuse()) } else { Ok(dims) }
}

/// The shape to which tensors of shapes `a` and `b` are repeated, aligned at their last axes.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, Refusal> {
    let axes = a.len().max(b.len());
    let extent = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(axes).map_or(1, |axis| dims[axis]);
    let both = |axis| match (extent(a, axis), extent(b, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(Refusal::Broadcast(a.to_vec(), b.to_vec())),
    };
    (0..axes).map(both).collect()
}

/// Places along one axis: `count` of them from `start` on, `step` apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) start: i64,
    pub(super) step: i64,
    pub(super) count: usize,
}

/// The places of a slice [start, end, step] along an axis of `extent`; what lies beyond is left out.
pub(super) fn normal_slice([start, end, step]: [i64; 3], extent: usize) -> Result<Slice, Refusal> {
    let extent = extent as i64;
    let from_the_end = |place: i64| if place < 0 { place.saturating_add(extent) } else { place };
    let (low, high) = if step > 0 { (0, extent) } else { (-1, extent - 1) };
    let [start, end] = [start, end].map(|place| from_the_end(place).clamp(low, high.max(low)));
    let span = if step > 0 { end - start } else { start - end };
    if step == 0 {
        return Err(Refusal::Step);
    }
    let count = if span > 0 { (span as u64).div_ceil(step.unsigned_abs()) as usize } else { 0 };
    Ok(Slice { start, step, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_by_hand() {
        assert_eq!(reshape(&[2, 3, 4], &[0, -1], false).unwrap(), [2, 12]);
        assert_eq!(reshape(&[2, 3, 4], &[4, -1, 1], false).unwrap(), [4, 6, 1]);
        for want in [&[5, -1][..], &[-1, -1], &[2, 3], &[-2, 12], &[0, 0, 0, 0], &[1; 7], &[i64::MAX, i64::MAX, 2]] {
            assert!(reshape(&[2, 3, 4], want, false).is_err(), "{want:?}");
        }
        assert!(reshape(&[2, 3, 4], &[0, 12], true).is_err());
        assert_eq!(broadcast(&[3, 1, 5], &[4, 1]).unwrap(), [3, 4, 5]);
        assert!(broadcast(&[3], &[4]).is_err());
        assert_eq!((axis(-1, 3).unwrap(), axis(2, 3).unwrap(), boundary(3, 3).unwrap()), (2, 2, 3));
        assert!(axis(3, 3).is_err() && axis(-4, 3).is_err() && axis(i64::MIN, 3).is_err() && boundary(4, 3).is_err());
        assert!(volume(&[1 << 40, 1 << 40]).is_err() && volume(&[0]).is_err());
    }
}
