//! Training, evaluation and classification from end to end, as a user runs them.

use std::collections::BTreeSet;
use std::path::Path;

use alexnet::checkpoint::Checkpoint;
use alexnet::train::Config;
use serde_json::Value;

use crate::cli::{BLOB_STEPS, Place, contains, save_image, tiny};
use crate::devices::spec;

fn checkpoint(place: &Place, name: &str) -> Checkpoint {
    Checkpoint::read(&place.path(name)).unwrap()
}

fn of_kind<'a>(metrics: &'a [Value], kind: &str) -> Vec<&'a Value> {
    metrics.iter().filter(|metric| metric["kind"] == kind).collect()
}

/// Everything that a run is to leave behind, on `device`.
fn a_run_folder_is_complete(device: &str) {
    let place = Place::new();
    place.blobs();
    let said = place.ok(&tiny("run", device, &["--data", "blobs", "--epochs", "12", "--lr", "0.03", "--seed", "5"]));
    contains(&said, &["150 training and 50 validation images of 10 classes", "run in run", "validation error"]);
    assert_eq!(place.list("run"), ["best.safetensors", "config.toml", "last.safetensors", "metrics.jsonl"]);

    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode();
        assert_eq!(mode("run/last.safetensors"), mode("run/metrics.jsonl"), "both as the umask says");
    }
    let config: Config = toml::from_str(&String::from_utf8(place.read("run/config.toml")).unwrap()).unwrap();
    assert_eq!((config.model.as_str(), config.data.as_deref(), config.seed), ("tiny.toml", Some("blobs"), 5));
    assert_eq!((config.batch(), config.network.train.epochs, config.network.train.rate), (16, 12, 0.03));

    let metrics = place.metrics("run");
    let (steps, validations) = (of_kind(&metrics, "step"), of_kind(&metrics, "validation"));
    let weights = of_kind(&metrics, "weights");
    assert_eq!((steps.len(), validations.len(), weights.len()), (12 * BLOB_STEPS, 12, 12));
    assert_eq!(metrics.len(), 12 * BLOB_STEPS + 24);
    for moved in weights.iter().flat_map(|metric| metric["tensors"].as_object().unwrap().values()) {
        let (weight, increment) = (moved["weight"].as_f64().unwrap(), moved["increment"].as_f64().unwrap());
        assert!(increment > 0.0 && (increment / weight - moved["ratio"].as_f64().unwrap()).abs() < 1e-6, "{moved}");
    }
    for (number, metric) in steps.iter().enumerate() {
        assert_eq!(metric["step"], number + 1);
        assert_eq!(metric["epoch"], number / BLOB_STEPS + 1);
    }
    for (number, metric) in validations.iter().enumerate() {
        assert_eq!(metric["step"], (number + 1) * BLOB_STEPS);
        assert_eq!(metric["epoch"], number + 1);
    }
    for &metric in steps.iter().chain(&validations) {
        let number = |key: &str| metric[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {metric}"));
        let (top1, top5) = (number("top1_error"), number("top5_error"));
        assert!((0.0..=1.0).contains(&top5) && (top5..=1.0).contains(&top1), "{metric}");
        assert!(number("loss") > 0.0 && number("images_per_second") > 0.0 && number("wait") >= 0.0, "{metric}");
    }
    let error = validations[11]["top1_error"].as_f64().unwrap();
    assert!(error < 0.5, "spots can be told apart, but the error is {error} (chance is 0.9)");

    let last = checkpoint(&place, "run/last.safetensors");
    let names: BTreeSet<_> = last.tensors.keys().map(String::as_str).collect();
    assert!(names.contains("mean") && last.tensors["mean"].shape() == [10, 10, 3], "{names:?}");
    let of_data = ["deviations", "eigenvectors", "mean"];
    let weights: Vec<_> = names.iter().filter(|name| !of_data.contains(name) && !name.ends_with(".momentum")).collect();
    assert!(weights.iter().any(|name| name.starts_with("conv1.b.weights")), "{names:?}");
    for name in &weights {
        assert_eq!(last.tensors[**name].shape(), last.tensors[&format!("{name}.momentum")].shape(), "{name}");
    }
    assert_eq!(names.len(), 2 * weights.len() + of_data.len());
    assert_eq!((last.state.step, last.state.epoch, last.state.position), (12 * BLOB_STEPS as u64, 12, 0));
    assert_eq!(last.state.classes[3], "spot 3");

    // What was logged is what a checkpoint scores, whatever the batch.
    let best = validations.iter().map(|metric| metric["top1_error"].as_f64().unwrap()).fold(1.0, f64::min);
    let score = |path: &str| place.json(&["eval", path, "--data", "blobs", "--devices", device, "--json"]);
    assert_eq!(score("run")["top1_error"], best);
    assert_eq!(score("run/best.safetensors")["top1_error"], best);
    let score = score("run/last.safetensors");
    assert_eq!(score["images"], 50);
    for key in ["top1_error", "top5_error"] {
        assert_eq!(score[key], validations[11][key]);
    }
    let [loss, logged] = [&score, validations[11]].map(|results| results["loss"].as_f64().unwrap());
    assert!((loss - logged).abs() < 1e-5 * logged, "{loss} and {logged}");
    let percent = format!("{:.2} %", 100.0 * best);
    let said = place.ok(&["eval", "run", "--data", "blobs", "--devices", device]);
    contains(&said, &["50 validation images", "top-1 error", "run ", &percent]);
}

