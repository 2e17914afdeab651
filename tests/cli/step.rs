//! `alexnet step` against the same steps of a session on stored images, and what it refuses.

use std::collections::BTreeMap;

use alexnet::backend::{Engine, Placement};
use alexnet::commands::convert::CheckpointWeights;
use alexnet::data::{Batch, View};
use alexnet::files::write_tensors;
use alexnet::interop::{Convention, Naming, Quantity, file_tensors, read_weights};
use alexnet::net::{Job, Model, Net};
use alexnet::session::{Rates, Session};
use alexnet::tensor::Tensor;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::cli::{Place, refused};
use crate::devices;
use crate::tiny::TINY;

/// Not a multiple of 8.
const IMAGES: usize = 13;
const STEPS: u64 = 3;
const RATES: [&str; 6] = ["--lr", "0.02", "--momentum", "0.8", "--decay", "0.001"];

/// Tensors by name: type, shape, bytes.
type File = BTreeMap<&'static str, (Dtype, Vec<usize>, Vec<u8>)>;

fn write(place: &Place, name: &str, file: &File) {
    let views = file
        .iter()
        .map(|(name, (dtype, shape, bytes))| (*name, TensorView::new(*dtype, shape.clone(), bytes).unwrap()));
    place.write(name, safetensors::serialize(views, None).unwrap());
}

fn label(image: usize) -> u32 {
    (image * 7 % 10) as u32
}

fn byte(image: usize, at: usize) -> u8 {
    ((image * 31 + at * 17) % 251) as u8
}

/// Images as the tiny network stores them: 10 x 10 pixels, of which it sees the middle.
fn stored() -> Batch {
    Batch {
        images: (0..IMAGES).flat_map(|n| (0..300).map(move |at| byte(n, at))).collect(),
        labels: (0..IMAGES).map(label).collect(),
        views: vec![View { y: 1, x: 1, ..View::default() }; IMAGES],
        indices: (0..IMAGES as u32).collect(),
        count: IMAGES,
        skipped: Vec::new(),
        next: IMAGES,
    }
}

/// The same as it sees them, less no mean.
fn floats() -> File {
    let pixel = |n: usize, c: usize, y: usize, x: usize| f32::from(byte(n, ((1 + y) * 10 + 1 + x) * 3 + c)) / 64.0;
    let image = |n| (0..192).map(move |i| pixel(n, i / 64, i / 8 % 8, i % 8));
    let images: Vec<u8> = (0..IMAGES).flat_map(image).flat_map(f32::to_le_bytes).collect();
    let labels = (0..IMAGES).flat_map(|n| i64::from(label(n)).to_le_bytes()).collect();
    [("images", (Dtype::F32, vec![IMAGES, 3, 8, 8], images)), ("labels", (Dtype::I64, vec![IMAGES], labels))].into()
}

fn model(dropout: bool) -> Model {
    let text = if dropout { TINY.to_owned() } else { TINY.replace(", \"dropout\"", "") };
    let mut model = Model::parse("tiny", &text).unwrap();
    model.train.decay = 0.001;
    model
}

/// Losses, gradients of the first step, and what is there after the last.
struct Steps {
    losses: Vec<f32>,
    gradients: BTreeMap<String, Tensor>,
    last: BTreeMap<String, Tensor>,
}

/// Steps of a session from the weights of a file.
fn steps(model: &Model, devices: &str, weights: &BTreeMap<String, Tensor>) -> Steps {
    let placement = devices::open(devices);
    let net = Net::new(model.clone()).unwrap();
    let weights = CheckpointWeights::of(&net, weights, None).unwrap();
    let mut session = Session::new(net, &Job::training(IMAGES), &placement, 5).unwrap();
    session.load(&weights.tensors).unwrap();
    session.set_mean(&[0.0; 300]).unwrap();
    session
        .set_rates(Rates { weights: 0.02, biases: 0.02, hyper: [("momentum", 0.8)].into(), layers: BTreeMap::new() })
        .unwrap();
    let (mut losses, mut gradients) = (Vec::new(), BTreeMap::new());
    for step in 0..STEPS {
        session.gradients(&stored(), step).unwrap();
        losses.push(session.score().unwrap().means().0 as f32);
        if step == 0 {
            gradients = session.gradient_tensors().unwrap();
        }
        session.update().unwrap();
    }
    Steps { losses, gradients, last: session.tensors().unwrap() }
}

