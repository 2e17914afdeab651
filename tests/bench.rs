//! `bench`, as a user runs it: its tables and its JSON say the same, and every number is one.

mod common;

use common::cli::{Place, contains};
use common::gpu_spec;
use serde_json::Value;

/// The CPU engine, and an adapter where there is one.
fn devices() -> Vec<String> {
    std::iter::once("cpu".into()).chain(gpu_spec()).collect()
}

/// `bench WHAT` of the tiny network, as often as it takes to find a median.
fn bench<'a>(what: &'a str, devices: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["bench", what, "--model", "tiny.toml", "--repeats", "3", "--devices", devices], more].concat()
}

#[track_caller]
fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().unwrap_or_else(|| panic!("no list {key} in {value}"))
}

/// A number that is more than 0.
#[track_caller]
fn positive(value: &Value) -> f64 {
    let number = value.as_f64().unwrap_or_else(|| panic!("{value} is no number"));
    assert!(number.is_finite() && number > 0.0, "{number}");
    number
}

#[test]
fn every_kernel_of_a_step_stands_beside_the_ceilings() {
    let place = Place::new();
    for spec in devices() {
        let it = place.json(&bench("kernels", &spec, &["--json"]));
        assert!(it["images"] == 16 && it["repeats"] == 3, "{it}");
        let [device] = list(&it, "devices") else { panic!("{it}") };
        let [flops, bytes] = ["flops", "bytes"].map(|key| positive(&device["ceilings"][key]));
        let runs = list(device, "runs");
        for run in runs {
            let seconds = positive(&run["seconds"]);
            let speed = &run["speed"];
            let [done, moved] = ["flops", "bytes"].map(|key| run[key].as_u64().unwrap() as f64 / seconds);
            let shares = [("fma", done / flops), ("copy", moved / bytes)];
            let (ceiling, share) = if shares[0].1 >= shares[1].1 { shares[0] } else { shares[1] };
            // Both are quotients of the same numbers, but for rounding.
            assert!((speed["share"].as_f64().unwrap() - share).abs() <= 1e-12 * share, "{run}");
            assert!(speed["ceiling"] == ceiling && moved > 0.0, "{run}");
        }
        let count = |pass: &str, kernel: &str, layer: &str| {
            let same = |run: &&Value| run["pass"] == pass && run["kernel"] == kernel && run["layer"] == layer;
            runs.iter().filter(same).count()
        };
        // Of each tower; of both towers' maps where a row sees both.
        assert_eq!(count("gradients", "conv.forward", "conv1"), 2, "{spec}");
        assert_eq!(count("evaluate", "conv.forward", "conv1"), 2, "{spec}");
        assert_eq!(count("gradients", "gemm.forward", "fc2"), 4, "{spec}");
        assert_eq!(count("gradients", "gemm.backward_weights", "fc3"), 2, "{spec}");
        // Weights and biases of conv1 and fc2 on both towers, of fc3 on one.
        assert_eq!(runs.iter().filter(|run| run["kernel"] == "sgd.update").count(), 13, "{spec}");
        let table = place.ok(&bench("kernels", &spec, &[]));
        contains(
            &table,
            &["ceilings: fma ", "gradients: ", "update: ", "evaluate: ", "of its ceiling", "conv.forward"],
        );
    }
}

#[test]
fn kernels_are_told_by_device() {
    let place = Place::new();
    let it = place.json(&bench("kernels", "cpu,cpu", &["--json"]));
    let devices = list(&it, "devices");
    let towers: Vec<_> = devices.iter().map(|device| device["towers"].as_str().unwrap()).collect();
    assert_eq!(towers, ["a", "b"]);
    let losses =
        devices.iter().map(|device| list(device, "runs").iter().filter(|run| run["kernel"] == "softmax.loss").count());
    assert_eq!(losses.collect::<Vec<_>>(), [2, 0], "in training and in evaluation, on the device of tower A alone");
}
