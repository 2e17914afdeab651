//! Shapes: what is too large, which axis is meant, what a new shape comes to.

/// Elements of the largest buffer: kernels count in 32 bits, and so that sums of places stay within.
const LARGEST: usize = 1 << 30;

/// Most axes of a tensor.
pub(super) const AXES: usize = crate::ops::strided::AXES;

/// Images in multiples of 8.
pub(super) fn padded(images: usize) -> usize {
    images.next_multiple_of(8)
}

/// The product of `dims`.
pub(super) fn volume(dims: &[usize]) -> Result<usize, String> {
    let product = dims.iter().try_fold(1_usize, |product, &extent| product.checked_mul(extent));
    match product {
        Some(0) => Err(format!("a tensor of {dims:?} is empty, which is not supported")),
        Some(product) if product <= LARGEST => Ok(product),
        _ => Err(format!("a tensor of {dims:?} is too large: at most {LARGEST} elements")),
    }
}

/// The axis that is meant, counted from the end if it is negative.
pub(super) fn axis(axis: i64, axes: usize) -> Result<usize, String> {
    let from_the_end = usize::try_from(axis).or_else(|_| usize::try_from(axis.saturating_add(axes as i64)));
    from_the_end.ok().filter(|&axis| axis < axes).ok_or_else(|| format!("axis {axis} of {axes}"))
}

/// As [`axis`], where the end counts as one: places between axes.
pub(super) fn boundary(at: i64, axes: usize) -> Result<usize, String> {
    if at == axes as i64 { Ok(axes) } else { axis(at, axes) }
}

/// What the wanted extents of a reshape come to.
pub(super) fn reshape(have: &[usize], want: &[i64], zero: bool) -> Result<Vec<usize>, String> {
    let refuse = || format!("shape {want:?} does not fit a tensor of {have:?}");
    let total = volume(have)?;
    let extent = |(axis, &extent): (usize, &i64)| match extent {
        -1 => Ok(1),
        0 if !zero => have.get(axis).copied().ok_or_else(refuse),
        _ => usize::try_from(extent).map_err(|_| refuse()),
    };
    let mut dims: Vec<usize> = want.iter().enumerate().map(extent).collect::<Result<_, _>>()?;
    if dims.len() > AXES {
        return Err(format!("shape {want:?} has more than {AXES} axes"));
    }
    let known = volume(&dims)?;
    let mut open = want.iter().enumerate().filter(|(_, extent)| **extent == -1).map(|(axis, _)| axis);
    if let Some(axis) = open.next() {
        dims[axis] = total / known;
    }
    if open.next().is_some() || volume(&dims)? != total { Err(refuse()) } else { Ok(dims) }
}

/// The shape of two tensors that are repeated to fit each other, the last axes of both being the same ones.
pub(super) fn broadcast(a: &[usize], b: &[usize]) -> Result<Vec<usize>, String> {
    let axes = a.len().max(b.len());
    let extent = |dims: &[usize], axis: usize| (axis + dims.len()).checked_sub(axes).map_or(1, |axis| dims[axis]);
    let both = |axis| match (extent(a, axis), extent(b, axis)) {
        (a, b) if a == b || b == 1 => Ok(a),
        (1, b) => Ok(b),
        _ => Err(format!("tensors of {a:?} and {b:?} do not fit each other")),
    };
    (0..axes).map(both).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_by_hand() {
        assert_eq!(reshape(&[2, 3, 4], &[0, -1], false).unwrap(), [2, 12]);
        assert_eq!(reshape(&[2, 3, 4], &[4, -1, 1], false).unwrap(), [4, 6, 1]);
        for want in [&[5, -1][..], &[-1, -1], &[2, 3], &[-2, 12], &[0, 0, 0, 0], &[1; 6], &[i64::MAX, i64::MAX, 2]] {
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