/// Writes the files of a step: weights as they are drawn, and images.
fn prepare(place: &Place, model: &Model, names: Convention) {
    let net = Net::new(model.clone()).unwrap();
    let mut session = Session::new(net, &Job::evaluation(8), &Placement::from(Engine::Cpu), 3).unwrap();
    session.initialise().unwrap();
    let tensors = session.tensors().unwrap();
    let naming = Naming::new(model, names);
    let whole = |whole: alexnet::interop::FileTensor| {
        let tensor = whole.join(|name| tensors.get(name), Quantity::Weights).unwrap();
        (whole.name, tensor)
    };
    let weights = file_tensors(session.net(), &naming).unwrap().into_iter().map(whole).collect();
    write_tensors(&place.path("weights.safetensors"), &weights, None).unwrap();
    write(place, "batch.safetensors", &floats());
}

const FILES: [&str; 7] =
    ["step", "--model", "tiny.toml", "--weights", "weights.safetensors", "--batch", "batch.safetensors"];

/// The input kernel makes the very floats of these bytes, so that there is nothing to tolerate.
#[track_caller]
fn same_as_a_session(devices: &str, names: Convention, dropout: bool, more: &[&str]) {
    let place = Place::new();
    let model = model(dropout);
    prepare(&place, &model, names);
    let given = read_weights(&place.path("weights.safetensors")).unwrap().tensors;
    let Steps { losses, gradients, last } = steps(&model, devices, &given);
    let rest = ["--devices", devices, "--steps", "3", "--seed", "5", "--no-tune", "--out", "out.safetensors", "--json"];
    let printed = place.json(&[&FILES[..], &RATES, &rest, more].concat());
    let out = read_weights(&place.path("out.safetensors")).unwrap().tensors;
    assert_eq!(out["loss"].values(), losses, "{devices}");
    assert!(losses[2] < losses[0], "it learns: {losses:?}");
    assert_eq!(printed["losses"][2].as_f64().unwrap() as f32, losses[2]);
    assert_eq!(out["logits"].shape(), [IMAGES, 10]);
    assert_eq!(out.len(), 2 + 3 * given.len(), "{:?}", out.keys());
    for whole in file_tensors(&Net::new(model.clone()).unwrap(), &Naming::new(&model, names)).unwrap() {
        let find = |prefix: &str| &out[&format!("{prefix}{}", whole.name)];
        let name = &whole.name;
        let gradient = whole.join(|part| gradients.get(part), Quantity::Gradients).unwrap();
        assert!(*find("grad.") == gradient, "{devices}: gradient of {name}");
        assert!(gradient.values().iter().any(|&value| value != 0.0), "{name}");
        let weights = whole.join(|part| last.get(part), Quantity::Weights).unwrap();
        assert!(*find("") == weights && weights != given[name], "{devices}: {name}");
        let momentum = whole.join(|part| last.get(&format!("{part}.momentum")), Quantity::Weights).unwrap();
        assert!(*find("momentum.") == momentum, "{devices}: momentum of {name}");
    }
}

#[test]
fn steps_are_those_of_a_session() {
    for names in [Convention::Torchvision, Convention::Caffe, Convention::Tower] {
        same_as_a_session("cpu", names, false, &["--no-dropout"]);
    }
    same_as_a_session("cpu,cpu", Convention::Caffe, true, &[]);
}

#[test]
fn steps_are_those_of_a_session_on_an_adapter() {
    if let Some(spec) = devices::spec("gpu") {
        same_as_a_session(&spec, Convention::Caffe, false, &["--no-dropout"]);
    }
}

