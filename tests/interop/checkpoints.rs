//! Checkpoints as people save them, from `tests/fixtures/weights`; `tests/pth_kinds.py` writes those in `kinds`.

use std::path::PathBuf;

use alexnet::commands::convert::{Import, Imported};
use alexnet::files::{Elements, serialize};
use alexnet::net::Model;

use crate::cli::{Place, contains};
use crate::weights;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

fn import(name: &str) -> Result<Imported, String> {
    import_under(name, None)
}

fn import_under(name: &str, under: Option<&str>) -> Result<Imported, String> {
    let model = Model::open(fixture("tiny.toml").to_str().unwrap()).unwrap();
    let import = Import { under: under.map(str::to_owned), ..weights::import(&fixture(name), model) };
    import.read().map_err(|error| error.to_string())
}

#[test]
fn every_kind_of_checkpoint_has_the_weights_of_the_plain_one() {
    let plain = import("kinds/plain.pth").unwrap();
    assert!(plain.words.is_empty() && plain.unused.is_empty());
    let mut kinds: Vec<_> =
        std::fs::read_dir(fixture("kinds")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    kinds.sort();
    assert_eq!(kinds.len(), 31);
    for kind in kinds {
        let kind = format!("kinds/{}", kind.to_str().unwrap());
        match import(&kind) {
            Ok(imported) => assert!(imported.checkpoint == plain.checkpoint && !kind.contains("refused"), "{kind}"),
            Err(reason) if kind.contains("whole") => contains(&reason, &["class mynet.Net"]),
            Err(reason) => assert!(kind.contains("refused"), "{kind}: {reason}"),
        }
    }
    for whole in ["kinds/refused-whole-in-dict.pth", "kinds/refused-whole-beside-optimizer.pth"] {
        let load = "torch.save(torch.load(FILE, weights_only=False)[\"model\"].state_dict(), \"weights.pth\")";
        contains(&import(whole).unwrap_err(), &[load]);
    }
    let reason = |name: &str| import(name).unwrap_err();
    contains(&reason("kinds/refused-weight-norm.pth"), &["features.0.weight_g", "remove_weight_norm(layer)"]);
    contains(&reason("kinds/refused-pruned.pth"), &["features.0.weight_orig", "prune.remove(layer"]);
    contains(&reason("kinds/refused-sparse.pth"), &["classifier.0.weight", "_rebuild_sparse_tensor", ".to_dense()"]);
}

#[test]
fn what_was_found_where_and_what_was_left_out_is_said() {
    let said = |name: &str| {
        let imported = import(name).unwrap();
        format!("{:?} {:?}", imported.words, imported.unused)
    };
    contains(
        &said("kinds/features-parallel.pth"),
        &["features.0.weight is state_dict.features.module.0.weight in the file", "optimizer.state.0.momentum_buffer"],
    );
    contains(&said("kinds/counters.pth"), &["features.1.num_batches_tracked", "features.1.running_mean"]);
    contains(
        &said("kinds/ema.pth"),
        &["is model.classifier.0.weight", "not those under ema.", "args (argparse.Namespace)"],
    );
    contains(&said("kinds/other-names.pth"), &["by order and shape: conv1 is params.stem.conv, fc2 is params.head"]);
}

/// Averages of the weights are not taken, but can be.
#[test]
fn one_of_several_sets_of_weights_is_chosen() {
    let file = "kinds/state-dict-ema.pth";
    let usual = import(file).unwrap();
    contains(
        &usual.words.join("; "),
        &["is state_dict.classifier.0.weight", "not those under state_dict_ema. (import --under"],
    );
    let averaged = import_under(file, Some("state_dict_ema")).unwrap();
    assert!(averaged.checkpoint.tensors["conv1.bias"].values() == [9.0; 4]);
    contains(&averaged.unused.join(" "), &["state_dict.features.0.weight"]);
    contains(&import_under(file, Some("teacher")).unwrap_err(), &["under teacher", "state_dict., state_dict_ema."]);
}

#[test]
fn checkpoints_that_were_refused_are_imported() {
    let plain = import("plain.pth").unwrap().checkpoint;
    for (name, word) in [
        ("dataparallel.pth", "module."),
        ("imagenet-example.pth.tar", "features.module.0.weight"),
        ("extra-int64.safetensors", "bn.num_batches_tracked"),
        ("metadata-classes.safetensors", "metadata classes"),
    ] {
        let imported = import(name).unwrap();
        assert!(imported.checkpoint == plain, "{name}");
        contains(&format!("{:?} {:?}", imported.words, imported.unused), &[word]);
    }
    // Views whose numbers stand for their negatives.
    let bias = import("neg-view.pth").unwrap().checkpoint.tensors["conv1.bias"].clone();
    let expected = [0.1739, 0.0507, -0.0620, -0.1115];
    assert!(bias.values().iter().zip(expected).all(|(value, expected): (&f32, f32)| (value - expected).abs() < 1e-4));
}

#[test]
fn formats_that_are_not_read_are_named() {
    let place = Place::new();
    for (bytes, word) in [
        (&b"\x89HDF\r\n\x1a\n"[..], "HDF5"),
        (b"\x80\x04\x95\x05\x00\x00\x00\x00\x00\x00\x00}\x94.", "a pickle of Python's own"),
        (b"\x1f\x8b\x08", "gzip"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"<!DOCTYPE html>\n", "a web page"),
    ] {
        for name in ["x.caffemodel", "x.pth", "x.onnx"] {
            place.write(name, bytes);
            place.refuses(&["import", name, "--model", "mini", "--out", "y"], &[name, word]);
        }
    }
}

/// Caffe rounds extents of convolutions down; a model that rounds up is refused, one that rounds down computes as it
/// does.
#[test]
fn a_convolution_of_caffe_rounds_down() {
    let place = Place::new();
    for name in ["caffe-conv-floor.caffemodel", "caffe-no-floor.toml", "caffe-floor.toml", "caffe-image.png"] {
        place.write(name, std::fs::read(fixture(name)).unwrap());
    }
    let weights = ["caffe-conv-floor.caffemodel", "--mean", "100,110,120", "--model"];
    place.refuses(
        &[&["import"][..], &weights[..], &["caffe-no-floor.toml", "--out", "x"]].concat(),
        &["16×14×14", "16×15×15", "rounding", "floor = true"],
    );
    place.ok(&[&["import"][..], &weights[..], &["caffe-floor.toml", "--out", "x.safetensors"]].concat());
    let imported = place.ok(&["classify", "x.safetensors", "caffe-image.png", "--devices", "cpu"]);
    contains(&imported, &["41.6 %  4", "21.1 %  0"]);
    // The same in one step.
    let classify =
        [&["classify"][..], &weights[..], &["caffe-floor.toml", "caffe-image.png", "--devices", "cpu"]].concat();
    assert_eq!(place.ok(&classify), imported);
    let without_model = ["classify", weights[0], "caffe-image.png", "--devices", "cpu"];
    place.refuses(&without_model, &["caffe-conv-floor.caffemodel", "--model"]);
}

/// `eval`, `classify` and `step` read weights without a checkpoint between.
#[test]
fn weights_are_used_where_they_lie() {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs"]);
    place.ok(&["export", "run", "--names", "caffe", "--out", "weights.safetensors"]);
    let eval = |more: &[&str]| {
        let scores = place.json(&[&["eval"][..], more, &["--data", "blobs", "--devices", "cpu", "--json"]].concat());
        scores["rows"][0]["loss"].as_f64().unwrap()
    };
    assert_eq!(eval(&["weights.safetensors", "--model", "tiny.toml"]), eval(&["run"]));
    let images: Vec<f32> = (0..4 * 3 * 8 * 8).map(|at| (at % 17) as f32).collect();
    let batch =
        [("images", &[4, 3, 8, 8][..], Elements::F32(&images)), ("labels", &[4][..], Elements::U32(&[1, 2, 3, 4]))];
    place.write("batch.safetensors", serialize(batch, None).unwrap());
    let step = |weights: &str, out: &str| {
        let files = ["--weights", weights, "--batch", "batch.safetensors", "--devices", "cpu", "--out", out];
        place.ok(&[&["step", "--model", "tiny.toml"][..], &files[..]].concat());
        place.read(out)
    };
    assert!(step("weights.safetensors", "theirs") == step("run", "ours"));
}

#[test]
fn a_sum_tells_files_apart() {
    let place = Place::new();
    place.write("plain.pth", std::fs::read(fixture("plain.pth")).unwrap());
    place.write("tiny-8.toml", std::fs::read(fixture("tiny.toml")).unwrap());
    let sum = alexnet::files::sha256(&fixture("plain.pth")).unwrap();
    let import = ["import", "plain.pth", "--model", "tiny-8.toml", "--out", "x", "--sha256"];
    place.refuses(&[&import[..], &["00000000"]].concat(), &["plain.pth", &sum, "expected 00000000"]);
    place.refuses(&[&import[..], &[&sum[..7]]].concat(), &["plain.pth", &sum]);
    place.ok(&[&import[..], &[&sum[..8]]].concat());
}
