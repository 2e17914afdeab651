//! Files as other programs write them, in `tests/fixtures/onnx`, against what onnxruntime made of the same inputs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use alexnet::backend::Engine;
use alexnet::graph::Given;
use alexnet::interop::npy::Array;
use alexnet::interop::{read_array, read_graph};
use alexnet::session::GraphSession;
use alexnet::tensor::Tensor;

use crate::cli::Place;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/onnx").join(name)
}

fn floats(path: &Path) -> Tensor {
    let Ok(Array::Floats(tensor)) = read_array(path) else { panic!("{}: no floats", path.display()) };
    tensor
}

/// Devices by the names that the command line has for them: the CPU engine, and an adapter if there is one.
fn devices() -> Vec<&'static str> {
    if crate::devices::gpus().is_empty() { vec!["cpu"] } else { vec!["cpu", "0"] }
}

/// Checks that `alexnet run` gives what onnxruntime did.
#[track_caller]
fn runs(model: &str, x: &str, want: &str) {
    let want = floats(&fixture(want));
    let graph = read_graph(&fixture(model)).unwrap();
    let input = format!("{}={}", graph.name(graph.inputs[0].value), fixture(x).display());
    for device in devices() {
        let place = Place::new();
        let model = fixture(model).display().to_string();
        place.ok(&["run", &model, "--input", &input, "--output-dir", "out", "--devices", device]);
        let name = place.list("out").remove(0);
        let got = floats(&place.path(&format!("out/{name}")));
        assert_eq!(got.shape(), want.shape(), "{model}");
        for (got, want) in got.values().iter().zip(want.values()) {
            assert!(
                got == want || (got - want).abs() <= 1e-5 * want.abs().max(1.0),
                "{model}: {got}, not {want}, on {device}"
            );
        }
    }
}

#[test]
fn a_score_of_minus_infinity() {
    runs("softmax.onnx", "softmax-x.npy", "softmax-want.npy");
}

#[test]
fn versions_of_today() {
    runs("relu-opset24.onnx", "softmax-x.npy", "relu-opset24-want.npy");
}

#[test]
fn constants_in_another_file() {
    runs("torch-default-external-data.onnx", "x32.npy", "torch-default-external-data-want.npy");
}

#[test]
fn views_by_a_batch_of_any_size() {
    runs("torch-view-dynamic-batch-script17.onnx", "x32.npy", "torch-view-dynamic-batch-script17-want.npy");
}

#[test]
fn local_response_normalisation_of_pytorch() {
    runs("torch-lrn-script17.onnx", "x32.npy", "torch-lrn-script17-want.npy");
}

/// Some bytes that ask for more memory or time than there is are refused before anything runs, with the node.
#[test]
fn small_files_that_ask_for_much() {
    let refused = |model: &str, dims: &[usize]| {
        let graph = read_graph(&fixture(model)).unwrap();
        let given = BTreeMap::from([("x".to_owned(), Given::Floats(dims.to_vec()))]);
        GraphSession::new(&graph, &given, &Engine::Cpu.into()).err().map_or_else(String::new, |error| error.to_string())
    };
    let pool = refused("maxpool-3001-never-ends.onnx", &[2, 3, 8, 8]);
    assert!(pool.contains("operations of it in node y,") && pool.contains("smaller windows"), "{pool}");
    let doubled = refused("doublings.onnx", &[1, 1, 4, 2]);
    assert!(doubled.contains("node c26 (Concat)") && doubled.contains("too large with 4096 MiB"), "{doubled}");
}

/// A photo for a network of images of 4096 pixels is classified within the plan's memory, or refused where that is not
/// there.
#[cfg(target_os = "linux")]
#[test]
fn an_image_that_needs_more_memory_than_there_is() {
    let place = Place::new();
    let [model, image] =
        ["images-of-4096-pixels.onnx", "caffe-image.png"].map(|name| fixture(name).display().to_string());
    let arguments = ["classify", &model, &image, "--devices", "cpu", "--mean", "0,0,0", "--scale", ".05,.05,.05"];
    let output = place.within("ulimit -v 1500000", &arguments);
    crate::cli::refused(
        &output,
        1,
        &["images-of-4096-pixels.onnx", "node q has 1536.0 MiB, needs 1920.0 MiB", "fewer images at once"],
    );
}

/// What has no end is not read.
#[cfg(unix)]
#[test]
fn devices_are_no_files() {
    let place = Place::new();
    let model = fixture("softmax.onnx").display().to_string();
    for arguments in [
        &["run", &model, "--input", "x=/dev/zero", "--output-dir", "out"][..],
        &["run", "/dev/zero", "--input", "x=/dev/zero", "--output-dir", "out"],
        &["import", "/dev/zero", "--model", "tiny.toml", "--out", "x.safetensors"],
    ] {
        place.refuses(arguments, &["/dev/zero: cannot be read", "a pipe or a device, expected a file"]);
    }
}

