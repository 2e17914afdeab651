//! Pipes in place of files: each is refused by name, and nothing waits for its other end.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::cli::{Place, save_image, tiny};

fn make_pipe(path: &Path) {
    let _ = fs::remove_file(path);
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn what_a_command_is_given_must_be_a_file() {
    let place = Place::new();
    place.train("run", &["--steps", "1"]);
    save_image(&place.path("x.png"), 12, 12, [90; 3]);
    make_pipe(&place.path("pipe"));
    let no_file = "pipe: cannot be read (it is a folder, a pipe or a device, expected a file)";
    let import = ["import", "pipe", "--model", "tiny.toml", "--out", "w.safetensors"];
    place.refuses(&["describe", "pipe"], &["no model pipe: neither a file nor a built-in network"]);
    place.refuses(&[&import[..], &["--sha256", "01234567"]].concat(), &[no_file]);
    place.refuses(&tiny("other", "cpu", &["--classes", "pipe"]), &[no_file]);
    place.refuses(&["classify", "run", "x.png", "--classes", "pipe", "--devices", "cpu"], &[no_file]);
}

#[test]
fn a_run_is_resumed_from_files() {
    for name in ["config.toml", "metrics.jsonl", "lock", "last.safetensors"] {
        let place = Place::new();
        place.train("run", &["--steps", "1"]);
        make_pipe(&place.path("run").join(name));
        place.refuses(&["train", "--resume", "run", "--steps", "2"], &["run", "expected a file"]);
    }
}

#[test]
fn a_run_whose_configuration_cannot_be_read_is_not_scored_on_other_data() {
    let place = Place::new();
    place.train("run", &["--steps", "1"]);
    make_pipe(&place.path("run/config.toml"));
    place.refuses(&["eval", "run", "--devices", "cpu"], &["run/config.toml", "expected a file"]);
}

#[test]
fn shards_are_files() {
    let place = Place::new();
    for split in ["train", "val"] {
        save_image(&place.path(&format!("images/{split}/a/1.png")), 12, 12, [90; 3]);
    }
    let prepare = ["prepare", "images", "--size", "8", "--out", "shards"];
    for name in ["classes.txt", "prepare.json", "statistics.safetensors", "train-000000.json", "train-000000.tar"] {
        let _ = fs::remove_dir_all(place.path("shards"));
        place.ok(&prepare);
        make_pipe(&place.path("shards").join(name));
        if name == "prepare.json" {
            place.refuses(&prepare, &[name, "expected a file"]);
            continue;
        }
        if name == "train-000000.tar" {
            fs::remove_file(place.path("shards/train-000000.json")).unwrap();
        }
        place.refuses(&tiny("run", "cpu", &["--data", "shards"]), &[name, "expected a file"]);
    }
}
