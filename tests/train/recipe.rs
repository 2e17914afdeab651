//! The recipe from the command line: schedules, frozen layers, weights to begin with, checkpoints in the midst of an
//! epoch, and a run that is killed.

use std::process::Stdio;
use std::time::Duration;

use alexnet::checkpoint::Checkpoint;
use alexnet::ops::optimizer::OPTIMIZERS;
use alexnet::tensor::Tensor;
use alexnet::train::Config;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::Value;

use crate::cli::{BLOB_STEPS, Place, contains, tiny};
use crate::devices;
use crate::release::release;
use crate::tiny::TINY;

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
    let values = |checkpoint: &Checkpoint| {
        let of_row = |name: &&String| name.starts_with(&format!("{row}.")) && !name.ends_with(".momentum");
        checkpoint.tensors.keys().filter(of_row).map(|name| checkpoint.tensors[name].clone()).collect::<Vec<_>>()
    };
    assert!(!values(a).is_empty(), "{row} has no tensors");
    values(a) == values(b)
}

/// `mini` with every optimiser in its model file: two steps and two more are four, and no two optimisers do the same.
#[test]
fn a_run_with_any_optimiser_goes_on_to_the_same_bits() {
    let place = Place::new();
    let (_, mini) = alexnet::net::model::BUILT_IN.iter().find(|(name, _)| *name == "mini").unwrap();
    let mut ends = std::collections::HashSet::new();
    for optimizer in OPTIMIZERS {
        let name = optimizer.name;
        let (model, whole, parts) = (format!("{name}.toml"), format!("{name}-whole"), format!("{name}-parts"));
        place.write(&model, mini.replace("[train]\n", &format!("[train]\noptimizer = \"{name}\"\n")));
        let common = ["train", "--model", &model, "--devices", "cpu", "--batch", "16", "--seed", "3"];
        place.ok(&[&common[..], &["--out", &whole, "--steps", "4"]].concat());
        place.ok(&[&common[..], &["--out", &parts, "--steps", "2"]].concat());
        place.ok(&["train", "--resume", &parts, "--steps", "4"]);
        let [whole, parts] = [whole, parts].map(|run| checkpoint(&place, &format!("{run}/last.safetensors")));
        assert!(whole.tensors == parts.tensors && whole.state.step == parts.state.step, "{name}");
        let values = whole.tensors.keys().filter(|tensor| tensor.rsplit('.').next() == Some("bias"));
        for (value, state) in values.flat_map(|value| optimizer.states.iter().map(move |state| (value, state))) {
            let kept = &whole.tensors[&format!("{value}.{state}")];
            assert!(kept.shape() == whole.tensors[value].shape(), "{name}: {state} of {value}");
            assert!(kept.values().iter().any(|v| *v != 0.0), "{name}: {state} of {value} never moved");
        }
        let bits: Vec<u32> = whole.tensors.values().flat_map(Tensor::values).map(|v| v.to_bits()).collect();
        assert!(ends.insert(bits), "{name} ends where another optimiser does");
        let config = String::from_utf8(place.read(&format!("{name}-whole/config.toml"))).unwrap();
        assert_eq!(config.contains("optimizer = "), *optimizer != OPTIMIZERS[0], "the default is not written down");
    }
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
    if let Some(gpu) = devices::spec("gpu") {
        freezes_in_the_midst(&gpu);
    }
}

fn freezes_in_the_midst(device: &str) {
    let place = blobs();
    let phases = "schedule = { phases = [{ until = 1 }, { until = 2, weights = 0.1, layers = { conv1 = 0.0 } }] }";
    place.write("tiny.toml", format!("{TINY}{phases}\n"));
    place.ok(&tiny("whole", device, &["--data", "blobs", "--epochs", "2"]));
    // The same in two parts.
    place.ok(&tiny("parts", device, &["--data", "blobs", "--epochs", "1"]));
    let first = checkpoint(&place, "parts/last.safetensors");
    place.ok(&["train", "--resume", "parts", "--epochs", "2"]);
    let (whole, parts) = (checkpoint(&place, "whole/last.safetensors"), checkpoint(&place, "parts/last.safetensors"));
    assert!(same_row(&first, &whole, "conv1") && !same_row(&first, &whole, "fc2"));
    assert!(whole.tensors == parts.tensors && whole.state == parts.state);
}