/// A copy of the network with external data in a folder, its files' content replaced.
fn external(location: &str, data: &[u8]) -> (Place, String) {
    let place = Place::new();
    let mut model = std::fs::read(fixture("torch-default-external-data.onnx")).unwrap();
    let name = b"torch-default-external-data.onnx.data";
    assert_eq!(location.len(), name.len());
    for at in 0..model.len() - name.len() {
        if model[at..].starts_with(name) {
            model[at..][..name.len()].copy_from_slice(location.as_bytes());
        }
    }
    place.write("in/net.onnx", model);
    place.write("torch-default-external-dataaaaaa.data", data);
    place.write("in/torch-default-external-dataaaaaa.data", data);
    let error = read_graph(&place.path("in/net.onnx")).err().map_or_else(String::new, |error| error.to_string());
    (place, error)
}

#[test]
fn external_data_stays_in_its_folder() {
    let data = std::fs::read(fixture("torch-default-external-data.onnx.data")).unwrap();
    let name = "torch-default-external-dataaaaaa.data";
    assert_eq!(external(name, &data).1, "");
    let cut = external(name, &data[..4000]).1;
    for part in ["initializer c.weight", name, "11520 bytes", "from 3552 on", "4000 in all"] {
        assert!(cut.contains(part), "{cut}");
    }
    for path in ["../orch-default-external-dataaaa.data", "/etc//////////////////////////////pas"] {
        let out = external(path, &data).1;
        assert!(out.contains("initializer f.0.weight") && out.contains("in the folder of the graph"), "{out}");
    }
    let gone = external("torch-default-external-datbbbbbb.data", &data).1;
    assert!(gone.contains("No such file") && gone.contains("datbbbbbb"), "{gone}");
    #[cfg(unix)]
    {
        let (place, _) = external(name, &data);
        std::fs::remove_file(place.path("in").join(name)).unwrap();
        std::os::unix::fs::symlink(place.path(name), place.path("in").join(name)).unwrap();
        let linked = read_graph(&place.path("in/net.onnx")).unwrap_err().to_string();
        assert!(linked.contains("link leads out"), "{linked}");
    }
}

/// Probabilities by a softmax in the network are not put through another, whatever stands behind it.
#[test]
fn probabilities_are_those_of_the_network() {
    let image = fixture("caffe-image.png").display().to_string();
    let classify = |model: &str| {
        let model = fixture(model).display().to_string();
        let options = ["--mean", "0,0,0", "--scale", ".05,.05,.05", "--devices", "cpu", "--json"];
        Place::new().json(&[&["classify", &model, &image], &options[..]].concat())[0]["labels"].clone()
    };
    let last = classify("classify-softmax-last.onnx");
    assert!((last[0][1].as_f64().unwrap() - 0.654).abs() < 1e-3, "{last}");
    assert_eq!(classify("classify-softmax-then-dropout.onnx"), last);
}

#[test]
fn a_network_that_gives_nan_is_refused_everywhere() {
    let place = Place::new();
    let (checkpoint, image) = (fixture("checkpoint-nan-weights.safetensors"), fixture("caffe-image.png"));
    let (checkpoint, image) = (checkpoint.display().to_string(), image.display().to_string());
    for arguments in [
        &["classify", &checkpoint, &image, "--devices", "cpu"][..],
        &["eval", &checkpoint, "--devices", "cpu"],
        &["eval", &checkpoint, &checkpoint, "--search", "--devices", "cpu"],
        &["export", &checkpoint, "--out", "x.safetensors"],
        &["export", &checkpoint, "--format", "onnx", "--out", "x.onnx"],
    ] {
        place.refuses(arguments, &["checkpoint-nan-weights.safetensors", "tensor ", "NaN", "not a finite number"]);
    }
    // Weights in an ONNX file, which may have infinities that mean something, show in what they make of an image.
    let mut model = std::fs::read(fixture("classify-softmax-last.onnx")).unwrap();
    let middle = model.len() / 2 / 4 * 4;
    model[middle..middle + 8].fill(0xff);
    place.write("nan.onnx", model);
    let options = ["--mean", "0,0,0", "--scale", ".05,.05,.05", "--devices", "cpu"];
    place.refuses(&[&["classify", "nan.onnx", &image], &options[..]].concat(), &["caffe-image.png", "NaN", "class 0"]);
    for (option, value) in [("--mean", "nan,0,0"), ("--scale", "1,inf,1")] {
        let output = place.command(&["classify", "nan.onnx", &image, option, value]).output().unwrap();
        assert!(output.status.code() == Some(2), "{output:?}");
    }
    assert!(!place.path("x.onnx").exists() && !place.path("x.safetensors").exists());
}
