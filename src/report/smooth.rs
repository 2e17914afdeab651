//! Curves of many steps as curves of few points: means of neighbours, weighted by their images.

/// Most points that are drawn one by one; of more, means over at least [`SMOOTH`] of them are, where that leaves
/// enough.
const SINGLE: usize = 200;
const SMOOTH: usize = 10;

/// Points of a curve at most, of one that is compared with shorter ones at most, and about how many are enough.
const POINTS: usize = 120;
const COMPARED: usize = 480;
const ENOUGH: usize = 40;

/// Share of the usual images below which a point is drawn together with the one before it: the rest of an epoch.
const REST: f64 = 0.5;

/// A value of a curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    /// Place along the axis, and the value there.
    pub(super) at: [f64; 2],
    /// Images that the value is the mean of.
    pub(super) images: f64,
}

/// Number of neighbours that one point stands for, the same in all curves that are compared, whose points are `counts`.
pub(super) fn window(counts: &[usize]) -> usize {
    let most = counts.iter().copied().max().unwrap_or(0);
    if most <= SINGLE {
        return 1;
    }
    let points = if counts.len() > 1 { COMPARED } else { POINTS };
    most.div_ceil(points).max(SMOOTH.min(most / ENOUGH))
}

/// Means of `size` neighbours each; of few images none stands alone.
pub(super) fn smoothed(points: &[Point], size: usize) -> Vec<[f64; 2]> {
    let mut means: Vec<Point> = points.chunks(size.max(1)).filter_map(mean).collect();
    let usual = means.iter().map(|point| point.images).fold(0.0, f64::max);
    let mut kept: Vec<Point> = Vec::with_capacity(means.len());
    for point in means.drain(..) {
        match kept.last_mut() {
            Some(before) if point.images < REST * usual => {
                *before = mean(&[*before, point]).unwrap_or(point);
            }
            _ => kept.push(point),
        }
    }
    kept.into_iter().map(|point| point.at).collect()
}

fn mean(points: &[Point]) -> Option<Point> {
    let images: f64 = points.iter().map(|point| point.images).sum();
    let of = |i: usize| points.iter().map(|point| point.at[i] * point.images).sum::<f64>() / images;
    (images > 0.0).then(|| Point { at: [of(0), of(1)], images })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(count: usize, value: impl Fn(usize) -> f64) -> Vec<Point> {
        (0..count).map(|i| Point { at: [i as f64, value(i)], images: 32.0 }).collect()
    }

    #[test]
    fn long_curves_are_drawn_as_means() {
        let thin = smoothed(&points(100_000, |i| (i % 2) as f64), window(&[100_000]));
        assert_eq!(thin.len(), POINTS);
        assert!(thin.iter().all(|point| (point[1] - 0.5).abs() < 1e-9), "{:?}", thin[0]);
        assert_eq!(smoothed(&points(150, |i| i as f64), window(&[150])).len(), 150);
    }

    #[test]
    fn curves_that_are_compared_are_means_of_as_many_steps() {
        let size = window(&[300, 9000]);
        assert_eq!([300, 9000].map(|count| smoothed(&points(count, |_| 1.0), size).len()), [16, 474]);
    }

    #[test]
    fn the_rest_of_an_epoch_makes_no_spike() {
        let mut curve = points(10, |_| 1.0);
        curve[4] = Point { at: [4.0, 9.0], images: 2.0 };
        let drawn = smoothed(&curve, 1);
        let most = drawn.iter().map(|point| point[1]).fold(0.0, f64::max);
        assert_eq!(drawn.len(), 9);
        assert!((most - (32.0 + 18.0) / 34.0).abs() < 1e-9, "{most}");
    }
}