/// conv1 rests for an epoch: its momentum goes into checkpoints as it was left, and on from there when it is trained
/// again.
#[test]
fn a_layer_that_rests_keeps_its_momentum() {
    let place = blobs();
    let phases = "schedule = { phases = [{ until = 1 }, { until = 2, layers = { conv1 = 0 } }, { until = 3 }] }";
    place.write("tiny.toml", format!("{TINY}{phases}\n"));
    place.train("whole", &["--data", "blobs", "--epochs", "3"]);
    place.train("parts", &["--data", "blobs", "--epochs", "1"]);
    let momentum = |checkpoint: &Checkpoint| checkpoint.tensors["conv1.a.weights.momentum"].clone();
    let before = checkpoint(&place, "parts/last.safetensors");
    place.ok(&["train", "--resume", "parts", "--epochs", "2"]);
    let resting = checkpoint(&place, "parts/last.safetensors");
    assert!(same_row(&before, &resting, "conv1") && momentum(&before) == momentum(&resting));
    let still = |metric: &Value| metric["kind"] == "weights" && metric["epoch"] == 2;
    let moved = place.metrics("parts").into_iter().find(still).expect("movements after the second epoch");
    let names: Vec<_> = moved["tensors"].as_object().unwrap().keys().cloned().collect();
    assert!(names.iter().all(|name| !name.starts_with("conv1.")) && !names.is_empty(), "{names:?} moved");
    place.ok(&["train", "--resume", "parts", "--epochs", "3"]);
    let [whole, parts] = ["whole", "parts"].map(|run| checkpoint(&place, &format!("{run}/last.safetensors")));
    assert!(whole.tensors == parts.tensors && momentum(&parts) != momentum(&resting));
    assert!(!same_row(&resting, &parts, "conv1"));
}

#[test]
fn a_phase_may_hold_weights_and_leave_biases() {
    let place = blobs();
    let phases = "schedule = { phases = [{ until = 1.5 }, { until = 2, layers = { conv1 = { weights = 0 } } }] }";
    place.write("tiny.toml", format!("{TINY}{phases}\n"));
    // Half of the second epoch's steps are trained as before.
    let half = (BLOB_STEPS + BLOB_STEPS.div_ceil(2)).to_string();
    place.train("half", &["--data", "blobs", "--epochs", "2", "--steps", &half]);
    place.train("whole", &["--data", "blobs", "--epochs", "2"]);
    let [half, whole] = ["half", "whole"].map(|run| checkpoint(&place, &format!("{run}/last.safetensors")));
    let same = |name: &str| half.tensors[name] == whole.tensors[name];
    assert!(same("conv1.a.weights") && same("conv1.b.weights.momentum"));
    assert!(!same("conv1.a.bias") && !same("fc2.a.weights.a"));
}

/// Validations within an epoch change no bit of the training, wherever the run is interrupted.
#[test]
fn validations_within_an_epoch_leave_the_training_alone() {
    let place = blobs();
    let common = ["--data", "blobs", "--epochs", "2"];
    place.train("plain", &common);
    place.train("often", &[&common[..], &["--validate-every", "3"]].concat());
    place.train("parts", &["--data", "blobs", "--epochs", "2", "--steps", "6", "--validate-every", "3"]);
    place.ok(&["train", "--resume", "parts", "--epochs", "2"]);
    let [plain, often, parts] =
        ["plain", "often", "parts"].map(|run| checkpoint(&place, &format!("{run}/last.safetensors")));
    assert!(plain.tensors == often.tensors && often.tensors == parts.tensors);
    let steps = |run: &str| {
        let validations = place.metrics(run).into_iter().filter(|metric| metric["kind"] == "validation");
        validations.map(|metric| metric["step"].as_u64().unwrap() as usize).collect::<Vec<_>>()
    };
    assert_eq!(steps("plain"), [BLOB_STEPS, 2 * BLOB_STEPS]);
    let mut wanted: Vec<_> = (1..2 * BLOB_STEPS).filter(|step| step % 3 == 0 || *step == BLOB_STEPS).collect();
    wanted.push(2 * BLOB_STEPS);
    assert_eq!(steps("often"), wanted);
    assert_eq!(steps("parts"), wanted);
}

