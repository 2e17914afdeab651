//! Convolution in groups: filters that see a part of the maps, down to one each, with weights `[C][R][S][K / groups]`,
//! whose rows are those of the maps of all groups. So the operands of a group lie side by side: few large groups run
//! one by one as convolutions of their own, on parts of the slots. Others, and windows whose elements lie apart, have
//! kernels that compute all groups at once.

use super::variants::ACTIVATION;
use super::{BACKWARD_FILTER, BACKWARD_INPUT, Conv, FORWARD, grouped_twins as twins};
use crate::kernel::{Case, Fill, Grid, Kernel, Needs, Params, Tile, Variant, read, read_map, update, write_map};
use crate::ops::activation::Activation;
use crate::program::{Recorder, Slot};
use crate::{params, twin};

/// The most groups that run as convolutions of their own.
const OWN_GROUPS: usize = 8;
/// The fewest filters of a group that is worth a convolution of its own.
const OWN_FILTERS: usize = 16;

params! {
    /// One convolution, in the letters of [`super::Conv`].
    pub struct Grouped {
        /// C: maps that a filter sees.
        maps: usize,
        /// H: rows of an input map.
        h: usize,
        /// W: columns of an input map.
        w: usize,
        /// N: images, a multiple of 8.
        n: usize,
        /// K: filters of all groups.
        k: usize,
        /// P: rows of an output map.
        p: usize,
        /// Q: columns of an output map.
        q: usize,
        /// R: rows of the window.
        r: usize,
        /// S: columns of the window.
        s: usize,
        /// Rows from one window to the next.
        stride_y: usize,
        /// Columns from one window to the next.
        stride_x: usize,
        /// Rows from one row of a window to the next.
        dilation_y: usize,
        /// Columns from one column of a window to the next.
        dilation_x: usize,
        /// Rows of zeros above.
        pad_y: usize,
        /// Columns of zeros to the left.
        pad_x: usize,
        /// Groups, each of `maps` maps and `k / groups` filters.
        groups: usize,
        /// Adds to what is there (gradient by filter only).
        accumulate: bool,
        /// Adds a bias per filter (forward only).
        bias: bool,
        /// Number of the [`Activation`] that is applied last (forward), or which made x (by input).
        activation: usize,
    }
}

/// The three computations of a convolution.
#[derive(Clone, Copy, Debug)]
pub enum Direction {
    /// y of x, w and b.
    Forward,
    /// dx of w, dy and x.
    BackwardInput,
    /// dw of x and dy.
    BackwardFilter,
}

impl Direction {
    /// Kernels of one group, and of all at once.
    fn kernels(self) -> [&'static Kernel; 2] {
        match self {
            Self::Forward => [&FORWARD, &GROUPED],
            Self::BackwardInput => [&BACKWARD_INPUT, &GROUPED_BACKWARD_INPUT],
            Self::BackwardFilter => [&BACKWARD_FILTER, &GROUPED_BACKWARD_FILTER],
        }
    }
}

impl Grouped {
    /// `groups` groups, each of which is computed as `conv`.
    pub fn new(conv: Conv, groups: usize) -> Self {
        let Conv { maps, h, w, n, k, p, q, r, s, stride_y, stride_x, pad_y, pad_x, accumulate, bias, activation } =
            conv;
        let (k, dilation_y, dilation_x) = (groups * k, 1, 1);
        Self {
            maps,
            h,
            w,
            n,
            k,
            p,
            q,
            r,
            s,
            stride_y,
            stride_x,
            dilation_y,
            dilation_x,
            pad_y,
            pad_x,
            groups,
            accumulate,
            bias,
            activation,
        }
    }

    /// The convolution of one group, where groups are so few and large that they run one by one.
    pub fn of_one_group(&self) -> Option<Conv> {
        let &Self {
            maps, h, w, n, k, p, q, r, s, stride_y, stride_x, pad_y, pad_x, accumulate, bias, activation, ..
        } = self;
        let k = k / self.groups;
        let worth = self.groups == 1 || self.groups <= OWN_GROUPS && k >= OWN_FILTERS;
        let conv =
            Conv { maps, h, w, n, k, p, q, r, s, stride_y, stride_x, pad_y, pad_x, accumulate, bias, activation };
        (worth && (self.dilation_y, self.dilation_x) == (1, 1)).then_some(conv)
    }

    /// Records a computation on slots of all groups: group by group, where parts of the slots can be bound by
    /// themselves.
    pub fn record(&self, r: &mut Recorder, direction: Direction, slots: &[Slot]) {
        let (groups, [one, all]) = (self.groups, direction.kernels());
        let whole: Vec<_> = slots.iter().map(|&slot| r.info(slot).whole(slot)).collect();
        let conv = self.of_one_group().filter(|_| whole.iter().all(|view| view.parts_are_aligned(groups)));
        let Some(conv) = conv else { return r.run(all, self.params(), slots) };
        for group in 0..groups {
            r.run_on(one, conv.params(), whole.iter().map(|view| view.part(group, groups)).collect());
        }
    }

