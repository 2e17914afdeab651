//! A layer of one's own, from outside the crate: swish, y = x σ(x), with its kernels, their CPU twins, and its place in
//! model files. It trains on GPUs and on the processor like any other, and is exported to ONNX.
//!
//! `cargo run --release --example custom_layer [DEVICES]`

use alexnet::data::{Dataset, Loader, LoaderOptions, Views};
use alexnet::kernel::{Args, Case, Fill, Kernel, Params, Variant, read_map, write_map};
use alexnet::net::{Job, Model, Net};
use alexnet::ops::LAYERS;
use alexnet::ops::activation::Activation;
use alexnet::ops::kind::{Caffe, LayerKind, Place, Scaling, caffe_words};
use alexnet::ops::layer::Unary;
use alexnet::ops::onnx::{Form, Subgraph, X, Y};
use alexnet::session::{Rates, Session, open_devices};
use alexnet::tensor::Real;
use alexnet::{params, twin};

params! {
    /// A map of any shape.
    struct Shape {
        /// Elements of the map, C·H·W·N.
        count: usize,
    }
}

const WGSL: &[&str] = &["
@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read_write> y: array<Map>;
@group(0) @binding(2) var<storage, read> dy: array<Map>;
@group(0) @binding(3) var<storage, read_write> dx: array<Map>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT; i += groups.x * WORKGROUP) {
        y[i] = Map(f32(x[i]) / (1.0 + exp(-f32(x[i]))));
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT; i += groups.x * WORKGROUP) {
        let s = 1.0 / (1.0 + exp(-f32(x[i])));
        dx[i] = Map(f32(dy[i]) * (s + f32(x[i]) * s * (1.0 - s)));
    }
}
"];

static FORWARD: Kernel = Kernel {
    name: "swish.forward",
    doc: "y = x / (1 + e^-x); any shape",
    bindings: &[read_map("x"), write_map("y")],
    variants: &[Variant::linear("forward", WGSL, |p| p.get("count"))],
    twin: twin!(forward),
    cases: || {
        vec![Case::new("ragged", Shape { count: 1003 }.params(), vec![(1003, Fill::Normal(2.0)), (1003, Fill::Output)])]
    },
    tolerance: 1e-5, // the driver's exp
    flops: |p| 4 * p.get::<usize>("count") as u64,
    ..Kernel::PLAIN
};

static BACKWARD: Kernel = Kernel {
    name: "swish.backward",
    doc: "dx = dy (s + x s (1 - s)), s = 1 / (1 + e^-x); any shape",
    bindings: &[read_map("x"), read_map("dy"), write_map("dx")],
    variants: &[Variant::linear("backward", WGSL, |p| p.get("count"))],
    twin: twin!(backward),
    cases: || {
        let buffers = vec![(1003, Fill::Normal(2.0)), (1003, Fill::Normal(1.0)), (1003, Fill::Output)];
        vec![Case::new("ragged", Shape { count: 1003 }.params(), buffers)]
    },
    tolerance: 1e-5,
    flops: |p| 8 * p.get::<usize>("count") as u64,
    ..Kernel::PLAIN
};

fn forward<T: Real>(mut args: Args<T>) {
    let (x, y) = (args.read(), args.write());
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = x / (T::one() + (-x).exp()));
}

fn backward<T: Real>(mut args: Args<T>) {
    let (x, dy, dx) = (args.read(), args.read(), args.write());
    for ((dx, &x), &dy) in dx.iter_mut().zip(x).zip(dy) {
        let s = T::one() / (T::one() + (-x).exp());
        *dx = dy * (s + x * s * (T::one() - s));
    }
}

static SWISH: LayerKind = LayerKind {
    name: "swish",
    settings: &[],
    shared: None,
    place: Place::Stage {
        build: |settings| {
            let params =
                |_: &Params, maps: alexnet::ops::layer::Chw, images| Shape { count: maps.count() * images }.params();
            let (text, settings) = ("swish".into(), settings.clone());
            Ok(Box::new(Unary { text, settings, forward: &FORWARD, backward: &BACKWARD, params }))
        },
        epilogue: Activation::Linear,
    },
    scaling: Scaling::Other,
    onnx: |_, _| {
        Subgraph::new(Form::Any).then("Sigmoid", &[X], &["s"], Vec::new()).then("Mul", &[X, "s"], &[Y], Vec::new())
    },
    caffe: Caffe::Words(caffe_words),
    kernels: &[&FORWARD, &BACKWARD],
    examples: &["\"swish\""],
};

const MODEL: &str = r#"
about = "two towers of swish"
input = { channels = 3, size = 24, stored = 32 }
towers = 2
pool = { size = 3, stride = 2 }
layers = [
  { name = "conv1", conv = { filters = 16, size = 5, stride = 2, pad = 2 }, weights = 0.01, then = ["swish", "pool"] },
  { name = "fc2", fc = 64, sees = "both", weights = 0.05, then = ["swish"] },
  { name = "fc3", fc = 10, sees = "both", on = "a", weights = 0.1, then = ["softmax"] },
]
train = { batch = 64, epochs = 1, rate = 0.01 }
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let kinds: Vec<_> = LAYERS.iter().copied().chain([&SWISH]).collect();
    let model = Model::parse_with("swish.toml", MODEL, &kinds)?;
    let dataset = Dataset::open(None, model.input.stored())?;
    let views = Views::Centre { border2: model.input.border2() };
    let options = LoaderOptions { order: (0..64).collect(), start: 0, capacity: 64, views, threads: 1 };
    let batch = Loader::new(&dataset.train, options)?.next().ok_or("no image could be decoded")??;

    let devices = open_devices(std::env::args().nth(1).as_deref())?;
    let mut session = Session::new(Net::new(model)?, &Job::training(64), &devices, 1)?;
    session.initialise()?;
    session.set_mean(&dataset.statistics()?.mean)?;
    session.set_rates(Rates { weights: 0.002, biases: 0.004, ..Rates::default() })?;
    for step in 0..=40 {
        session.gradients(&batch, step)?;
        println!("step {step:2}: loss {:.4}", session.score()?.means().0);
        session.update()?;
    }
    Ok(())
}
