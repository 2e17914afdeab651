//! Activations y = f(x): ReLU, the paper's (section 3.1), and tanh, to which Figure 1 compares it.
//!
//! x, y: maps of any shape, `count` elements; dx = dy f'(x), computed from the saved y: relu' is 1 where y > 0, else 0,
//! tanh' = 1 − y². After a contraction the activation runs in that kernel's epilogue; on its own where the released
//! code has it after pooling.

use crate::kernel::{Args, Case, Fill, Kernel, Variant, read_map, write_map};
use crate::ops::elementwise::{count, map, zip};
use crate::ops::kind::{Caffe, LayerKind, Place, Scaling, caffe_words};
use crate::ops::layer::{Chw, Layer, LayerError, Saved, Site, map_slot, only};
use crate::ops::onnx::{Form, Subgraph};
use crate::program::{Recorder, Slot};
use crate::tensor::Real;
use crate::{params, twin};

/// The function f of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Activation {
    /// y = x: no activation.
    #[default]
    Linear = 0,
    /// y = max(x, 0), with the derivative 0 at 0.
    Relu = 1,
    /// y = tanh(x), the saturating activation of Figure 1.
    Tanh = 2,
}

impl Activation {
    /// The function behind a kernel's `activation` parameter.
    pub fn numbered(parameter: usize) -> Self {
        [Self::Linear, Self::Relu, Self::Tanh][parameter]
    }

    /// As model files write it.
    pub fn name(self) -> &'static str {
        ["linear", "relu", "tanh"][self as usize]
    }

    /// `, relu` behind the description of a layer that has it in its epilogue.
    pub fn suffix(self) -> String {
        if self == Self::Linear { String::new() } else { format!(", {}", self.name()) }
    }

    /// y = f(x); NaN passes through.
    #[inline(always)]
    pub fn apply<T: Real>(self, x: T) -> T {
        match self {
            Self::Relu if x <= T::zero() => T::zero(),
            Self::Linear | Self::Relu => x,
            Self::Tanh => x.tanh(),
        }
    }

    /// y = f(y + `bias`), each activation in a loop of its own, which is vectorised.
    pub(super) fn finish(self, y: &mut [f32], bias: f32) {
        fn each(y: &mut [f32], f: impl Fn(f32) -> f32) {
            for y in y {
                *y = f(*y);
            }
        }
        match self {
            Self::Linear => each(y, |y| y + bias),
            Self::Relu => each(y, |y| Self::Relu.apply(y + bias)),
            Self::Tanh => each(y, |y| Self::Tanh.apply(y + bias)),
        }
    }

    /// dx from dy, in its place, and the saved y; each activation has a loop of its own.
    pub(super) fn gradients(self, dy: &mut [f32], y: &[f32]) {
        fn each(dy: &mut [f32], y: &[f32], f: impl Fn(f32, f32) -> f32) {
            for (dy, &y) in dy.iter_mut().zip(y) {
                *dy = f(*dy, y);
            }
        }
        match self {
            Self::Linear => (),
            Self::Relu => each(dy, y, |dy, y| Self::Relu.gradient(dy, y)),
            Self::Tanh => each(dy, y, |dy, y| Self::Tanh.gradient(dy, y)),
        }
    }

    /// dx from dy and the saved y.
    #[inline(always)]
    pub(super) fn gradient<T: Real>(self, dy: T, y: T) -> T {
        match self {
            Self::Relu if y <= T::zero() => T::zero(),
            Self::Linear | Self::Relu => dy,
            Self::Tanh => dy * (T::one() - y * y),
        }
    }
}

params! {
    /// An activation over a whole map.
    pub struct Shape {
        /// Elements, a multiple of 4.
        count: usize,
        /// [`Activation`] as a number.
        activation: usize,
    }
}

const SOURCES: &[&str] =
    &[include_str!("../../shaders/common/activation.wgsl"), include_str!("../../shaders/activation.wgsl")];

/// y = f(x), element by element.
pub static FORWARD: Kernel = Kernel {
    name: "activation.forward",
    doc: "y = f(x), f = max(x, 0) or tanh; any shape",
    bindings: &[read_map("x"), write_map("y")],
    variants: &[Variant::linear("forward", SOURCES, count)],
    twin: twin!(forward),
    cases: || {
        let mut cases = cases(|n| vec![(n, Fill::Normal(2.0)), (n, Fill::Output)]);
        let edges = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -0.0, 1e-30, 40.0, -40.0, -f32::NAN];
        for (name, activation) in [("not finite, relu", 1), ("not finite, tanh", 2)] {
            let buffers = vec![(8, Fill::Floats(edges.into())), (8, Fill::Output)];
            cases.push(Case::new(name, Shape { count: 8, activation }.params(), buffers));
        }
        cases
    },
    tolerance: 1e-5, // the driver's tanh; ReLU is exact
    flops: |p| count(p) as u64,
    ..Kernel::PLAIN
};

