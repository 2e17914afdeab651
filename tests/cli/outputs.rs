//! Files that commands write: what they replace, and what they never do.

use std::fs;

use crate::cli::{Place, contains, save_image};

/// A place with a trained run and an export of it.
fn place() -> Place {
    let place = Place::new();
    place.train("run", &["--steps", "1"]);
    place.ok(&["export", "run", "--out", "w.safetensors"]);
    place
}

#[test]
fn exports_and_imports_replace_their_own_kind_and_others_by_force() {
    let place = place();
    place.write("notes", "mine");
    let export = ["export", "run", "--out", "notes"];
    let import = ["import", "w.safetensors", "--model", "tiny.toml", "--out", "notes"];
    for command in [export.to_vec(), import.to_vec()] {
        place.refuses(&command, &["notes: holds something else", "--force"]);
        assert_eq!(place.read("notes"), b"mine");
        place.ok(&[&command[..], &["--force"]].concat());
        place.ok(&command);
        place.write("notes", "mine");
    }
    place.refuses(&["export", "run", "--out", "w.onnx"], &["w.onnx", ".safetensors", "--format onnx"]);
    place.refuses(&["export", "run", "--format", "onnx", "--out", "w.safetensors"], &["w.safetensors", ".onnx"]);
}

#[test]
fn the_checkpoints_of_a_run_are_no_target() {
    let place = place();
    let last = place.read("run/last.safetensors");
    for out in ["run/last.safetensors", "run/best.safetensors"] {
        place.refuses(&["export", "run", "--out", out, "--force"], &[out, "training run"]);
        let import = ["import", "w.safetensors", "--model", "tiny.toml", "--out", out, "--force"];
        place.refuses(&import, &[out, "training run"]);
    }
    assert!(place.read("run/last.safetensors") == last);
}

#[cfg(unix)]
#[test]
fn pipes_are_refused_and_links_followed() {
    use std::os::unix::fs::{FileTypeExt as _, symlink};
    let place = place();
    let pipe = place.path("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let bench = ["bench", "loader", "--images", "8", "--threads", "1"];
    let step = ["step", "--model", "tiny.toml", "--weights", "w.safetensors", "--batch", "w.safetensors"];
    for command in [
        &["export", "run", "--force", "--out", "pipe"][..],
        &["import", "w.safetensors", "--model", "tiny.toml", "--force", "--out", "pipe"],
        &[&step[..], &["--out", "pipe"]].concat(),
        &["train", "--model", "tiny.toml", "--devices", "cpu", "--out", "other", "--profile", "pipe"],
        &["bench", "step", "--model", "mini", "--devices", "cpu", "--repeats", "1", "--save", "pipe"],
    ] {
        place.refuses(command, &["pipe", "found a pipe"]);
        assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo(), "{command:?}");
    }
    place.ok(&bench);
    symlink("w.safetensors", place.path("link.safetensors")).unwrap();
    place.ok(&["export", "run", "--out", "link.safetensors"]);
    assert!(fs::symlink_metadata(place.path("link.safetensors")).unwrap().is_symlink());
    assert!(place.read("w.safetensors") == place.read("link.safetensors"));
}

/// What a run, its checkpoint and its export are, is said by `describe`.
#[test]
fn describe_takes_what_training_and_export_write() {
    let place = place();
    place.ok(&["export", "run", "--format", "onnx", "--out", "w.onnx"]);
    for of in ["run", "run/last.safetensors"] {
        contains(&place.ok(&["describe", of]), &["conv1", "trained        1 step, ", "classes        10: airplane"]);
        assert_eq!(place.json(&["describe", of, "--json"])["trained"]["step"], 1);
    }
    contains(&place.ok(&["describe", "w.onnx"]), &["inputs         ", "outputs        ", "Conv"]);
    assert!(place.json(&["describe", "w.onnx", "--json"])["parameters"].as_u64().unwrap() > 0);
    place.refuses(&["describe", "w.safetensors"], &["w.safetensors", "alexnet import"]);
    place.refuses(&["classify", "w.safetensors", "x.png", "--devices", "cpu"], &["w.safetensors", "alexnet import"]);
}

#[test]
fn what_is_read_is_not_replaced() {
    let place = place();
    place.write("w.safetensors", place.read("run/last.safetensors"));
    std::fs::hard_link(place.path("w.safetensors"), place.path("other.safetensors")).unwrap();
    let before = place.read("w.safetensors");
    for out in ["w.safetensors", "./run/../w.safetensors"] {
        place.refuses(&["export", "w.safetensors", "--out", out, "--force"], &["what is to be read"]);
        let import = ["import", "w.safetensors", "--model", "tiny.toml", "--out", out, "--force"];
        place.refuses(&import, &["what is to be read"]);
    }
    // Another name of the same file comes to name the new one.
    place.ok(&["export", "w.safetensors", "--out", "other.safetensors", "--force"]);
    assert!(place.read("w.safetensors") == before && place.read("other.safetensors") != before);
}

#[test]
fn means_may_be_negative_and_must_be_numbers() {
    let place = place();
    place.ok(&["export", "run", "--format", "onnx", "--out", "w.onnx"]);
    save_image(&place.path("x.png"), 12, 12, [90; 3]);
    let classify = |mean| ["classify", "w.onnx", "x.png", "--devices", "cpu", "--mean", mean];
    place.ok(&classify("-1,0,0"));
    for wrong in ["nan,0,0", "0,inf,0", "1,2"] {
        let output = place.command(&classify(wrong)).output().unwrap();
        crate::cli::refused(&output, 2, &["--mean"]);
    }
}