#[test]
fn a_run_on_the_cpu_engine_is_complete() {
    a_run_folder_is_complete("cpu");
}

#[test]
fn a_run_on_an_adapter_is_complete() {
    if let Some(device) = spec("gpu") {
        a_run_folder_is_complete(&device);
    }
}

#[test]
fn an_image_folder_is_trained_on_and_classified() {
    let place = Place::new();
    let colours = [[250, 20, 20], [20, 250, 20], [20, 20, 250], [240, 240, 20], [20, 240, 240], [240, 20, 240]];
    for (class, colour) in colours.into_iter().enumerate() {
        for (number, (width, height)) in [(20, 12), (9, 31), (16, 16), (40, 11)].into_iter().enumerate() {
            let kind = if number % 2 == 0 { "png" } else { "jpg" };
            save_image(&place.path(&format!("images/train/colour{class}/{number}.{kind}")), width, height, colour);
        }
        save_image(&place.path(&format!("images/val/colour{class}/0.jpeg")), 13, 17, colour);
    }
    place.train("run", &["--data", "images", "--epochs", "60", "--batch", "8"]);
    let image = "images/val/colour2/0.jpeg";
    let text = place.ok(&["classify", "run", image, "images/train/colour0/0.png", "--devices", "cpu"]);
    assert_eq!(text.lines().count(), 2 * 6, "{text}");
    contains(&text, &[image, "images/train/colour0/0.png", " %  colour"]);
    let results = place.json(&["classify", "run/last.safetensors", image, "--devices", "cpu", "--json"]);
    let result = &results.as_array().unwrap()[0];
    assert_eq!(result["image"], image);
    let labels = result["labels"].as_array().unwrap();
    assert_eq!(labels.len(), 5);
    assert_eq!(labels[0][0], "colour2", "six plain colours can be told apart: {labels:?}");
    let probabilities: Vec<_> = labels.iter().map(|label| label[1].as_f64().unwrap()).collect();
    assert!(probabilities.is_sorted_by(|a, b| a >= b) && probabilities[4] >= 0.0, "{probabilities:?}");
    assert!(probabilities.iter().sum::<f64>() <= 1.0 + 1e-6, "{probabilities:?}");
}

/// Checks that the seed alone decides what comes out on `device`.
fn a_seed_decides(device: &str) {
    let place = Place::new();
    place.blobs();
    for (out, seed) in [("one", "7"), ("same", "7"), ("other", "8")] {
        place.ok(&tiny(out, device, &["--data", "blobs", "--seed", seed]));
    }
    for name in ["last", "best"] {
        let bytes = |run: &str| place.read(&format!("{run}/{name}.safetensors"));
        assert!(bytes("one") == bytes("same"), "{name} differs with the same seed");
        let tensors = |run: &str| checkpoint(&place, &format!("{run}/{name}.safetensors")).tensors;
        assert_ne!(tensors("one")["fc2.a.bias"], tensors("other")["fc2.a.bias"]);
    }
}

#[test]
fn a_seed_decides_on_the_cpu_engine() {
    a_seed_decides("cpu");
}

#[test]
fn a_seed_decides_on_an_adapter() {
    if let Some(device) = spec("gpu") {
        a_seed_decides(&device);
    }
}

#[test]
fn steps_end_a_run_exactly() {
    let place = Place::new();
    place.blobs();
    for (out, steps) in [("some", 3), ("many", 2 * BLOB_STEPS + 5)] {
        place.train(out, &["--data", "blobs", "--steps", &steps.to_string()]);
        assert_eq!(checkpoint(&place, &format!("{out}/last.safetensors")).state.step, steps as u64);
        let metrics = place.metrics(out);
        assert_eq!(of_kind(&metrics, "step").len(), steps);
        assert_eq!(of_kind(&metrics, "validation").last().unwrap()["step"], steps, "the end is validated");
    }
}

