//! `bench` and `train --profile`, as a user runs them.

use serde_json::Value;

use crate::cli::{Place, contains, tiny};
use crate::devices::spec;

/// The CPU engine, and an adapter where there is one.
fn devices() -> Vec<String> {
    ["cpu", "gpu"].into_iter().filter_map(spec).collect()
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
        let report = place.json(&bench("kernels", &spec, &["--json"]));
        assert!(report["images"] == 16 && report["repeats"] == 3, "{report}");
        let [device] = list(&report, "devices") else { panic!("{report}") };
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
        assert_eq!(count("gradients", "conv.forward", "fc2"), 4, "{spec}");
        assert_eq!(count("gradients", "conv.backward_filter", "fc3"), 2, "{spec}");
        // One of each tower, for all its weights and biases.
        assert_eq!(count("update", "sgd.update", "update"), 2, "{spec}");
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
    let report = place.json(&bench("kernels", "cpu,cpu", &["--json"]));
    let devices = list(&report, "devices");
    let towers: Vec<_> = devices.iter().map(|device| device["towers"].as_str().unwrap()).collect();
    assert_eq!(towers, ["a", "b"]);
    let losses =
        devices.iter().map(|device| list(device, "runs").iter().filter(|run| run["kernel"] == "softmax.loss").count());
    assert_eq!(losses.collect::<Vec<_>>(), [2, 0], "in training and in evaluation, on the device of tower A alone");
}

#[test]
fn a_step_is_told_by_layers_host_and_memory() {
    let place = Place::new();
    for spec in devices() {
        let report = place.json(&bench("step", &spec, &["--json"]));
        let step = positive(&report["step"]);
        let times: Vec<f64> = list(&report, "times").iter().map(positive).collect();
        assert!(times.len() == 3 && times.contains(&step), "{times:?} without {step}");
        let host = positive(&report["host"]);
        assert!(host < step, "{spec}: the host works for {host} s of {step}");
        for part in [&report, &report["forward"]] {
            let seconds = part.get("step").unwrap_or(&part["seconds"]).as_f64().unwrap();
            // The quotient of the same numbers, but for how they are read from text.
            let ratio = positive(&part["images_per_second"]) * seconds / 16.0;
            assert!((ratio - 1.0).abs() < 1e-12, "{spec}: {ratio}");
            positive(&part["flops_per_second"]);
        }
        let [device] = list(&report, "devices") else { panic!("{report}") };
        positive(&device["planned"]);
        let layers = list(&report, "layers");
        let names: Vec<_> = layers.iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
        assert_eq!(names, ["input", "conv1", "fc2", "fc3", "update"], "{spec}");
        for layer in &layers[1..4] {
            for part in ["forward", "backward", "evaluate"] {
                positive(&layer[part]);
            }
        }
        positive(&layers[4]["update"]);
        assert!(positive(&layers[0]["forward"]) > 0.0 && layers[0]["backward"] == 0.0, "{}", layers[0]);
        let table = place.ok(&bench("step", &spec, &[]));
        contains(
            &table,
            &["images/s", "a forward pass: ", "the host works for ", "conv1", "backward", "nothing crosses"],
        );
    }
}

#[test]
fn layers_are_told_by_device() {
    let place = Place::new();
    let report = place.json(&bench("step", "cpu,cpu", &["--json"]));
    let layers = list(&report, "layers")
        .iter()
        .map(|layer| [&layer["towers"], &layer["layer"]].map(|entry| entry.as_str().unwrap()));
    let [a, b]: [Vec<_>; 2] =
        ["a", "b"].map(|tower| layers.clone().filter(|row| row[0] == tower).map(|row| row[1]).collect());
    assert_eq!(a, ["input", "conv1", "fc2", "fc3", "update"]);
    assert_eq!(b, ["input", "conv1", "fc2", "update"], "fc3 lies on tower A");
}

