//! The fastest variant of a kernel: measured once, kept, and told of when it changes.

use std::process::{Command, Output};

use alexnet::checkpoint::Checkpoint;
use serde_json::Value;

use crate::cli::{Place, contains};
use crate::devices::spec;

/// A network with one layer whose convolutions are worth measuring.
const WIDE: &str = r#"
about = "a layer that is worth measuring"
input = { channels = 3, size = 12, stored = 14, scale = [0.015625, 0.015625, 0.015625] }
towers = 1
pool = { size = 3, stride = 2 }
layers = [
  { name = "conv1", conv = { filters = 64, size = 3, pad = 1 }, weights = 0.1, then = ["relu"] },
  { name = "conv2", conv = { filters = 64, size = 3, pad = 1 }, weights = 0.05, then = ["relu", "pool"] },
  { name = "fc3", fc = 10, weights = 0.1, then = ["softmax"] },
]

[train]
batch = 32
epochs = 50
rate = 0.001
"#;

/// How the run of its second convolution forward begins.
const CONV2: &str = "conv.forward maps=64 ";

/// A place with a cache folder of its own.
struct Tuned {
    place: Place,
    device: String,
}

impl Tuned {
    /// `None` where there is no adapter, or the cache folder cannot be set from outside.
    fn new() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            println!("NOT RUN: the cache folder cannot be set from outside on this system");
            return None;
        }
        let device = spec("gpu")?;
        let place = Place::new();
        place.blobs();
        place.write("wide.toml", WIDE);
        Some(Self { place, device })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.place.command(arguments);
        command.env("XDG_CACHE_HOME", self.place.path("cache"));
        command
    }

    #[track_caller]
    fn train(&self, arguments: &[&str]) -> Output {
        let common = ["train", "--data", "blobs", "--devices", &self.device];
        let output = self.command(&[&common, arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    /// What is kept of the one adapter: its name, and variants by runs.
    fn kept(&self) -> (String, Value) {
        let book: Value = serde_json::from_slice(&self.place.read("cache/alexnet/variants.json")).unwrap();
        let book = book.as_object().unwrap();
        assert_eq!(book.len(), 1, "{book:?}");
        let (adapter, runs) = book.iter().next().unwrap();
        (adapter.clone(), runs.clone())
    }

    /// Has all runs kept as those of `variant`.
    fn keep(&self, variant: &str) {
        let (adapter, mut runs) = self.kept();
        runs.as_object_mut().unwrap().values_mut().for_each(|kept| *kept = variant.into());
        self.place.write("cache/alexnet/variants.json", serde_json::json!({ adapter: runs }).to_string());
    }

    /// The variants that a run's checkpoint names for the second convolution.
    fn recorded(&self) -> Vec<String> {
        let checkpoint = Checkpoint::read(&self.place.path("run/last.safetensors")).unwrap();
        let mut runs = checkpoint.state.variants.into_iter().filter(|(run, _)| run.starts_with(CONV2));
        runs.next().expect("the convolution has variants").1.into_iter().collect()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn choices_are_measured_once_and_kept() {
    let Some(tuned) = Tuned::new() else { return };
    tuned.train(&["--model", "wide.toml", "--steps", "2", "--out", "run"]);
    let (adapter, runs) = tuned.kept();
    contains(&adapter, &["alexnet ", env!("CARGO_PKG_VERSION")]);
    let variant =
        |prefix: &str| runs.as_object().unwrap().iter().find(|(run, _)| run.starts_with(prefix)).map(|(_, v)| v);
    let forward = variant(CONV2).and_then(Value::as_str).expect("the convolution was measured").to_owned();
    assert!(
        variant("conv.backward_input maps=64 ").is_some() && variant("conv.backward_filter maps=64 ").is_some(),
        "{runs}"
    );
    assert!(variant("conv.forward maps=3 ").is_none(), "what is not worth it is not measured");
    assert_eq!(tuned.recorded(), [forward]);

    tuned.keep("plain");
    let output = tuned.train(&["--resume", "run", "--steps", "4"]);
    contains(&said(&output), &["kernels run in other variants than before", "plain instead of"]);
    assert_eq!(tuned.recorded(), ["plain"]);

    let again = tuned.train(&["--resume", "run", "--steps", "6"]);
    assert!(!said(&again).contains("other variants"), "{}", said(&again));
}

#[test]
fn without_tuning_nothing_is_measured_or_kept() {
    let Some(tuned) = Tuned::new() else { return };
    tuned.train(&["--model", "wide.toml", "--steps", "2", "--out", "run", "--no-tune"]);
    assert!(!tuned.place.path("cache/alexnet/variants.json").exists());
    assert_eq!(tuned.recorded().len(), 1);
}

#[test]
fn a_cache_that_is_damaged_or_cannot_be_written_stops_nothing() {
    let Some(tuned) = Tuned::new() else { return };
    tuned.place.write("cache/alexnet/variants.json", "{\"llvmpipe\": {");
    tuned.train(&["--model", "wide.toml", "--steps", "2", "--out", "run"]);
    // Beside the variants stand the checksums of shaders that agree with their twins.
    let (_, kept) = tuned.kept();
    let runs = kept.as_object().unwrap().iter().filter(|(run, _)| !run.ends_with("agrees with its twin"));
    assert_eq!(runs.filter(|(_, variant)| variant.is_string()).count(), 3);
    tuned.place.write("not_a_folder", "");
    let mut command = tuned.command(&["train", "--data", "blobs", "--devices", &tuned.device, "--resume", "run"]);
    let output =
        command.args(["--steps", "4"]).env("XDG_CACHE_HOME", tuned.place.path("not_a_folder")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    contains(&said(&output), &["measured again next time"]);
}
