//! Weights to files of other programs and back: `export`, `import`.

use std::collections::BTreeMap;
use std::path::Path;

use alexnet::checkpoint::{Checkpoint, MEAN, State};
use alexnet::commands::convert::{Import, export, export_onnx};
use alexnet::files::write_tensors;
use alexnet::interop::{Convention, read_weights};
use alexnet::net::{Job, Model, Net, lower};
use alexnet::tensor::Tensor;

use crate::cli::{Place, contains, save_image};
use crate::tiny::TINY;

/// A built-in network with fewer filters and neurons, which changes no rule of its layout.
fn small(name: &str) -> Model {
    let mut model = Model::open(name).unwrap();
    for row in &mut model.layers {
        let outputs = row.outputs();
        row.set_outputs(if row.head.name() == "conv" { outputs / 4 } else { (outputs / 32).max(10) });
    }
    model
}

/// A checkpoint of `model` before training, with the model's mean or a mean image that counts up.
pub(crate) fn checkpoint(model: &Model) -> Checkpoint {
    let net = Net::new(model.clone()).unwrap();
    let lowered = lower(&net, &Job::evaluation(1));
    let mut tensors: BTreeMap<_, _> = lowered
        .trained
        .iter()
        .map(|trained| {
            let info = lowered.program.slot(trained.value);
            (trained.name.clone(), Tensor::new(info.shape.clone(), trained.draw(info.count(), 7)))
        })
        .collect();
    let size = model.input.stored();
    let mean = match model.input.mean {
        Some(mean) => mean.repeat(size * size),
        None => (0..3 * size * size).map(|i| i as f32).collect(),
    };
    tensors.insert(MEAN.into(), Tensor::new([size, size, 3], mean));
    let classes = (0..net.classes()).map(|class| format!("class {class}")).collect();
    let state = State { model: toml::to_string(model).unwrap(), classes, ..State::default() };
    Checkpoint { tensors, state }
}

pub(crate) fn import(file: &Path, model: Model) -> Import {
    Import {
        file: file.into(),
        model,
        classes: None,
        mean: None,
        mean_file: None,
        prototxt: None,
        missing: None,
        under: None,
        sha256: None,
    }
}

#[test]
fn export_and_import_change_no_byte() {
    let place = Place::new();
    let [first, second] = ["first", "second"].map(|name| place.path(name));
    for name in ["alexnet", "alexnet-2012", "mini", "torchvision", "bvlc-alexnet"] {
        let model = small(name);
        let ours = checkpoint(&model);
        for names in [Convention::Torchvision, Convention::Caffe, Convention::Tower] {
            export(&ours, names, &first).unwrap();
            let imported = import(&first, model.clone()).read().unwrap();
            assert_eq!((imported.drawn, imported.unused), (Vec::new(), Vec::new()));
            let theirs = imported.checkpoint;
            assert_eq!(theirs.state, ours.state, "{name}, {names:?}");
            if name != "mini" {
                // A share of one half is a factor without rounding.
                assert!(theirs.tensors == ours.tensors, "{name}, {names:?}");
            }
            export(&theirs, names, &second).unwrap();
            assert!(place.read("first") == place.read("second"), "{name}, {names:?}");
        }
    }
}

#[test]
fn groups_of_an_onnx_file_are_those_of_the_network() {
    let (place, mut model) = (Place::new(), small("bvlc-alexnet"));
    model.input.mean = Some([1.0, 2.0, 3.0]);
    let ours = checkpoint(&model);
    assert_eq!(ours.tensors["conv2.weights"].shape(), [24, 5, 5, 32]);
    export_onnx(&ours, &place.path("network.onnx")).unwrap();
    let imported = import(&place.path("network.onnx"), model).read().unwrap();
    assert!(imported.checkpoint.tensors == ours.tensors);
}

/// Weights learnt under other means and factors than the model's keep their own.
#[test]
fn colours_of_an_onnx_file_are_its_own() {
    let (place, mut model) = (Place::new(), small("torchvision"));
    (model.input.mean, model.input.scale) = (Some([1.0, 2.0, 3.0]), [0.5, 0.25, 0.125]);
    let ours = checkpoint(&model);
    export_onnx(&ours, &place.path("network.onnx")).unwrap();
    let imported = import(&place.path("network.onnx"), small("torchvision")).read().unwrap();
    assert_eq!(imported.checkpoint.state.model, ours.state.model);
    assert_eq!(imported.words.len(), 2, "{:?}", imported.words);
    contains(&imported.words.join("; "), &["means [1.0, 2.0, 3.0] as the file says", "scale [0.5, 0.25, 0.125]"]);
    let given = Import { mean: Some([4.0; 3]), ..import(&place.path("network.onnx"), small("torchvision")) };
    contains(&given.read().unwrap().checkpoint.state.model, &["mean = [4.0, 4.0, 4.0]"]);
}

