//! Runs that are killed, stopped and damaged, and what their folders hold afterwards.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use alexnet::checkpoint::Checkpoint;
use alexnet::runs::Run;
use serde_json::Value;

use crate::cli::{Place, contains, tiny};

/// Begins a run in the folder `run` and kills it once `ready`.
fn killed(place: &Place, more: &[&str], ready: impl Fn() -> bool) {
    let mut child: Child =
        place.command(&tiny("run", "cpu", more)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while !ready() {
        assert!(begin.elapsed() < Duration::from_secs(60), "not ready in a minute");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Steps and validations of a run, without times and speeds.
fn scores(place: &Place, run: &str) -> Vec<[Value; 4]> {
    let mut metrics = place.metrics(run);
    metrics.retain(|metric| metric["kind"] == "step" || metric["kind"] == "validation");
    metrics.into_iter().map(|metric| ["kind", "step", "epoch", "loss"].map(|key| metric[key].clone())).collect()
}

/// Checks that a resumed run has come to the end of one left alone.
#[track_caller]
fn same_end(place: &Place) {
    for name in ["last", "best"] {
        let bytes = |run: &str| place.read(&format!("{run}/{name}.safetensors"));
        assert!(bytes("run") == bytes("whole"), "{name} differs");
    }
    assert_eq!(scores(place, "run"), scores(place, "whole"), "each step and validation once, in order");
}

#[test]
fn each_step_stands_once_in_the_metrics_of_a_run_that_was_killed() {
    let place = Place::new();
    let more = ["--epochs", "4", "--batch", "4", "--save-every", "100"]; // 625 steps an epoch
    place.train("whole", &more);
    let lines =
        |name: &str| std::fs::read(place.path(name)).map_or(0, |text| text.split(|&byte| byte == b'\n').count());
    // Some steps after a checkpoint, before the next.
    killed(&place, &more, || place.path("run/last.safetensors").exists() && lines("run/metrics.jsonl") % 100 > 30);
    place.ok(&["train", "--resume", "run"]);
    same_end(&place);
    assert!(lines("run/metrics-cut.jsonl") > 1, "what was done for nothing is kept aside");
    let resumed: Vec<_> = place.metrics("run").into_iter().filter(|line| line["kind"] == "resume").collect();
    assert_eq!(resumed.len(), 1);
    let resumed = &resumed[0];
    assert!(resumed["from_step"].as_u64().unwrap() >= 100 && resumed["version"] == env!("CARGO_PKG_VERSION"));
    assert!(resumed["devices"][0].as_str().unwrap().contains("cpu"), "{resumed}");
    assert!(resumed["command"][2] == "--resume" && resumed["time"].as_str().unwrap().ends_with('Z'), "{resumed}");
}

#[test]
fn a_run_that_is_killed_before_its_first_checkpoint_begins_anew() {
    let place = Place::new();
    let more = ["--epochs", "1", "--batch", "4", "--seed", "3"];
    place.train("whole", &more);
    killed(&place, &more, || std::fs::metadata(place.path("run/metrics.jsonl")).is_ok_and(|file| file.len() > 0));
    assert!(!place.path("run/last.safetensors").exists(), "the kill came too late");
    place.ok(&["train", "--resume", "run"]);
    same_end(&place);
    let left = ["best.safetensors", "config.toml", "last.safetensors", "metrics-cut.jsonl", "metrics.jsonl"];
    assert_eq!(place.list("run"), left);
    std::fs::create_dir(place.path("empty")).unwrap();
    place.refuses(&["train", "--resume", "empty"], &["empty: no run was begun", "--out empty"]);
}

#[test]
fn metrics_tell_rates_times_and_the_training_mean() {
    let place = Place::new();
    place.blobs();
    let model = String::from_utf8(place.read("tiny.toml")).unwrap();
    place.write(
        "tiny.toml",
        model.replace("rate = 0.01", "rate = 0.01\nbias_rate = 0.02\nschedule = { drops = { epochs = [1] } }"),
    );
    let said = place.train("run", &["--data", "blobs", "--epochs", "2"]);
    contains(&said, &["epoch 2, step 11: learning rate 0.01 → 0.001, of biases 0.02 → 0.002"]);
    let metrics = place.metrics("run");
    let number = |metric: &Value, key: &str| metric[key].as_f64().unwrap_or_else(|| panic!("no {key} in {metric}"));
    let steps: Vec<_> = metrics.iter().filter(|metric| metric["kind"] == "step").collect();
    let near = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 1e-6;
    assert!(near(number(steps[0], "rate"), 0.01) && near(number(steps[0], "bias_rate"), 0.02));
    assert!(near(number(steps[10], "rate"), 0.001) && near(number(steps[10], "bias_rate"), 0.002));
    assert!(steps[0]["time"].as_str().unwrap().len() == "2012-09-30T12:34:56Z".len());
    let validation = metrics.iter().find(|metric| metric["kind"] == "validation").unwrap();
    // 150 images: the last of ten steps has 6 instead of 16.
    let mean = (0..10).map(|i| number(steps[i], "loss") * if i < 9 { 16.0 } else { 6.0 }).sum::<f64>() / 150.0;
    assert!(near(number(validation, "training_loss"), mean), "{validation}");
    assert!(near(number(steps[9], "training_loss"), mean), "{}", steps[9]);
    assert_eq!(number(steps[10], "training_loss"), number(steps[10], "loss"), "an epoch of its own");
    let wait = |step: &&Value| number(step, "device") > 0.0 && number(step, "wait") >= 0.0;
    assert!(steps.iter().all(wait), "{}", steps[0]);
    place.ok(&["train", "--resume", "run", "--epochs", "3"]);
    let run = Run::open(&place.path("run")).unwrap();
    assert_eq!((run.steps.len(), run.validations.len(), run.resumptions.len(), run.damaged), (30, 3, 2, 0));
    assert!(run.steps.is_sorted_by(|a, b| a.seconds < b.seconds), "seconds go on where the run was stopped");
    assert_eq!([0, 1].map(|i| run.resumptions[i].kind.as_str()), ["begin", "config"]);
    let [(step, record)] = &run.devices[..] else { panic!("{:?}", run.devices) };
    let parts = record.devices[0].parts.unwrap();
    assert_eq!(*step, 11, "the first step that is measured");
    assert!(parts.compute > 0.0 && near(parts.compute + parts.waiting + parts.other, record.seconds), "{record:?}");
    let text = place.ok(&["metrics", "run", "--format", "csv"]);
    let mut table = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(table.headers().unwrap().len(), 17);
    let rows: Vec<_> = table.records().map(|row| [1, 2].map(|i| row.as_ref().unwrap()[i].to_owned())).collect();
    assert_eq!(
        (rows.len(), &rows[9..11]),
        (33, &[["step", "10"], ["validation", "10"]].map(|row| row.map(str::to_owned))[..])
    );
    let all = &place.json(&["metrics", "run", "--format", "json"])[0];
    assert_eq!((all["metrics"].as_array().unwrap().len(), &all["devices"][0][0]), (33, &11.into()));
    assert!(place.ok(&["metrics", "run"]).lines().all(|line| line.chars().count() <= 80));
    place.refuses(&["metrics", "blobs"], &["blobs: is no run", "metrics.jsonl"]);
}

#[test]
fn a_damaged_checkpoint_is_refused_by_name() {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs", "--epochs", "1"]);
    let mut bytes = place.read("run/last.safetensors");
    let at = bytes.len() / 2;
    bytes[at] ^= 1;
    place.write("run/last.safetensors", &bytes);
    let parts = ["run/last.safetensors: is damaged: the checksum of tensor fc2", "--no-verify"];
    place.refuses(&["train", "--resume", "run", "--epochs", "2"], &parts);
    place.refuses(&["eval", "run/last.safetensors", "--data", "blobs", "--devices", "cpu"], &parts);
    place.refuses(&["export", "run/last.safetensors", "--format", "onnx", "--out", "x.onnx"], &parts);
    place.ok(&["export", "run/last.safetensors", "--format", "onnx", "--out", "x.onnx", "--no-verify"]);
    place.ok(&["eval", "run/last.safetensors", "--data", "blobs", "--devices", "cpu", "--no-verify"]);
    place.refuses(&["describe", "run/last.safetensors"], &parts);
    let init = ["train", "--model", "tiny.toml", "--data", "blobs", "--init", "run/last.safetensors"];
    place.refuses(&[&init[..], &["--devices", "cpu", "--out", "again"]].concat(), &parts[..1]);
    place.refuses(&["import", "run/last.safetensors", "--model", "tiny.toml", "--out", "x.checkpoint"], &parts[..1]);
    place.ok(&["describe", "run/last.safetensors", "--no-verify"]);
    crate::cli::save_image(&place.path("x.png"), 12, 10, [90, 40, 10]);
    place.ok(&["classify", "run/last.safetensors", "x.png", "--devices", "cpu", "--no-verify"]);
    place.ok(&["train", "--resume", "run", "--epochs", "2", "--no-verify"]);
    assert_eq!(Checkpoint::read(&place.path("run/last.safetensors")).unwrap().state.epoch, 2);
}

#[test]
fn a_configuration_is_read_as_strictly_as_a_model_file() {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs", "--epochs", "1", "--freeze", "conv1"]);
    let text = String::from_utf8(place.read("run/config.toml")).unwrap();
    for (from, to, parts) in [
        ("seed = 0", "seed = 0\nkeeep = 2", ["run/config.toml", "unknown key `keeep`"]),
        ("keep = 1", "keep = 0", ["run/config.toml", "keep = 0"]),
        ("[\"conv1\"]", "[\"conv8\"]", ["run/config.toml", "conv8"]),
    ] {
        assert!(text.contains(from), "no {from} in {text}");
        place.write("run/config.toml", text.replacen(from, to, 1));
        place.refuses(&["train", "--resume", "run", "--epochs", "2"], &parts);
    }
    place.write("run/config.toml", text);
    place.ok(&["train", "--resume", "run", "--epochs", "2", "--save-every", "18446744073709551615"]);
}
