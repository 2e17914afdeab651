//! The recipe from the command line: schedules, frozen layers, weights to begin with, checkpoints in the midst of an
//! epoch, and a run that is killed.

mod common;

use std::process::Stdio;
use std::time::{Duration, Instant};

use alexnet::checkpoint::Checkpoint;
use common::cli::{BLOB_STEPS, Place, TINY, contains, tiny};

fn checkpoint(place: &Place, name: &str) -> Checkpoint {
    Checkpoint::read(&place.path(name)).unwrap()
}

fn blobs() -> Place {
    let place = Place::new();
    place.blobs();
    place
}

/// Of row `row` all tensors that are trained, of both checkpoints in `a` and `b`.
fn same_row(a: &Checkpoint, b: &Checkpoint, row: &str) -> bool {
    let values = |it: &Checkpoint| {
        let of_row = |name: &&String| name.starts_with(&format!("{row}.")) && !name.ends_with(".momentum");
        it.tensors.keys().filter(of_row).map(|name| it.tensors[name].clone()).collect::<Vec<_>>()
    };
    assert!(!values(a).is_empty(), "{row} has no tensors");
    values(a) == values(b)
}

#[test]
fn frozen_layers_stay_as_they_are_and_the_others_learn() {
    let place = blobs();
    place.train("start", &["--data", "blobs", "--steps", "1"]);
    place.train("run", &["--data", "blobs", "--steps", "1", "--freeze", "conv1..fc2"]);
    let (start, frozen) = (checkpoint(&place, "start/last.safetensors"), checkpoint(&place, "run/last.safetensors"));
    assert!(
        frozen
            .tensors
            .keys()
            .all(|name| name.ends_with(".momentum") == name.starts_with("fc3.") || !name.ends_with(".momentum"))
    );
    let said = place.ok(&["train", "--resume", "run", "--steps", "20"]);
    contains(&said, &["after 20 steps"]);
    let later = checkpoint(&place, "run/last.safetensors");
    assert!(same_row(&frozen, &later, "conv1") && same_row(&frozen, &later, "fc2"));
    assert!(!same_row(&frozen, &later, "fc3"));
    assert!(!same_row(&start, &frozen, "conv1"), "a step moves what is not frozen");
    // All again, and what was frozen learns.
    place.ok(&["train", "--resume", "run", "--steps", "30", "--freeze", "none"]);
    assert!(!same_row(&later, &checkpoint(&place, "run/last.safetensors"), "conv1"));
    let unknown = tiny("other", "cpu", &["--freeze", "conv9"]);
    place.refuses(&unknown, &["no layer \"conv9\"", "conv1, fc2, fc3"]);
}

#[test]
fn a_schedule_may_freeze_a_layer_in_the_midst_of_a_run() {
    freezes_in_the_midst("cpu,cpu");
    if let Some(gpu) = common::gpu_spec() {
        freezes_in_the_midst(&gpu);
    }
}

fn freezes_in_the_midst(device: &str) {
    let place = blobs();
    let phases = "schedule = { phases = [{ until = 1 }, { until = 2, weights = 0.1, layers = { conv1 = 0.0 } }] }";
    place.write("tiny.toml", TINY.replace("mirror = true", &format!("mirror = true\n{phases}")));
    place.ok(&tiny("whole", device, &["--data", "blobs", "--epochs", "2"]));
    // The same in two parts.
    place.ok(&tiny("parts", device, &["--data", "blobs", "--epochs", "1"]));
    let first = checkpoint(&place, "parts/last.safetensors");
    place.ok(&["train", "--resume", "parts", "--epochs", "2"]);
    let (whole, parts) = (checkpoint(&place, "whole/last.safetensors"), checkpoint(&place, "parts/last.safetensors"));
    assert!(same_row(&first, &whole, "conv1") && !same_row(&first, &whole, "fc2"));
    assert!(whole.tensors == parts.tensors && whole.state == parts.state);
}