/// The complete events of a trace, and the names of its tracks.
fn trace(place: &Place, file: &str) -> (Vec<Value>, Vec<String>) {
    let all: Vec<Value> = serde_json::from_slice(&place.read(file)).unwrap();
    let (complete, tracks): (Vec<_>, Vec<_>) = all.into_iter().partition(|event| event["ph"] == "X");
    assert!(tracks.iter().all(|event| event["ph"] == "M" && event["name"] == "thread_name"), "{tracks:?}");
    (complete, tracks.iter().map(|event| event["args"]["name"].as_str().unwrap().to_owned()).collect())
}

/// Begin and end of an event in microseconds.
#[track_caller]
fn span(event: &Value) -> (f64, f64) {
    let [begin, length] = ["ts", "dur"].map(|key| event[key].as_f64().unwrap());
    assert!(begin >= 0.0 && length >= 0.0, "{event}");
    (begin, begin + length)
}

/// Checks that of any two events one ends before the other begins, or lies within it.
#[track_caller]
fn assert_nested(events: &[&Value]) {
    // Times were rounded once each, of seconds since the beginning.
    let slack = 1e-3;
    let mut open: Vec<(f64, f64)> = Vec::new();
    for event in events {
        let (begin, end) = span(event);
        open.retain(|outer| outer.1 > begin + slack);
        let inside = open.iter().all(|outer| outer.0 <= begin + slack && end <= outer.1 + slack);
        assert!(inside, "{event} reaches out of {open:?}");
        open.push((begin, end));
    }
}

#[test]
fn a_profile_shows_what_host_and_devices_do() {
    let place = Place::new();
    place.blobs();
    let twice = devices().into_iter().map(|spec| format!("{spec},{spec}"));
    for (number, spec) in twice.enumerate() {
        let run = format!("run-{number}");
        let how = ["--data", "blobs", "--steps", "5", "--profile", "trace.json", "--profile-steps", "3"];
        place.ok(&tiny(&run, &spec, &how));
        let (events, tracks) = trace(&place, "trace.json");
        assert!(tracks.len() == 3 && tracks[0] == "host" && tracks[1].starts_with("a: "), "{tracks:?}");
        let on = |track: u64| events.iter().filter(|event| event["tid"] == track).collect::<Vec<_>>();
        let host = on(0);
        assert_nested(&host);
        let count = |name: &str| host.iter().filter(|event| event["name"] == name).count();
        // Gradients and update are submitted each by itself.
        assert_eq!(["wait for images", "upload", "submit", "fetch", "read"].map(count), [3, 3, 6, 3, 3], "{spec}");
        assert_eq!([1, 2, 3, 4].map(|step| count(&format!("step {step}"))), [1, 1, 1, 0], "{spec}");
        let crossings = host.iter().filter(|event| event["cat"] == "exchange").count();
        assert!(crossings > 0 && crossings % 3 == 0, "{spec}: {crossings}");
        for track in [1, 2] {
            let kernels = on(track);
            assert_nested(&kernels);
            let count = |name: &str, layer: &str| {
                kernels.iter().filter(|event| event["name"] == name && event["cat"] == layer).count()
            };
            assert_eq!([count("conv.forward", "conv1"), count("sgd.update", "update")], [3, 3], "{spec}");
        }
    }
}

#[test]
fn a_profile_that_cannot_be_written_is_refused_before_anything_is_trained() {
    let place = Place::new();
    place.blobs();
    place.refuses(
        &tiny("run", "cpu", &["--data", "blobs", "--profile", "none/trace.json"]),
        &["none/trace.json", "its folder does not exist"],
    );
    assert!(!place.path("run").exists());
    #[cfg(unix)]
    {
        let how = ["--data", "blobs", "--profile", "trace.json", "--profile-steps", "10000"];
        let output = place.on_a_full_disk(1024, &tiny("run", "cpu", &how));
        crate::cli::refused(&output, 1, &["trace.json", "--profile-steps"]);
        assert!(!place.path("run").exists());
    }
}

/// A run that ends before its profile does leaves what there is.
#[test]
fn a_short_run_has_a_short_profile() {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs", "--steps", "2", "--profile", "trace.json"]);
    let (events, _) = trace(&place, "trace.json");
    assert_eq!(events.iter().filter(|event| event["name"] == "upload").count(), 2);
}