#[test]
fn files_have_the_names_and_shapes_of_the_field() {
    let place = Place::new();
    let file = place.path("file");
    let shapes = |model: &str, names| {
        export(&checkpoint(&small(model)), names, &file).unwrap();
        let tensors = read_weights(&file).unwrap().tensors.into_iter();
        tensors.map(|(name, tensor)| (name, tensor.shape().to_vec())).collect::<BTreeMap<_, _>>()
    };
    let torchvision = shapes("torchvision", Convention::Torchvision);
    assert_eq!(torchvision.len(), 16, "nothing but weights, so that it loads as it is: {torchvision:?}");
    assert_eq!(torchvision["features.10.weight"], [64, 64, 3, 3]);
    assert_eq!(torchvision["classifier.1.weight"], [128, 64 * 6 * 6]);
    let grouped = shapes("alexnet", Convention::Caffe);
    assert_eq!(grouped["conv2.weight"], [64, 12, 5, 5]);
    assert_eq!(grouped["conv3.weight"], [96, 64, 3, 3]);
    assert_eq!(grouped["fc8.bias"], [31]);
    assert_eq!(grouped[MEAN], [3, 256, 256]);
    let towers = shapes("alexnet", Convention::Tower);
    assert_eq!(towers["conv2.b.weight"], [32, 12, 5, 5]);
    assert_eq!(towers["conv3.b.weight"], [48, 64, 3, 3]);
    assert_eq!(towers["fc8.a.weight"], [31, 128]);
    assert!(!towers.contains_key("fc8.b.weight"));
}

/// Loss, top-1 and top-5 error of a network file on the coloured spots.
pub(crate) fn scores(place: &Place, network: &str) -> Vec<f64> {
    let results = place.json(&["eval", network, "--data", "blobs", "--devices", "cpu", "--json"]);
    ["loss", "top1_error", "top5_error"].map(|key| results["rows"][0][key].as_f64().unwrap()).into()
}

/// Dropout of 2012 multiplies with a half in evaluation; that of others does nothing there, so that a network without
/// any stands for theirs.
#[test]
fn imported_weights_have_the_scores_of_the_exported_ones() {
    let place = Place::new();
    place.blobs();
    place.write("theirs.toml", TINY.replace(", \"dropout\"", ""));
    place.train("run", &["--data", "blobs"]);
    let best = scores(&place, "run");
    for names in ["torchvision", "caffe", "tower"] {
        place.ok(&["export", "run", "--names", names, "--out", "weights.safetensors"]);
        for model in ["tiny.toml", "theirs.toml"] {
            place.ok(&["import", "weights.safetensors", "--model", model, "--out", "imported.safetensors"]);
            assert_eq!(scores(&place, "imported.safetensors"), best, "{names}, {model}");
        }
    }
    save_image(&place.path("red.png"), 30, 20, [250, 0, 0]);
    contains(&place.ok(&["classify", "imported.safetensors", "red.png", "--devices", "cpu"]), &["%  spot "]);
}

