//! What is printed beside results: names from outside, commands to copy.

use crate::cli::{Place, contains, save_image, tiny};

#[cfg(unix)]
#[test]
fn names_of_files_and_classes_steer_no_terminal() {
    let place = Place::new();
    for split in ["train", "val"] {
        for class in ["a\u{1b}[31mred", "b"] {
            save_image(&place.path(&format!("images/{split}/{class}/1.png")), 12, 12, [90; 3]);
        }
    }
    place.write("images/train/b/\u{1b}]0;title\u{7}.png", "no image");
    let trained = place.command(&tiny("run", "cpu", &["--data", "images"])).output().unwrap();
    let classified = place.command(&["classify", "run", "images/val/b/1.png", "--devices", "cpu"]).output().unwrap();
    let failed = place.command(&["describe", "\u{1b}[2J"]).output().unwrap();
    let raw = [trained, classified, failed].map(|output| [output.stdout, output.stderr].concat()).concat();
    let said = String::from_utf8(raw).unwrap();
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    contains(&said.replace('\\', "%"), &["%u001b]0;title%u0007.png", "a%u001b[31mred", "%u001b[2J"]);
}

#[cfg(unix)]
#[test]
fn paths_are_quoted_in_commands_to_copy() {
    let place = Place::new();
    for split in ["train", "val"] {
        for class in ["a", "b"] {
            save_image(&place.path(&format!("images/{split}/{class}/1.png")), 12, 12, [90; 3]);
        }
    }
    let prepared = place.ok(&["prepare", "images", "--out", "my shards", "--size", "8"]);
    contains(&prepared, &["alexnet train --data 'my shards'"]);
}

/// A name with a line break is one cell of a table, and one line of an answer.
#[cfg(unix)]
#[test]
fn names_with_line_breaks_stay_on_one_line() {
    let place = Place::new();
    for split in ["train", "val"] {
        for class in ["a\nb", "c"] {
            save_image(&place.path(&format!("images/{split}/{class}/1.png")), 12, 12, [90; 3]);
        }
    }
    place.train("run", &["--data", "images"]);
    let scored = place.ok(&["eval", "run", "--devices", "cpu"]);
    let classified = place.ok(&["classify", "run", "images/val/a\nb/1.png", "--devices", "cpu"]);
    let plain = |text: String| text.replace('\\', "%");
    contains(&plain(scored), &["a%u000ab"]);
    let classified = plain(classified);
    contains(&classified, &["images/val/a%u000ab/1.png\n", "%  a%u000ab\n"]);
    assert_eq!(classified.lines().count(), 3, "{classified}");
}

/// Whatever a command is given under a hostile name, it says the name escaped, on the line that says it.
#[cfg(unix)]
#[test]
fn names_in_errors_stay_on_one_line() {
    const BAD: &str = "no\nrun\u{1b}[31m\u{9b}2J";
    let place = Place::new();
    place.write("x.npy", "no array");
    let below = format!("tiny.toml/{BAD}");
    let model = ["--model", "tiny.toml"];
    for arguments in [
        &["train", "--model", BAD][..],
        &["train", "--data", BAD, "--devices", "cpu"],
        &["train", "--resume", BAD],
        &["train", "--devices", BAD],
        &["train", "--batch", BAD],
        &["train", "--init", BAD, "--devices", "cpu", "--out", "run"],
        &["train", "--out", &below, "--devices", "cpu"],
        &["train", "--replace", BAD],
        &["prepare", BAD, "--out", "shards"],
        &["eval", BAD],
        &["classify", BAD, "x.jpg"],
        &["export", BAD, "--format", "onnx", "--out", "x.onnx"],
        &["import", BAD, model[0], model[1], "--out", "i.safetensors"],
        &["import", "x.npy", "--model", BAD, "--out", "i.safetensors"],
        &["run", BAD, "--input", "x=x.npy", "--output-dir", "y"],
        &["metrics", BAD],
        &["plot", BAD],
        &["inspect", BAD],
        &["report", BAD],
        &["filters", BAD, "--out", "f.png"],
        &["predictions", BAD, "--out", "f.png"],
        &["similar", BAD],
        &["features", BAD, "--out", "f.npy"],
        &["describe", BAD],
        &["kernels", "--wgsl", &below],
        &["bench", "loader", "--data", BAD],
        &["check", "--devices", "cpu", "--only", BAD],
        &["reproduce", BAD],
        &[BAD],
    ] {
        let output = place.command(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success(), "{arguments:?}: {said}");
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{arguments:?}: {said:?}");
        contains(&said.replace('\\', "%"), &["no%u000arun%u001b[31m%u009b2J"]);
    }
}