    /// Filters of one group.
    pub(super) const fn own(&self) -> usize {
        self.k / self.groups
    }

    fn counts(&self) -> [usize; 3] {
        let Self { maps, h, w, n, k, p, q, r, s, groups, .. } = *self;
        [groups * maps * h * w * n, maps * r * s * k, k * p * q * n]
    }

    fn flops(params: &Params) -> u64 {
        let Self { maps, k, r, s, p, q, n, .. } = Self::from(params);
        2 * [maps, k, r, s, p, q, n].iter().map(|&extent| extent as u64).product::<u64>()
    }
}

/// y = f(w ∗ x + b), group by group.
pub static GROUPED: Kernel = Kernel {
    name: "conv.grouped",
    doc: "y[k][p][q][n] = f(sum over c, r, s of w[k's group, c][r][s][k] x[c][p·stride+r·dilation-pad][…][n] + b[k])",
    bindings: &[read_map("x"), read_map("w"), read("b"), write_map("y")],
    variants: &[plain(
        "grouped",
        &[ACTIVATION, include_str!("../../../shaders/conv_grouped.wgsl")],
        |p| tile(p, Grouped::from(p).own(), Grouped::from(p).q),
        |p| {
            let Grouped { n, k, p: rows, q, .. } = Grouped::from(p);
            [q * n / VECTOR, k / p.get::<usize>("tm"), rows]
        },
    )],
    twin: twin!(twins::forward),
    cases: || cases(|shape, [x, w, y]| vec![(x, X), (w, W), (shape.k, X), (y, Fill::Output)]),
    tolerance: 3e-6, // sums of up to some thousand products in f32
    terms: |_| 0,
    split: None,
    flops: Grouped::flops,
};

/// dx = gradient of the loss by the input, group by group.
pub(super) static GROUPED_BACKWARD_INPUT: Kernel = Kernel {
    name: "conv.grouped_by_input",
    doc: "dx[c][h][w][n] = f' of x = f(·), times the sum over k of c's group, r, s of w[c][r][s][k] dy[k][p][q][n], \
        p·stride+r·dilation-pad = h",
    bindings: &[read_map("w"), read_map("dy"), read_map("x"), write_map("dx")],
    variants: &[plain(
        "grouped_backward_input",
        &[ACTIVATION, include_str!("../../../shaders/conv_grouped_backward_input.wgsl")],
        |p| tile(p, Grouped::from(p).maps, Grouped::from(p).w),
        |p| {
            let Grouped { n, maps, groups, h, w, .. } = Grouped::from(p);
            [w * n / VECTOR, groups * maps / p.get::<usize>("tm"), h]
        },
    )],
    twin: twin!(twins::backward_input),
    cases: || cases(|_, [x, w, y]| vec![(w, W), (y, X), (x, X), (x, Fill::Output)]),
    tolerance: 3e-6, // as forward
    terms: |_| 0,
    split: None,
    flops: Grouped::flops,
};

/// dw = gradient of the loss by the filters, group by group.
pub(super) static GROUPED_BACKWARD_FILTER: Kernel = Kernel {
    name: "conv.grouped_by_filter",
    doc: "dw[c][r][s][k] = sum over p, q, n of x[c][p·stride+r·dilation-pad][…][n] dy[k][p][q][n], k of c's group",
    bindings: &[read_map("x"), read_map("dy"), update("dw")],
    variants: &[plain(
        "grouped_backward_filter",
        &[include_str!("../../../shaders/conv_grouped_backward_filter.wgsl")],
        |p| vec![("threads", 64), ("tm", rows(Grouped::from(p).own()))],
        |p| {
            let shape = Grouped::from(p);
            let window = shape.r * shape.s * p.get::<usize>("threads");
            [window, shape.own() / p.get::<usize>("tm"), shape.groups * shape.maps]
        },
    )],
    twin: twin!(twins::backward_filter),
    cases: || {
        let target = |shape: &Grouped| if shape.accumulate { X } else { Fill::Output };
        cases(|shape, [x, w, y]| vec![(x, X), (y, X), (w, target(shape))])
    },
    tolerance: 1e-5, // sums over all pixels and images
    terms: |_| 0,
    split: None,
    flops: Grouped::flops,
};

/// Images of an invocation.
const VECTOR: usize = 4;

/// The variant that every adapter runs.
const fn plain(
    entry: &'static str,
    sources: &'static [&'static str],
    tile: fn(&Params) -> Tile,
    grid: fn(&Params) -> [usize; 3],
) -> Variant {
    Variant {
        name: "plain",
        sources,
        entry,
        vector: VECTOR,
        tile,
        grid: Grid::Tiles(grid),
        adding: None,
        needs: Needs::NONE,
    }
}

/// As many of `extent` filters or maps of a group for an invocation as fill the group evenly.
fn rows(extent: usize) -> usize {
    [8, 4, 2].into_iter().find(|&rows| extent.is_multiple_of(rows)).unwrap_or(1)
}

