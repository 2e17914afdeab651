//! Bad input: each is refused with a message that names it and says what to do, exit code 1 (2 for wrong usage), no
//! panic, and nothing half-written.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use alexnet::backend::Engine;
use alexnet::checkpoint::{Checkpoint, MEAN};
use alexnet::tensor::Tensor;

use crate::cli::{BLOB_STEPS, Place, contains, refused, save_image, tiny};
use crate::devices;
use crate::tiny::TINY;

/// A place with a folder of blobs.
fn place() -> Place {
    let place = Place::new();
    place.blobs();
    place
}

/// Checks that training is refused, with what it says, and leaves no run behind.
#[track_caller]
fn no_run(place: &Place, more: &[&str], parts: &[&str]) {
    let output = place.command(&tiny("run", "cpu", more)).output().unwrap();
    refused(&output, 1, parts);
    let left = if place.path("run").exists() { place.list("run") } else { Vec::new() };
    assert!(left.is_empty(), "left behind: {left:?}");
}

/// Checks that `train --model FILE` is refused when `from` in the tiny network becomes `to`.
#[track_caller]
fn no_model(from: &str, to: &str, parts: &[&str]) {
    let place = Place::new();
    assert!(TINY.contains(from));
    place.write("bad.toml", TINY.replacen(from, to, 1));
    place.refuses(&["train", "--model", "bad.toml", "--devices", "cpu", "--out", "run"], parts);
    place.refuses(&["describe", "bad.toml"], parts);
    assert!(!place.path("run").exists());
}

/// Each file has one number that no training can have; all commands that read it name its key and line.
#[test]
fn a_number_out_of_range_in_a_model_file_is_named_by_key_and_line() {
    for (file, wanted) in [
        ("all4.toml", "line 4"),
        ("colour.toml", "line 4: train.augment.colour = 11: a deviation of 0 to 10"),
        ("mom.toml", "line 4: train.decay = -3: expected a number of 0 or more"),
        ("nan.toml", "line 2: input.scale = NaN: expected three finite numbers"),
        ("nanmom.toml", "line 4: train.momentum = NaN: expected a number from 0 to 1"),
        ("rates.toml", "line 4: train.rate = -0.01: expected a number of 0 or more"),
    ] {
        let place = Place::new();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/models").join(file);
        place.write(file, fs::read_to_string(path).unwrap());
        place.refuses(&["train", "--model", file, "--devices", "cpu", "--out", "run"], &[file, wanted]);
        place.refuses(&["describe", file], &[file, wanted]);
        assert!(!place.path("run").exists());
    }
}

#[test]
fn an_unknown_model_is_named_with_those_there_are() {
    let place = Place::new();
    let train = ["train", "--model", "vgg", "--devices", "cpu", "--out", "run"];
    place.refuses(&train, &["no model vgg", "mini", "alexnet-2012", "cifar-quick"]);
    assert!(!place.path("run").exists());
}