#[test]
fn missing_tensors_are_named_or_drawn() {
    let place = Place::new();
    place.write("fixed.toml", TINY.replace("stored = 10,", "stored = 10, mean = [120.0, 110.0, 100.0],"));
    let trunk = BTreeMap::from([
        ("features.0.weight".to_owned(), Tensor::new([8, 3, 3, 3], vec![0.1; 216])),
        ("features.0.bias".to_owned(), Tensor::new([8], vec![0.0; 8])),
        ("lpips.lin0.weight".to_owned(), Tensor::new([8], vec![0.0; 8])),
    ]);
    write_tensors(&place.path("trunk.safetensors"), &trunk, None).unwrap();
    let arguments = ["import", "trunk.safetensors", "--model", "fixed.toml", "--out", "imported.safetensors"];
    let named = ["classifier.0.weight", "classifier.0.bias", "classifier.3.weight", "classifier.3.bias"];
    place.refuses(&arguments, &[&["trunk.safetensors"], &named[..], &["this network needs"]].concat());
    assert!(!place.path("imported.safetensors").exists());
    let drawn = |seed: &str| {
        let output = place.ok(&[&arguments[..], &["--missing", "random", "--seed", seed]].concat());
        contains(&output, &[&["not of this network, so left out: lpips.lin0.weight"], &named[..]].concat());
        Checkpoint::read(&place.path("imported.safetensors")).unwrap()
    };
    let (first, other) = (drawn("1"), drawn("2"));
    assert_eq!(first.tensors["conv1.b.weights"], other.tensors["conv1.b.weights"]);
    assert_ne!(first.tensors["fc2.b.weights.a"], other.tensors["fc2.b.weights.a"]);
    assert_eq!(first, drawn("1"));
    assert_eq!(first.tensors[MEAN].values()[..3], [120.0, 110.0, 100.0], "the model's own preprocessing");
    assert_eq!(first.state.classes[9], "9");
    let classes: Vec<_> = (0..10).map(|class| format!("kind {class}\n")).collect();
    place.write("classes.txt", classes.concat());
    place.ok(&[&arguments[..], &["--missing", "random", "--classes", "classes.txt"]].concat());
    assert_eq!(Checkpoint::read(&place.path("imported.safetensors")).unwrap().state.classes[9], "kind 9");
    place.write("classes.txt", "cat\ndog\n");
    place.ok(&[&arguments[..], &["--missing", "random", "--classes", "classes.txt"]].concat());
    let two = Checkpoint::read(&place.path("imported.safetensors")).unwrap();
    assert_eq!(two.tensors["fc3.a.bias"].shape(), [2], "outputs that are drawn are as many as the classes");
}

#[test]
fn files_that_do_not_fit_are_refused() {
    let place = Place::new();
    let whole = || {
        export(&checkpoint(&Model::parse("tiny", TINY).unwrap()), Convention::Caffe, &place.path("w.safetensors"))
            .unwrap();
        read_weights(&place.path("w.safetensors")).unwrap().tensors
    };
    let arguments = ["import", "w.safetensors", "--model", "tiny.toml", "--out", "imported.safetensors"];
    let refuses = |change: &dyn Fn(&mut BTreeMap<String, Tensor>), more: &[&str], parts: &[&str]| {
        let mut tensors = whole();
        change(&mut tensors);
        write_tensors(&place.path("w.safetensors"), &tensors, None).unwrap();
        place.refuses(&[&arguments[..], more].concat(), parts);
        assert!(!place.path("imported.safetensors").exists());
    };
    let insert = |name: &'static str, shape: &'static [usize]| {
        move |tensors: &mut BTreeMap<String, Tensor>| {
            tensors.insert(name.into(), Tensor::new(shape, vec![0.0; shape.iter().product()]));
        }
    };
    refuses(&insert("fc2.weight", &[128, 16]), &[], &["w.safetensors", "fc2.weight", "[128, 16]", "[16, 128]"]);
    refuses(&insert("mean", &[10, 10, 3]), &[], &["w.safetensors", "mean", "[10, 10, 3]", "[3, 10, 10]"]);
    let without_mean = |tensors: &mut BTreeMap<String, Tensor>| drop(tensors.remove(MEAN));
    refuses(&without_mean, &[], &["w.safetensors", "no mean image", "--mean R,G,B"]);
    refuses(&|tensors| tensors.retain(|name, _| name == MEAN), &[], &["no tensor of this network", "conv1.a.weight"]);
    place.write("classes.txt", "only\ntwo\n");
    refuses(&|_| (), &["--classes", "classes.txt"], &["2 class names for 10 outputs"]);
    // The mean can be said instead.
    let mut tensors = whole();
    without_mean(&mut tensors);
    write_tensors(&place.path("w.safetensors"), &tensors, None).unwrap();
    place.ok(&[&arguments[..], &["--mean", "1,2,3"]].concat());
    let imported = Checkpoint::read(&place.path("imported.safetensors")).unwrap();
    assert_eq!(imported.tensors[MEAN].values()[3..6], [1.0, 2.0, 3.0]);
    // A checkpoint is no such file, and says it.
    place.refuses(&["import", "imported.safetensors", "--model", "tiny.toml", "--out", "x"], &["imported.safetensors"]);
    place.refuses(&["export", "w.safetensors", "--out", "x"], &["w.safetensors", "not a checkpoint of this program"]);
}