/// dx = dy · f'(x), from the saved y.
pub static BACKWARD: Kernel = Kernel {
    name: "activation.backward",
    doc: "dx = dy [y > 0] or dy (1 - y^2); any shape",
    bindings: &[read_map("y_saved"), read_map("dy"), write_map("dx")],
    variants: &[Variant::linear("backward", SOURCES, count).vectors(4)],
    twin: twin!(gradient),
    cases: || cases(|n| vec![(n, Fill::Integers(3)), (n, Fill::Normal(1.0)), (n, Fill::Output)]),
    tolerance: 1e-6, // one or two roundings
    flops: |p| 2 * count(p) as u64,
    ..Kernel::PLAIN
};

fn cases(buffers: fn(usize) -> Vec<(usize, Fill)>) -> Vec<Case> {
    // The last needs more workgroups than one dispatch holds: the kernel must stride.
    let shapes = [("one vector", 8, 1), ("ragged relu", 1032, 1), ("tanh", 1000, 2), ("strided", 64 * 65_535 + 8, 1)];
    let case = |(name, count, activation)| Case::new(name, Shape { count, activation }.params(), buffers(count));
    shapes.map(case).into()
}

fn forward<T: Real>(mut args: Args<T>) {
    let f = Activation::numbered(Shape::from(args.params).activation);
    let (x, y) = (args.read(), args.write());
    map(y, x, |x| f.apply(x));
}

fn gradient<T: Real>(mut args: Args<T>) {
    let f = Activation::numbered(Shape::from(args.params).activation);
    let (y, dy, dx) = (args.read(), args.read(), args.write());
    zip(dx, dy, y, |dy, y| f.gradient(dy, y));
}

/// Records the gradient through an activation whose output is `y`; dy itself where it is linear.
pub fn backward(r: &mut Recorder, site: &Site, f: Activation, y: (Slot, Chw), dy: Slot) -> Slot {
    if f == Activation::Linear {
        return dy;
    }
    let dx = map_slot(r, site, "dz", y.1);
    let shape = Shape { count: y.1.count() * site.images, activation: f as usize };
    r.run(&BACKWARD, shape.params(), &[y.0, dy, dx]);
    dx
}

/// dx becomes 0 where x, the output of a ReLU, is not positive: the ReLU's gradient in a kernel that has made dx.
#[inline(always)]
pub(super) fn rectify<T: Real>(dx: &mut [T], x: &[T]) {
    dx.iter_mut().zip(x).for_each(|(dx, &x)| *dx = Activation::Relu.gradient(*dx, x));
}

/// `relu`, the activation y = max(x, 0).
pub static RELU: LayerKind = LayerKind {
    name: "relu",
    settings: &[],
    shared: None,
    place: Place::Stage { build: |_| Ok(Box::new(ActivationLayer(Activation::Relu))), epilogue: Activation::Relu },
    scaling: Scaling::Homogeneous,
    onnx: |_, _| Subgraph::one(Form::Any, "Relu", Vec::new()),
    caffe: Caffe::Words(caffe_words),
    kernels: &[&FORWARD, &BACKWARD],
    examples: &["\"relu\""],
};

/// `tanh`, by the kernels of [`RELU`].
pub static TANH: LayerKind = LayerKind {
    name: "tanh",
    settings: &[],
    shared: None,
    place: Place::Stage { build: |_| Ok(Box::new(ActivationLayer(Activation::Tanh))), epilogue: Activation::Tanh },
    scaling: Scaling::Other,
    onnx: |_, _| Subgraph::one(Form::Any, "Tanh", Vec::new()),
    caffe: Caffe::Words(caffe_words),
    kernels: &[],
    examples: &["\"tanh\""],
};

/// An activation as a layer of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct ActivationLayer(pub Activation);

impl Layer for ActivationLayer {
    fn describe(&self) -> String {
        self.0.name().into()
    }

    fn output(&self, x: &[Chw]) -> Result<Chw, LayerError> {
        only(x)
    }

    fn forward(&self, r: &mut Recorder, site: &Site, x: &[(Slot, Chw)], _: &[Slot], y: Chw, _: bool) -> Slot {
        let out = map_slot(r, site, "y", y);
        let shape = Shape { count: y.count() * site.images, activation: self.0 as usize };
        r.run(&FORWARD, shape.params(), &[x[0].0, out]);
        out
    }

    fn activation(&self) -> Activation {
        self.0
    }

    fn cheap(&self) -> bool {
        true
    }

    fn backward_input(&self, _: &mut Recorder, _: &Site, _: &Saved, dz: Slot, _: usize) -> Slot {
        dz
    }
}