/// Names inside of files: layers of a model, tensors of weights.
#[test]
fn names_in_files_stay_on_one_line() {
    let place = Place::new();
    let tensors = r#"{"no\nsuch\u001b[2J":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let file = [&(tensors.len() as u64).to_le_bytes()[..], tensors.as_bytes(), &[0; 4]].concat();
    place.write("w.safetensors", file);
    let tiny = String::from_utf8(place.read("tiny.toml")).unwrap();
    place.write("layer.toml", tiny.replace("\"fc2\"", "\"fc\\nsuch\\u001b[2J\""));
    place.write("stage.toml", tiny.replacen("\"relu\"", "\"re\\nsuch\\u001b[2J\"", 1));
    place.write("about.toml", tiny.replacen("about = \"", "about = \"a\\nsuch\\u001b[2J", 1));
    for arguments in [
        &["import", "w.safetensors", "--model", "tiny.toml", "--out", "i.safetensors"][..],
        &["describe", "layer.toml"],
        &["describe", "stage.toml"],
        &["describe", "about.toml"],
    ] {
        let output = place.command(arguments).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{arguments:?}: {said:?}");
        contains(&said.replace('\\', "%"), &["such%u001b[2J"]);
    }
}

#[test]
fn a_slip_in_a_name_is_answered_with_the_name_that_was_meant() {
    let place = Place::new();
    place.train("runs/tiny-1", &["--steps", "1"]);
    save_image(&place.path("photo.png"), 12, 12, [90; 3]);
    place.refuses(
        &["classify", "runs/tiny1", "photo.png"],
        &["runs/tiny1: nothing is there; did you mean runs/tiny-1?"],
    );
    place.refuses(&["report", "other"], &["other: nothing is there; check the path"]);
    place.refuses(&["train", "--model", "alexnett"], &["no model alexnett", "did you mean alexnet?"]);
    place.refuses(&["train", "--model", "resnet50"], &["no model resnet50", "there are ", "mini, "]);
}

/// Without a driver there is no other device than the run's own that would not be warned of.
#[test]
fn what_looks_at_a_run_takes_the_devices_that_it_was_trained_on() {
    let place = Place::new();
    place.train("run", &["--steps", "1"]);
    save_image(&place.path("photo.png"), 12, 12, [90; 3]);
    let said = |arguments: &[&str]| {
        let output = place.command(arguments).env("VK_DRIVER_FILES", "none").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    for looks in [
        &["classify", "run", "photo.png"][..],
        &["eval", "run"],
        &["inspect", "run"],
        &["features", "run", "photo.png", "--out", "f.csv"],
    ] {
        assert!(!said(looks).contains("no graphics adapter"), "{looks:?}");
    }
    let text = String::from_utf8(place.read("run/config.toml")).unwrap();
    place.write("run/config.toml", text.replace("devices = \"cpu\"", "devices = \"no such adapter\""));
    contains(&said(&["classify", "run", "photo.png"]), &["trained on no such adapter, which is not here"]);
}

#[test]
fn a_resumed_run_says_where_it_goes_on_and_what_has_changed() {
    let place = Place::new();
    place.train("run", &["--steps", "1"]);
    let said = place.ok(&["train", "--resume", "run", "--steps", "2", "--lr", "0.5"]);
    contains(&said, &["goes on from step 1; changed: ", "rate: ", " → 0.5", "steps: 1 → 2"]);
}

#[test]
fn devices_without_a_tower_and_names_of_other_formats_are_told() {
    let place = Place::new();
    let told = |devices: &str| {
        let arguments = ["bench", "step", "--model", "tiny.toml", "--repeats", "1", "--devices", devices];
        let output = place.command(&arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    contains(&told("cpu,cpu,cpu"), &["3 devices, of which the network's towers take 2", "mpirun -n 3 alexnet train"]);
    assert!(!told("cpu,cpu").contains("towers"), "a device for each tower");
    place.train("run", &[]);
    place.refuses(&["export", "run", "--out", "weights.onnx"], &["weights.onnx", "say --format onnx"]);
    place.refuses(&["export", "run", "--out", "weights.json"], &["does not end in .json", "ends in .safetensors"]);
}