#[test]
fn rates_of_a_layer_that_is_not_there_are_refused() {
    let place = blobs();
    let rates = ["schedule = { phases = [{ until = 1, layers = { conv9 = 0.5 } }] }", "layers = { conv9 = 0.5 }"];
    for rate in rates {
        place.write("tiny.toml", TINY.replace("mirror = true", rate));
        place.refuses(&tiny("run", "cpu", &["--data", "blobs"]), &["layer conv9", "[train]"]);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn a_plateau_divides_the_rates() {
    let place = blobs();
    let rule = "schedule = { plateau = { patience = 1, drops = 2 } }";
    place.write("tiny.toml", TINY.replace("mirror = true", rule));
    // Nothing is learnt at a rate of next to nothing, so that no epoch is better than the first.
    place.train("run", &["--data", "blobs", "--epochs", "4", "--lr", "1e-20"]);
    let state = checkpoint(&place, "run/last.safetensors").state;
    assert_eq!((state.stagnation.plateaus, state.epoch), (2, 4));
    for name in ["constant", "paper", "2012", "plateau", "dexp"] {
        place.train(name, &["--data", "blobs", "--steps", "1", "--schedule", name]);
    }
    let output = place.command(&tiny("other", "cpu", &["--schedule", "sometimes"])).output().unwrap();
    common::cli::refused(&output, 2, &["sometimes", "dexp"]);
}

#[test]
fn a_run_begins_with_the_weights_of_another() {
    let place = blobs();
    place.train("old", &["--data", "blobs", "--epochs", "1", "--seed", "1"]);
    let old = checkpoint(&place, "old/last.safetensors");
    let begin = |out: &str, spec: &str| {
        place.train(out, &["--data", "blobs", "--steps", "1", "--seed", "2", "--freeze", "conv1,fc2", "--init", spec])
    };
    contains(&begin("some", "old:conv1"), &["begins with conv1.a.weights", "old/"]);
    let some = checkpoint(&place, "some/last.safetensors");
    let best = checkpoint(&place, "old/best.safetensors");
    assert!(same_row(&best, &some, "conv1") && !same_row(&best, &some, "fc2"));
    begin("all", "old/last.safetensors");
    let all = checkpoint(&place, "all/last.safetensors");
    assert!(same_row(&old, &all, "conv1") && same_row(&old, &all, "fc2") && !same_row(&old, &all, "fc3"));
    // Another number of classes: the last layer is new.
    let other = TINY.replace("fc = 16", "fc = 24");
    place.write("tiny.toml", other);
    let wrong = tiny("wrong", "cpu", &["--data", "blobs", "--init", "old:fc2"]);
    place.refuses(&wrong, &["--init old", "fc2.a", "shape"]);
    place.refuses(&tiny("wrong2", "cpu", &["--init", "nowhere:conv1"]), &["nowhere"]);
}

#[test]
fn checkpoints_come_as_often_as_asked_for_and_old_ones_go() {
    let place = blobs();
    place.train("run", &["--data", "blobs", "--epochs", "1", "--save-every", "2", "--keep", "3"]);
    let names = place.list("run");
    let kept: Vec<&String> = names.iter().filter(|name| name.starts_with("step-")).collect();
    let step = |step: usize| format!("step-{step:08}.safetensors");
    assert_eq!(kept, [&step(BLOB_STEPS - 4), &step(BLOB_STEPS - 2), &step(BLOB_STEPS)].map(|name| name).to_vec());
    let (kept, last) = (format!("run/{}", step(BLOB_STEPS)), "run/last.safetensors");
    assert!(place.read(&kept) == place.read(last), "{kept} is not the last one");
}

/// Killed again and again at moments of chance, a run ends as one that was left alone.
#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_left_alone() {
    let place = blobs();
    let more = ["--data", "blobs", "--epochs", "40", "--save-every", "1"];
    place.train("alone", &more);
    let mut kills = 0;
    let deadline = Instant::now() + Duration::from_secs(120);
    while kills < 10 && Instant::now() < deadline {
        let begun = place.path("run/last.safetensors").is_file();
        let arguments = if begun { vec!["train", "--resume", "run"] } else { tiny("run", "cpu", &more) };
        if !begun {
            let _ = std::fs::remove_dir_all(place.path("run"));
        }
        let mut child = place.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(60 + 37 * kills));
        if child.try_wait().unwrap().is_some() {
            break;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    assert!(kills > 2, "it was done after {kills} kills");
    place.ok(&["train", "--resume", "run"]);
    let (alone, run) = (checkpoint(&place, "alone/last.safetensors"), checkpoint(&place, "run/last.safetensors"));
    assert!(alone.state == run.state && alone.tensors == run.tensors, "after {kills} kills");
    assert!(place.list("run").iter().all(|name| !name.starts_with('.')), "{:?}", place.list("run"));
}