#[test]
fn epochs_may_be_done_in_two_runs() {
    let place = Place::new();
    place.blobs();
    place.train("whole", &["--data", "blobs", "--epochs", "2"]);
    place.train("parts", &["--data", "blobs", "--epochs", "1"]);
    let said = place.ok(&["train", "--resume", "parts"]);
    contains(&said, &["nothing is left to do", "--epochs"]);
    assert_eq!(checkpoint(&place, "parts/last.safetensors").state.epoch, 1);
    place.ok(&["train", "--resume", "parts", "--epochs", "2"]);
    for name in ["last", "best"] {
        let bytes = |run: &str| place.read(&format!("{run}/{name}.safetensors"));
        assert!(bytes("whole") == bytes("parts"), "{name} differs");
    }
    let steps = |run: &str| place.metrics(run).iter().filter_map(|metric| metric["step"].as_u64()).collect::<Vec<_>>();
    assert_eq!(steps("whole"), steps("parts"), "metrics are gone on with");
    let changes = of_kind(&place.metrics("parts"), "config").len();
    assert_eq!((changes, of_kind(&place.metrics("whole"), "config").len()), (1, 0), "what changed is written down");
    assert_eq!(place.read("whole/config.toml").len(), place.read("parts/config.toml").len(), "epochs = 2 in both");
}

/// More epochs also end what `--steps` had ended.
#[test]
fn a_run_of_some_steps_can_be_gone_on_with_for_epochs() {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs", "--steps", "4"]);
    place.ok(&["train", "--resume", "run", "--epochs", "3"]);
    assert_eq!(checkpoint(&place, "run/last.safetensors").state.step, 3 * BLOB_STEPS as u64);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_saves_and_goes_on_to_the_same_end() {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    const EPOCHS: &str = "6";
    let place = Place::new();
    let more = ["--epochs", EPOCHS, "--batch", "4"]; // 625 steps an epoch
    place.train("whole", &more);
    let end = checkpoint(&place, "whole/last.safetensors").state.step;

    let child = place.command(&tiny("parts", "cpu", &more)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = child.unwrap();
    let begin = Instant::now();
    let written = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    while written(&place.path("parts/metrics.jsonl")) == 0 {
        assert!(begin.elapsed() < Duration::from_secs(60), "no step in a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let state = checkpoint(&place, "parts/last.safetensors").state;
    assert!(0 < state.step && state.step < end, "step {} of {end}: the signal came too late", state.step);
    let said = String::from_utf8(output.stdout).unwrap();
    let saved = format!("interrupted after step {} and saved; go on with: alexnet train --resume parts", state.step);
    contains(&said, &[&saved]);
    contains(&String::from_utf8(output.stderr).unwrap(), &["stopping after this step"]);
    let metrics = place.metrics("parts");
    assert_eq!(metrics.last().unwrap()["step"], state.step, "the step in progress was finished and logged");

    place.ok(&["train", "--resume", "parts"]);
    assert!(place.read("whole/last.safetensors") == place.read("parts/last.safetensors"), "last differs");
    assert!(place.read("whole/best.safetensors") == place.read("parts/best.safetensors"), "best differs");
}

/// It takes the memory and the time that all of the images do, on the devices and on their way there.
#[test]
fn a_batch_may_be_larger_than_the_data_set() {
    let place = Place::new();
    place.blobs();
    let output = place.train("run", &["--data", "blobs", "--batch", "60000", "--epochs", "2"]);
    assert!(output.contains("minibatch 150;"), "{output}");
    assert_eq!(checkpoint(&place, "run/last.safetensors").state.step, 2);
}

/// Two processes that train in one folder would write each other's checkpoints.
#[test]
fn one_process_at_a_time_trains_in_a_folder() {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    let place = Place::new();
    let long = ["--epochs", "1000", "--batch", "4", "--save-every", "5"];
    let mut child = place.command(&tiny("run", "cpu", &long)).stdout(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while !place.path("run/last.safetensors").exists() {
        assert!(begin.elapsed() < Duration::from_secs(60), "no checkpoint in a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
    place.refuses(&["train", "--resume", "run"], &["run: another process", "wait until it ends, stop it", "folder"]);
    place.refuses(&tiny("run", "cpu", &[]), &["not an empty folder", "--out"]);
    assert!(child.try_wait().unwrap().is_none(), "the first goes on");
    child.kill().unwrap();
    child.wait().unwrap();
    let steps = checkpoint(&place, "run/last.safetensors").state.step + 1;
    place.ok(&["train", "--resume", "run", "--steps", &steps.to_string()]);
    assert_eq!(checkpoint(&place, "run/last.safetensors").state.step, steps);
    assert!(place.list("run").iter().all(|name| name != "lock" && !name.ends_with("partial")), "nothing is left");
}

/// `| head -1` has had enough; the run has not.
#[test]
fn a_run_outlives_its_reader() {
    let place = Place::new();
    place.blobs();
    let closed = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        writer
    };
    let mut command = place.command(&tiny("run", "cpu", &["--data", "blobs"]));
    let output = command.stdout(closed()).stderr(std::process::Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(checkpoint(&place, "run/last.safetensors").state.epoch, 2);
    // Nor does an error for nobody panic.
    let code = place.command(&["describe", "nothing"]).stderr(closed()).status().unwrap().code();
    assert_eq!(code, Some(1));
}