#[test]
fn an_unknown_stage_is_named_with_its_line() {
    no_model(r#""relu", "pool""#, r#""relu", "pol""#, &["bad.toml", "line 7", "`pol`", "average_pool"]);
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    no_model("fc = 16,", "fc = 16, wieghts = 1,", &["bad.toml", "line 8", "`wieghts`", "`weights`"]);
    no_model("{ mirror = true", "{ miror = true", &["bad.toml", "line 16", "`miror`", "`mirror`"]);
}

#[test]
fn a_window_larger_than_its_map_is_named_with_its_layer() {
    no_model("size = 3, pad = 1", "size = 11, pad = 1", &["conv1", "window of 11", "map of 8"]);
    no_model("pool = { size = 3", "pool = { size = 9", &["conv1.pool", "window of 9", "8×8"]);
}

/// Six classes of plain images, and four broken ones in the first.
fn broken_images() -> (Place, [&'static str; 4]) {
    let place = Place::new();
    for class in 0..6_u8 {
        for split in ["train", "val"] {
            for number in 0..3 {
                let path = place.path(&format!("images/{split}/c{class}/{number}.png"));
                save_image(&path, 12, 12, [40 * class, 200, 255 - 40 * class]);
            }
        }
    }
    save_image(&place.path("whole.jpg"), 40, 40, [1, 2, 3]);
    let jpeg = place.read("whole.jpg");
    let names = ["cut.jpg", "empty.png", "text.png", "thin.png"].map(|name| match name {
        "cut.jpg" => ("images/train/c0/cut.jpg", jpeg[..jpeg.len() / 2].to_vec()),
        "empty.png" => ("images/train/c0/empty.png", Vec::new()),
        "text.png" => ("images/train/c0/text.png", b"no image at all".to_vec()),
        _ => ("images/train/c0/thin.png", Vec::new()),
    });
    for (name, content) in &names {
        place.write(name, content);
    }
    save_image(&place.path("images/train/c0/thin.png"), 1, 30, [9; 3]);
    (place, names.map(|(name, _)| name))
}

#[test]
fn broken_images_are_skipped_in_training_and_named_at_the_end() {
    let (place, names) = broken_images();
    place.write("images/val/c0/broken.jpeg", "no image either");
    let said = place.train("run", &["--data", "images", "--batch", "8"]);
    let said = said.replace('\\', "/");
    let end = &said[said.find("5 images were skipped:").unwrap_or_else(|| panic!("{said}"))..];
    contains(end, &names);
    contains(end, &["images/val/c0/broken.jpeg", "is truncated", "is empty", "is not a JPEG or PNG", "is 1x30 pixels"]);
    assert_eq!(end.matches("images/").count(), 5, "each is named once: {end}");
    let score = place.json(&["eval", "run", "--data", "images", "--devices", "cpu", "--json"]);
    assert_eq!(score["images"], 18);
    contains(score["skipped"][0].as_str().unwrap(), &["images/val/c0/broken.jpeg"]);
}

#[test]
fn broken_images_are_not_classified_and_the_others_are() {
    let (place, names) = broken_images();
    place.train("run", &["--data", "images", "--batch", "8"]);
    for name in names.into_iter().chain(["nowhere.png"]) {
        let output = place.command(&["classify", "run", "whole.jpg", name, "--devices", "cpu"]).output().unwrap();
        refused(&output, 1, &[name]);
        contains(&String::from_utf8(output.stdout).unwrap(), &["whole.jpg", "%  c"]);
        let arguments = ["classify", "run", name, "whole.jpg", "--devices", "cpu", "--json"];
        let output = place.command(&arguments).output().unwrap();
        refused(&output, 1, &[name]);
        let answers: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(answers[0]["error"].as_str().unwrap().contains(name) && answers[0]["image"] == name, "{answers}");
        assert!(answers[1]["image"] == "whole.jpg" && answers[1]["labels"].as_array().unwrap().len() == 5, "{answers}");
    }
}

#[test]
fn images_all_of_which_are_broken_are_no_data() {
    let place = Place::new();
    for split in ["train", "val"] {
        place.write(&format!("images/{split}/cat/1.png"), "text");
        place.write(&format!("images/{split}/dog/2.png"), "text");
    }
    no_run(&place, &["--data", "images"], &["none of the 2 images", "train/cat/1.png"]);
    for class in ["cat", "dog"] {
        save_image(&place.path(&format!("images/train/{class}/1.png")), 9, 9, [7; 3]);
        save_image(&place.path(&format!("images/train/{class}/2.png")), 9, 9, [7; 3]);
    }
    let output = place.command(&tiny("blind", "cpu", &["--data", "images"])).output().unwrap();
    refused(&output, 1, &["none of the 2 images", "val/cat/1.png"]);
    assert!(!place.path("blind/best.safetensors").exists(), "an error of 0 out of 0 is no success");
}

#[test]
fn a_cifar_file_of_the_wrong_size_is_named() {
    let place = place();
    let bytes = place.read("blobs/data_batch_2.bin");
    place.write("blobs/data_batch_2.bin", &bytes[..bytes.len() - 1]);
    no_run(&place, &["--data", "blobs"], &["data_batch_2.bin", "3073-byte records", "fetch the file again"]);
}

#[test]
fn a_label_out_of_range_is_named() {
    let place = place();
    let mut bytes = place.read("blobs/data_batch_2.bin");
    bytes[2 * 3073] = 10;
    place.write("blobs/data_batch_2.bin", bytes);
    no_run(&place, &["--data", "blobs"], &["data_batch_2.bin", "record 2 has label 10", "0 to 9"]);
}

#[test]
fn an_empty_class_folder_is_named() {
    let place = Place::new();
    save_image(&place.path("images/train/cat/1.png"), 9, 9, [7; 3]);
    save_image(&place.path("images/val/cat/1.png"), 9, 9, [7; 3]);
    fs::create_dir(place.path("images/train/dog")).unwrap();
    no_run(&place, &["--data", "images"], &["images/train/dog", "has no images", "add some or remove"]);
}

#[test]
fn data_that_is_not_there_or_of_no_known_layout_is_named() {
    let place = place();
    place.write("notes/README", "nothing");
    no_run(&place, &["--data", "nowhere"], &["nowhere", "cannot be read", "check the path"]);
    no_run(&place, &["--data", "notes"], &["notes", "holds README", "data_batch_1.bin", "train/<class>/*"]);
    no_run(&place, &["--data", "tiny.toml"], &["tiny.toml", "a file, not a folder"]);
}

#[test]
fn an_unknown_device_is_named_with_those_there_are() {
    let place = Place::new();
    for name in ["no such adapter", "99"] {
        let said = [name, "--devices", "this machine has", "cpu"];
        place.refuses(&["train", "--devices", name, "--out", "run"], &said);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn a_network_that_does_not_fit_the_device_is_refused_before_anything_is_made() {
    const MIB: u64 = 1 << 20;
    let Some(device) = devices::spec("gpu") else { return };
    let Some(Engine::Gpu(opened)) = devices::gpu() else { return };
    // 512 images of 3 x 224 x 224 floats, asked for at once; left to itself, train takes fewer.
    if opened.limits.max_storage_buffer_binding_size.min(opened.limits.max_buffer_size) >= 294 * MIB {
        println!("NOT RUN: {} takes 294 MiB in one binding", opened.describe());
        return;
    }
    let place = Place::new();
    let network = ["train", "--model", "alexnet", "--batch", "512", "--micro-batch", "512"];
    let arguments = [&network[..], &["--devices", &device, "--out", "run"]].concat();
    place.refuses(&arguments, &["input needs 294.0 MiB", "in one binding", "--micro-batch", "fits"]);
    assert!(!place.path("run").exists());
}

#[test]
fn wrong_usage_has_a_code_of_its_own() {
    let place = place();
    for (flag, value) in [("--batch", "0"), ("--epochs", "0"), ("--steps", "0"), ("--batch", "many"), ("--rate", "1")] {
        let output = place.command(&tiny("run", "cpu", &[flag, value])).output().unwrap();
        refused(&output, 2, &[flag]);
    }
    let output = place.command(&["train", "--resume", "run", "--out", "other"]).output().unwrap();
    refused(&output, 2, &["--resume", "--out"]);
    for rate in ["nan", "inf", "-0.1"] {
        let output = place.command(&tiny("run", "cpu", &[&format!("--lr={rate}")])).output().unwrap();
        refused(&output, 2, &["--lr", "a number of 0 or more"]);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn an_output_folder_with_something_in_it_is_left_alone() {
    let place = place();
    place.write("run/thesis.txt", "years of work");
    let arguments = tiny("run", "cpu", &["--data", "blobs"]);
    place.refuses(&arguments, &["run", "not an empty folder", "another --out", "--resume"]);
    place.refuses(&tiny("tiny.toml", "cpu", &["--data", "blobs"]), &["tiny.toml", "not an empty folder"]);
    assert_eq!((place.list("run"), place.read("run/thesis.txt")), (vec!["thesis.txt".into()], b"years of work".into()));
    fs::create_dir(place.path("empty")).unwrap();
    place.train("empty", &["--data", "blobs", "--steps", "1"]);
}

#[test]
fn an_output_folder_that_cannot_be_made_is_named() {
    let place = place();
    let arguments = tiny("tiny.toml/run", "cpu", &["--data", "blobs"]);
    place.refuses(&arguments, &["tiny.toml/run", "cannot be made", "another --out"]);
}

/// A finished run on blobs.
fn trained() -> Place {
    let place = place();
    place.train("run", &["--data", "blobs", "--epochs", "1"]);
    place
}

/// Puts `last.safetensors`, changed, in its own place and checks that neither `eval` nor `--resume` takes it.
#[track_caller]
fn no_checkpoint(change: impl Fn(&mut BTreeMap<String, Tensor>), parts: &[&str]) {
    let place = trained();
    let path = place.path("run/last.safetensors");
    let mut checkpoint = Checkpoint::read(&path).unwrap();
    change(&mut checkpoint.tensors);
    checkpoint.save(&path).unwrap();
    not_taken(&place, parts);
}

/// Checks that neither `eval` nor `--resume` takes the last checkpoint, and that it stays as it is.
#[track_caller]
fn not_taken(place: &Place, parts: &[&str]) {
    let parts = [&["run/last.safetensors"], parts].concat();
    let before = place.read("run/last.safetensors");
    place.refuses(&["eval", "run/last.safetensors", "--data", "blobs", "--devices", "cpu"], &parts);
    place.refuses(&["train", "--resume", "run", "--epochs", "2"], &parts);
    assert!(before == place.read("run/last.safetensors"));
}

#[test]
fn a_tensor_of_the_wrong_shape_is_named() {
    let reshape = |name: &'static str| {
        move |tensors: &mut BTreeMap<String, Tensor>| {
            let values = tensors[name].values().to_vec();
            tensors.insert(name.into(), Tensor::new([1, values.len()], values));
        }
    };
    no_checkpoint(reshape("fc3.a.bias"), &["tensor fc3.a.bias", "has shape [1, 10]", "needs [10]"]);
    no_checkpoint(|tensors| drop(tensors.insert(MEAN.into(), Tensor::new([2], vec![0.0; 2]))), &["tensor mean", "[2]"]);
}

#[test]
fn a_tensor_that_is_missing_is_named() {
    no_checkpoint(|tensors| drop(tensors.remove("fc2.b.bias")), &["tensor fc2.b.bias is missing", "another network"]);
    no_checkpoint(|tensors| drop(tensors.remove(MEAN)), &["mean"]);
}

#[test]
fn a_checkpoint_of_another_network_is_not_gone_on_with() {
    let place = trained();
    place.write("tiny.toml", TINY.replace("fc = 16", "fc = 24"));
    place.train("other", &["--data", "blobs", "--steps", "1"]);
    place.write("run/last.safetensors", place.read("other/last.safetensors"));
    place.refuses(&["train", "--resume", "run", "--epochs", "2"], &["run/last.safetensors", "fc2", "another network"]);
}

#[test]
fn a_truncated_checkpoint_is_named() {
    let place = trained();
    let bytes = place.read("run/last.safetensors");
    for length in [bytes.len() - 1, 100, 0] {
        place.write("run/last.safetensors", &bytes[..length]);
        not_taken(&place, &["truncated"]);
    }
}

#[test]
fn a_run_that_is_not_there_is_named() {
    let place = place();
    place.refuses(&["eval", "nowhere", "--devices", "cpu"], &["nowhere: nothing is there; check the path"]);
    place.refuses(&["train", "--resume", "blobs"], &["blobs/config.toml", "is blobs a run folder?"]);
    let output = place.command(&["eval", "tiny.toml", "--devices", "cpu"]).output().unwrap();
    refused(&output, 1, &["tiny.toml", "not a safetensors file"]);
}

#[test]
fn data_of_other_classes_is_not_scored_nor_gone_on_with() {
    let place = trained();
    // A checkpoint away from its run is scored on the sample.
    fs::copy(place.path("run/best.safetensors"), place.path("alone.safetensors")).unwrap();
    let parts = ["10 classes (airplane", "10 classes (spot 0"];
    place.refuses(&["eval", "alone.safetensors", "--devices", "cpu"], &parts);
    fs::remove_file(place.path("blobs/batches.meta.txt")).unwrap();
    let parts = ["run/last.safetensors", "10 classes (0, 1, 2, …)", "10 classes (spot 0"];
    place.refuses(&["train", "--resume", "run", "--epochs", "2"], &parts);
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let place = place();
    let output = place.command(&tiny("run", "cpu", &["--data", "blobs", "--lr", "1e30"])).output().unwrap();
    let parts =
        ["training stopped (there is no checkpoint", "at step 2", "began in fc2.a.y", "smaller --lr", "no checkpoint"];
    refused(&output, 1, &parts);
    let metrics = place.metrics("run");
    assert_eq!((metrics.len(), &metrics[0]["step"]), (1, &1.into()), "the first loss was still a number");
    assert_eq!(place.list("run"), ["config.toml", "metrics.jsonl"]);
}

#[test]
fn a_loss_that_is_not_finite_leaves_the_last_good_checkpoint() {
    let place = trained();
    let names = ["run/last.safetensors", "run/best.safetensors"];
    let before = names.map(|name| place.read(name));
    let step = format!("at step {}", BLOB_STEPS + 2);
    let arguments = ["train", "--resume", "run", "--epochs", "2", "--lr", "1e30"];
    let parts = [step.as_str(), "fc2.a.y", "is kept in run/last.safetensors", "alexnet train --resume run", "--lr"];
    place.refuses(&arguments, &parts);
    assert!(before == names.map(|name| place.read(name)));
    place.ok(&["train", "--resume", "run", "--epochs", "2", "--lr", "0.01"]);
}

/// The steps and validations in the metrics of `run`.
fn scores(place: &Place) -> Vec<serde_json::Value> {
    let mut metrics = place.metrics("run");
    metrics.retain(|metric| metric["kind"] == "step" || metric["kind"] == "validation");
    metrics
}

/// The update of the very last step may spoil the weights; only the validation sees it.
#[test]
fn a_validation_that_is_not_finite_keeps_nothing() {
    let place = trained();
    let before = place.read("run/last.safetensors");
    let steps = BLOB_STEPS + 1;
    let arguments = ["train", "--resume", "run", "--steps", &steps.to_string(), "--lr", "1e30"];
    let when = format!("in the validation after step {steps}");
    place.refuses(&arguments, &[&when, "is kept in run/last.safetensors"]);
    assert!(before == place.read("run/last.safetensors"));
    assert!(scores(&place).iter().all(|metric| metric["loss"].is_f64()));
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_last_checkpoint_intact() {
    let place = trained();
    let before = place.read("run/last.safetensors");
    let score = |place: &Place| place.ok(&["eval", "run/last.safetensors", "--data", "blobs", "--devices", "cpu"]);
    let scored = score(&place);
    assert!((16 * 1024..32 * 1024).contains(&before.len()), "{} bytes", before.len());
    let output = place.on_a_full_disk(16, &["train", "--resume", "run", "--epochs", "2"]);
    refused(&output, 1, &["training stopped", "safetensors", "cannot be written", "is intact", "--resume run"]);
    assert!(before == place.read("run/last.safetensors"));
    assert_eq!(scored, score(&place));
    let whole = ["best.safetensors", "config.toml", "last.safetensors", "metrics.jsonl"];
    assert_eq!(place.list("run"), whole, "no temporary file is left");
    place.ok(&["train", "--resume", "run", "--epochs", "2"]);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_only_whole_lines_of_metrics() {
    let place = trained();
    let lines = place.metrics("run").len();
    let length = place.read("run/metrics.jsonl").len();
    let output = place.on_a_full_disk(length.div_ceil(1024), &["train", "--resume", "run", "--epochs", "2"]);
    refused(&output, 1, &["metrics.jsonl cannot be written", "the last checkpoint is intact"]);
    assert!((lines..lines + BLOB_STEPS).contains(&place.metrics("run").len()));
    assert!(place.read("run/metrics.jsonl").ends_with(b"\n"));
}

/// A crash may leave half a line; who goes on gets whole ones.
#[test]
fn half_a_line_of_metrics_is_dropped() {
    let place = trained();
    let whole = place.read("run/metrics.jsonl");
    place.write("run/metrics.jsonl", [&whole[..], b"{\"kind\":\"st"].concat());
    place.ok(&["train", "--resume", "run", "--epochs", "2"]);
    assert!(place.read("run/metrics.jsonl").starts_with(&whole));
    assert_eq!(scores(&place).len(), 2 * (BLOB_STEPS + 1));
}