/// The tile of workgroups that lie along rows of `width` pixels, with `extent` filters or maps in a group.
fn tile(params: &Params, extent: usize, width: usize) -> Tile {
    let lanes = if (width * params.get::<usize>("n")).is_multiple_of(32) { 8 } else { 2 };
    vec![("lanes", lanes), ("rows", 64 / lanes), ("tm", rows(extent))]
}

const X: Fill = Fill::Normal(1.0);
const W: Fill = Fill::Normal(0.3);

/// A case of every shape with these buffers, given the numbers of elements of x, w and y.
fn cases(buffers: impl Fn(&Grouped, [usize; 3]) -> Vec<(usize, Fill)>) -> Vec<Case> {
    let one = Grouped { h: 7, w: 6, p: 5, q: 4, r: 3, s: 3, bias: true, ..Grouped::new(Conv::dense(3, 12, 8), 1) };
    let relu = Activation::Relu as usize;
    let shapes = [
        ("one group", one),
        ("two groups", Grouped { groups: 2, n: 40, bias: false, ..one }),
        ("a map for each filter", Grouped { maps: 1, k: 5, groups: 5, n: 32, activation: relu, ..one }),
        ("a map for three filters, added", Grouped { maps: 1, k: 6, groups: 2, accumulate: true, ..one }),
        ("four maps for each filter", Grouped { maps: 4, k: 3, groups: 3, ..one }),
        ("dilated, padded, strided", Grouped { dilation_y: 2, stride_x: 2, pad_y: 2, pad_x: 1, p: 7, q: 3, ..one }),
        ("dilated over the edge", Grouped { dilation_y: 4, dilation_x: 3, pad_y: 3, pad_x: 2, p: 5, q: 4, ..one }),
    ];
    let case = |(name, shape): (&str, Grouped)| Case::new(name, shape.params(), buffers(&shape, shape.counts()));
    shapes.map(case).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::backend::{Backend, Data};
    use crate::kernel::{Binding, Elem};
    use crate::program::{Home, Pass, Role, SlotInfo};
    use crate::random::{Purpose, Stream};

    /// What a program of one direction writes at f64, group by group or all at once.
    fn outcome(shape: &Grouped, direction: Direction, at_once: bool) -> (Vec<f64>, usize) {
        let mut r = Recorder::new();
        r.begin(Pass::Evaluate);
        let [x, w, y] = shape.counts();
        let counts = match direction {
            Direction::Forward => vec![x, w, shape.k, y],
            Direction::BackwardInput => vec![w, y, x, x],
            Direction::BackwardFilter => vec![x, y, w],
        };
        let all = direction.kernels()[1];
        let slot = |(binding, &count): (&Binding, &usize)| {
            let (name, home) = (binding.name.into(), Home::Tower(0));
            r.slot(SlotInfo { name, shape: vec![count], elem: Elem::F32, home, role: Role::Output })
        };
        let slots: Vec<Slot> = all.bindings.iter().zip(&counts).map(slot).collect();
        if at_once {
            r.run(all, shape.params(), &slots);
        } else {
            shape.record(&mut r, direction, &slots);
        }
        let program = r.finish();
        let runs = program.commands(Pass::Evaluate).len();
        let mut cpu = Cpu::<f64>::new(program);
        for (tag, (&slot, &count)) in (0..).zip(slots.iter().zip(&counts)) {
            let values = Stream::new(3, Purpose::Test, tag).normal_vec(count, 1.0);
            cpu.write(slot, Data::F32(&values)).unwrap();
        }
        cpu.run(Pass::Evaluate).unwrap();
        (cpu.read_exact(slots[slots.len() - 1]), runs)
    }

    #[test]
    fn groups_give_the_same_one_by_one_as_at_once() {
        let conv = Conv { h: 3, w: 4, p: 3, q: 4, r: 3, s: 3, pad_y: 1, pad_x: 1, ..Conv::dense(4, 64, 16) };
        let shape = Grouped::new(Conv { bias: true, activation: Activation::Relu as usize, ..conv }, 2);
        for direction in [Direction::Forward, Direction::BackwardInput, Direction::BackwardFilter] {
            let ((one_by_one, two), (at_once, one)) =
                (outcome(&shape, direction, false), outcome(&shape, direction, true));
            assert_eq!((two, one), (2, 1), "{direction:?}");
            let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12 * (1.0 + b.abs());
            assert!(one_by_one.iter().zip(&at_once).all(close), "{direction:?}");
        }
    }

    /// Biases of 32 filters are half as long as what a binding is aligned to; 3 filters are not worth a run.
    #[test]
    fn parts_that_cannot_be_bound_run_at_once() {
        for filters in [32, 3] {
            let shape = Grouped::new(Conv { bias: true, ..Conv::dense(64, filters, 8) }, 2);
            assert_eq!(outcome(&shape, Direction::Forward, false).1, 1, "{filters} filters");
        }
    }
}