/// In the order of the files every epoch has the same minibatches, so that without crops and mirrors the first step of
/// an epoch at a rate of 0 has the loss of the first step of the run.
#[test]
fn minibatches_stay_as_they_are_in_the_order_of_the_files() {
    let place = blobs();
    let losses = |order: &str| {
        let still = ["--data", "blobs", "--epochs", "2", "--lr", "0", "--augment", "none", "--replace", "dropout=none"];
        place.train(order, &[&still[..], &["--order", order]].concat());
        let steps = place.metrics(order).into_iter().filter(|metric| metric["kind"] == "step");
        steps.map(|metric| metric["loss"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let [file, shuffled] = ["file", "shuffled"].map(losses);
    assert_eq!(file[..BLOB_STEPS], file[BLOB_STEPS..]);
    assert_ne!(shuffled[..BLOB_STEPS], shuffled[BLOB_STEPS..]);
    assert_ne!(file[..BLOB_STEPS], shuffled[..BLOB_STEPS]);
    let config = |run: &str| String::from_utf8(place.read(&format!("{run}/config.toml"))).unwrap();
    assert!(config("file").contains("order = \"file\""), "{}", config("file"));
}

#[test]
fn rates_of_a_layer_that_is_not_there_are_refused() {
    let place = blobs();
    let rates = ["schedule = { phases = [{ until = 1, layers = { conv9 = 0.5 } }] }", "layers = { conv9 = 0.5 }"];
    for rate in rates {
        place.write("tiny.toml", format!("{TINY}{rate}\n"));
        place.refuses(&tiny("run", "cpu", &["--data", "blobs"]), &["layer conv9", "[train]"]);
    }
    assert!(!place.path("run").exists());
}

#[test]
fn a_plateau_divides_the_rates() {
    let place = blobs();
    let rule = "schedule = { plateau = { patience = 1, drops = 2 } }";
    place.write("tiny.toml", format!("{TINY}{rule}\n"));
    // Nothing is learnt at a rate of next to nothing, so that no epoch is better than the first.
    place.train("run", &["--data", "blobs", "--epochs", "4", "--lr", "1e-20"]);
    let state = checkpoint(&place, "run/last.safetensors").state;
    assert_eq!((state.stagnation.plateaus, state.epoch), (2, 4));
    for name in ["constant", "paper", "2010", "2012", "170", "plateau", "dexp"] {
        place.train(name, &["--data", "blobs", "--steps", "1", "--schedule", name]);
    }
    let output = place.command(&tiny("other", "cpu", &["--schedule", "sometimes"])).output().unwrap();
    crate::cli::refused(&output, 2, &["sometimes", "dexp"]);
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

/// A release of tars of tars, prepared and trained on with all that the paper changes in an image, the run killed at
/// ten moments of chance: it ends as one that was left alone, to the last byte.
#[test]
fn a_run_that_is_killed_again_and_again_ends_as_one_left_alone() {
    const KILLS: u32 = 10;
    let place = release();
    place.ok(&["prepare", "release", "--out", "shards", "--size", "10", "--shard-images", "10", "--raw"]);
    let more = ["--data", "shards", "--batch", "8", "--epochs", "3000", "--save-every", "1", "--augment", "paper"];
    let mut kills = 0;
    while kills < KILLS {
        let begun = place.path("run/last.safetensors").is_file();
        let arguments = if begun { vec!["train", "--resume", "run"] } else { tiny("run", "cpu", &more) };
        if !begun {
            let _ = std::fs::remove_dir_all(place.path("run"));
        }
        let mut child = place.command(&arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // Far fewer milliseconds than a step each: nothing else decides where in a step or a file it ends.
        std::thread::sleep(Duration::from_millis(u64::from(90 + 37 * kills)));
        assert!(child.try_wait().unwrap().is_none(), "it was done after {kills} kills");
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
    }
    let state = checkpoint(&place, "run/last.safetensors").state;
    assert!(state.step > 0, "it never got to a step");
    // Both to the end of the epoch after the one in which the last kill fell.
    let epochs = (state.epoch + 2).to_string();
    place.ok(&["train", "--resume", "run", "--epochs", &epochs]);
    let alone = [&more[..4], &["--epochs", &epochs, "--augment", "paper"]].concat();
    place.train("alone", &alone);
    let [alone, run] = ["alone", "run"].map(|run| place.read(&format!("{run}/last.safetensors")));
    assert!(alone == run, "after {kills} kills, the last in step {}", state.step);
    // What the best one says of its model tells how many epochs were asked for when it was saved.
    let [alone, run] = ["alone", "run"].map(|run| checkpoint(&place, &format!("{run}/best.safetensors")));
    assert!(alone.tensors == run.tensors && alone.state.step == run.state.step && alone.state.best == run.state.best);
    assert!(place.list("run").iter().all(|name| !name.starts_with('.')), "{:?}", place.list("run"));
}

/// A run moves to another folder of data, another batch and seed, rates of another model file; each is written down.
#[test]
fn a_run_goes_on_as_other_options_say() {
    let place = blobs();
    place.train("run", &["--data", "blobs", "--steps", "13"]);
    std::fs::rename(place.path("blobs"), place.path("moved")).unwrap();
    place.refuses(&["train", "--resume", "run", "--steps", "15"], &["blobs", "cannot be read"]);
    place.write("slower.toml", TINY.replace("rate = 0.01", "rate = 0.001"));
    let more = ["--data", "moved", "--batch", "8", "--seed", "3", "--model", "slower.toml", "--augment", "none"];
    place.ok(&[&["train", "--resume", "run", "--steps", "15"], &more[..]].concat());
    let config: Config = toml::from_str(&String::from_utf8(place.read("run/config.toml")).unwrap()).unwrap();
    assert_eq!((config.data.as_deref(), config.batch(), config.seed), (Some("moved"), 8, 3));
    assert_eq!((config.model.as_str(), config.network.train.rate), ("slower.toml", 0.001));
    assert!(!config.network.train.augment.crop && !config.network.train.augment.mirror);
    let changes: Vec<_> = place.metrics("run").into_iter().filter(|metric| metric["kind"] == "config").collect();
    assert!(changes.len() == 1 && changes[0]["after"].as_str().unwrap().contains("moved"), "{changes:?}");
    let state = checkpoint(&place, "run/last.safetensors").state;
    assert_eq!((state.step, state.position, state.seed), (15, 3 * 16 + 2 * 8, 3));
    // Another network is another run.
    place.write("other.toml", TINY.replace("fc = 16", "fc = 24"));
    let wrong = ["train", "--resume", "run", "--model", "other.toml", "--steps", "17"];
    place.refuses(&wrong, &["run/last.safetensors", "shape", "another network"]);
    contains(&place.ok(&["train", "--resume", "run", "--steps", "17"]), &["after 17 steps"]);
}

/// Weights under another program's names become those of both towers, and the rest of the network learns behind them.
#[test]
fn a_network_is_tuned_from_weights_of_another_program() {
    let place = blobs();
    let values = |seed: u64, count: usize| -> Vec<f32> {
        (0..count as u64).map(|i| ((i * 7919 + seed * 31) % 1000) as f32 / 2500.0 - 0.2).collect()
    };
    let shapes: [(&str, &[usize]); 4] = [
        ("features.0.weight", &[8, 3, 3, 3]),
        ("features.0.bias", &[8]),
        // fc2 is another: 24 neurons instead of 16.
        ("classifier.1.weight", &[24, 128]),
        ("classifier.4.weight", &[1000, 24]),
    ];
    let stored: Vec<_> = shapes.iter().zip(0..).map(|((_, shape), i)| values(i, shape.iter().product())).collect();
    let views = shapes.iter().zip(&stored).map(|((name, shape), values)| {
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values)).unwrap())
    });
    place.write("other.safetensors", safetensors::serialize(views, None).unwrap());
    let begin = ["--data", "blobs", "--epochs", "12", "--freeze", "conv1", "--init", "other.safetensors"];
    contains(
        &place.train("run", &begin),
        &["begins with conv1.a.weights, conv1.a.bias, conv1.b.weights, conv1.b.bias of"],
    );
    let tuned = checkpoint(&place, "run/last.safetensors");
    for (tower, name) in ["conv1.a", "conv1.b"].into_iter().enumerate() {
        let weights = &tuned.tensors[&format!("{name}.weights")];
        assert_eq!(weights.shape(), [3, 3, 3, 4]);
        for (i, &found) in weights.values().iter().enumerate() {
            let (window, filter) = (i / 4, tower * 4 + i % 4);
            assert_eq!(found.to_bits(), stored[0][filter * 27 + window].to_bits(), "{name} {i}");
        }
        assert_eq!(tuned.tensors[&format!("{name}.bias")].values(), &stored[1][tower * 4..][..4]);
    }
    assert!(tuned.state.best.unwrap() < 0.6, "{:?}", tuned.state.best);
    let wanted = tiny("wrong", "cpu", &["--data", "blobs", "--init", "other.safetensors:conv1,fc2"]);
    place.refuses(&wanted, &["other.safetensors", "classifier.1.weight", "[24, 128]", "fc2", "[16, 128]"]);
}
