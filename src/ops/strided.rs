//! Copies between layouts: a tensor is read at any strides and written at others. Transposition, concatenation, a part
//! of a tensor and repetition along an axis (a stride of 0) are one kernel.

use crate::kernel::{Args, Case, Fill, Kernel, Param, Params, Variant, read_map, update_map};
use crate::tensor::Real;
use crate::twin;

/// Axes of a copy.
pub const AXES: usize = 6;

/// A copy along [`AXES`] axes; what of y is not written stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Extent, stride in x and stride in y of each axis, the innermost last; no two places of y are one.
    axes: [[usize; 3]; AXES],
    /// The first element of x and that of y.
    first: [usize; 2],
    /// Factor of every element.
    factor: f32,
}

/// Names of the parameters: extents, strides in x, strides in y.
const NAMES: [[&str; AXES]; 3] =
    [["e0", "e1", "e2", "e3", "e4", "e5"], ["a0", "a1", "a2", "a3", "a4", "a5"], ["b0", "b1", "b2", "b3", "b4", "b5"]];

impl Shape {
    /// A copy of `axes`, each an extent with its strides in x and y, the innermost last.
    pub fn new(axes: [[usize; 3]; AXES], first: [usize; 2], factor: f32) -> Self {
        Self { axes, first, factor }
    }

    /// The parameters of a run.
    pub fn params(&self) -> Params {
        let along = |(side, names): (usize, [&'static str; AXES])| {
            (0..AXES).map(move |axis| (names[axis], self.axes[axis][side].value()))
        };
        let mut entries: Vec<_> = NAMES.into_iter().enumerate().flat_map(along).collect();
        entries.extend([("x_first", self.first[0].value()), ("y_first", self.first[1].value())]);
        entries.push(("factor", self.factor.value()));
        Params::new(entries)
    }
}

impl From<&Params> for Shape {
    fn from(params: &Params) -> Self {
        let axes = std::array::from_fn(|axis| NAMES.map(|names| params.get(names[axis])));
        Self { axes, first: ["x_first", "y_first"].map(|name| params.get(name)), factor: params.get("factor") }
    }
}

/// y = factor · x.
pub static COPY: Kernel = Kernel {
    name: "strided.copy",
    doc: "y[i · b] = factor x[i · a], i over e0 × … × e5; any layout",
    bindings: &[read_map("x"), update_map("y")],
    variants: &[Variant::linear("copy", &[include_str!("../../shaders/strided.wgsl")], elements)],
    twin: twin!(copy),
    cases,
    tolerance: 1e-6, // a product
    flops: |p| elements(p) as u64,
    ..Kernel::PLAIN
};

fn elements(params: &Params) -> usize {
    Shape::from(params).axes.iter().map(|[extent, ..]| extent).product()
}

fn copy<T: Real>(mut args: Args<T>) {
    let shape = Shape::from(args.params);
    let (x, y) = (args.read(), args.write());
    let factor = T::of(f64::from(shape.factor));
    let [outer @ .., [extent, a, b]] = shape.axes;
    each(&outer, shape.first[0], shape.first[1], &mut |from, to| {
        for i in 0..extent {
            y[to + i * b] = factor * x[from + i * a];
        }
    });
}

/// Calls `body` with the elements of x and y at which every innermost row begins.
fn each(axes: &[[usize; 3]], from: usize, to: usize, body: &mut impl FnMut(usize, usize)) {
    let Some((&[extent, a, b], inner)) = axes.split_first() else { return body(from, to) };
    for i in 0..extent {
        each(inner, from + i * a, to + i * b, body);
    }
}

fn cases() -> Vec<Case> {
    let one = [1, 0, 0];
    let cases = [
        ("one number", [one; AXES], [3, 2], 1.0),
        ("images innermost", [one, one, [3, 20, 160], [4, 5, 40], [5, 1, 8], [7, 60, 1]], [0, 0], 1.0),
        ("a part, scaled", [one, [2, 200, 100], [2, 100, 50], [5, 10, 10], [3, 3, 3], [3, 1, 1]], [7, 11], 0.25),
        ("blocks of pixels", [[3, 1, 1], [2, 192, 192], [4, 12, 48], [2, 96, 24], [4, 3, 6], [2, 48, 3]], [0, 0], 1.0),
        ("repeated", [one, [3, 0, 60], [1, 9, 9], [4, 1, 15], [3, 0, 5], [5, 4, 1]], [1, 0], 1.0),
        (
            "more than one dispatch",
            [one, one, [5, 0, 840_000], [7, 0, 120_000], [300, 1, 400], [400, 0, 1]],
            [0, 0],
            1.0,
        ),
    ];
    let case = |(name, axes, first, factor): (&str, [[usize; 3]; AXES], [usize; 2], f32)| {
        let end = |side: usize| first[side] + axes.iter().map(|axis| (axis[0] - 1) * axis[side + 1]).sum::<usize>() + 1;
        let buffers = vec![(end(0), Fill::Normal(1.0)), (end(1) + 3, Fill::Normal(1.0))];
        Case::new(name, Shape::new(axes, first, factor).params(), buffers)
    };
    cases.map(case).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::kernel::Arg;

    /// Else the last to write an element would decide, and on a GPU anyone may be.
    #[test]
    fn cases_write_every_element_once() {
        for case in cases() {
            let (shape, mut places) = (Shape::from(&case.params), HashSet::new());
            each(&shape.axes, shape.first[0], shape.first[1], &mut |_, to| {
                assert!(places.insert(to), "{}: y[{to}] is written twice", case.name);
            });
            assert_eq!(places.len(), elements(&case.params), "{}", case.name);
        }
    }

    #[test]
    fn transposes_by_hand() {
        let one = [1, 0, 0];
        let shape = Shape::new([one, one, one, one, [2, 3, 1], [3, 1, 2]], [1, 1], 2.0).params();
        let (x, mut y) = ([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [-1.0; 8]);
        copy(Args::new(&shape, vec![Arg::Read(&x), Arg::Write(&mut y)]));
        assert_eq!(y, [-1.0, 2.0, 8.0, 4.0, 10.0, 6.0, 12.0, -1.0]);
    }
}