/// Logits are what losses are of.
#[test]
fn logits_are_those_of_the_first_step() {
    let place = Place::new();
    prepare(&place, &model(false), Convention::Tower);
    place.ok(&[&FILES[..], &["--devices", "cpu", "--no-dropout", "--micro-batch", "8", "--out", "out"]].concat());
    let out = read_weights(&place.path("out")).unwrap().tensors;
    let loss = |(n, scores): (usize, &[f32])| {
        let sum: f64 = scores.iter().map(|&score| f64::from(score).exp()).sum();
        sum.ln() - f64::from(scores[label(n) as usize])
    };
    let mean = out["logits"].values().chunks(10).enumerate().map(loss).sum::<f64>() / IMAGES as f64;
    let reported = f64::from(out["loss"].values()[0]);
    assert!((mean - reported).abs() < 1e-5, "{mean} and {reported}: sums of 10 and 13 floats of about 2");
}

#[test]
fn what_does_not_fit_is_refused() {
    let place = Place::new();
    prepare(&place, &model(false), Convention::Caffe);
    let arguments = [&FILES[..], &["--devices", "cpu", "--out", "out"]].concat();
    let refuses = |change: &dyn Fn(&mut File), parts: &[&str]| {
        let mut file = floats();
        change(&mut file);
        write(&place, "batch.safetensors", &file);
        place.refuses(&arguments, &[&["batch.safetensors"], parts].concat());
        assert!(!place.path("out").exists());
    };
    refuses(&|file| drop(file.remove("labels")), &["no tensor labels"]);
    refuses(&|file| drop(file.remove("images")), &["no tensor images"]);
    refuses(&|file| file.get_mut("images").unwrap().1 = vec![IMAGES, 8, 8, 3], &["[13, 8, 8, 3]", "[N, 3, 8, 8]"]);
    refuses(&|file| file.get_mut("images").unwrap().0 = Dtype::I32, &["images holds I32"]);
    refuses(&|file| file.get_mut("labels").unwrap().0 = Dtype::F64, &["labels holds F64", "I64"]);
    refuses(&|file| file.get_mut("labels").unwrap().1 = vec![1, IMAGES], &["labels has shape [1, 13]", "[13]"]);
    for wrong in [10_i64, -1, i64::MAX] {
        let change = |file: &mut File| file.get_mut("labels").unwrap().2[16..24].copy_from_slice(&wrong.to_le_bytes());
        refuses(&change, &["image 2 has label", &wrong.to_string(), "0 to 9"]);
    }
    let none = |file: &mut File| {
        *file.get_mut("images").unwrap() = (Dtype::F32, vec![0, 3, 8, 8], Vec::new());
        *file.get_mut("labels").unwrap() = (Dtype::I64, vec![0], Vec::new());
    };
    refuses(&none, &["1 to", "images, not 0"]);
    write(&place, "batch.safetensors", &floats());
    let bytes = place.read("batch.safetensors");
    place.write("batch.safetensors", &bytes[..bytes.len() - 1]);
    place.refuses(&arguments, &["batch.safetensors", "truncated"]);
    write(&place, "batch.safetensors", &floats());
    let mut weights = read_weights(&place.path("weights.safetensors")).unwrap().tensors;
    weights.remove("fc2.weight");
    write_tensors(&place.path("weights.safetensors"), &weights, None).unwrap();
    place.refuses(&arguments, &["weights.safetensors", "no tensor fc2.weight"]);
    for wrong in ["--lr=-1", "--momentum=1.5", "--decay=nan"] {
        let output = place.command(&[&arguments[..], &[wrong]].concat()).output().unwrap();
        refused(&output, 2, &[wrong.split('=').next().unwrap(), "expected a number"]);
    }
}

#[test]
fn a_loss_that_is_not_finite_is_no_result() {
    let place = Place::new();
    prepare(&place, &model(false), Convention::Caffe);
    let rest = ["--devices", "cpu", "--out", "out", "--lr", "1e30", "--steps", "3"];
    place.refuses(&[&FILES[..], &rest].concat(), &["loss of step", "not finite"]);
    assert!(!place.path("out").exists());
}
