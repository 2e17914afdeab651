//! How a network is laid out and what that costs, as the command line says it: `train`, `bench`, `describe`.

use alexnet::net::{Options, WireFormat};
use alexnet::train::Config;
use serde_json::Value;

use crate::cli::{Place, contains, refused, tiny};

fn config(place: &Place, run: &str) -> Config {
    toml::from_str(&String::from_utf8(place.read(&format!("{run}/config.toml"))).unwrap()).unwrap()
}

#[test]
fn a_run_remembers_how_it_is_laid_out() {
    let place = Place::new();
    place.blobs();
    let how = ["--data", "blobs", "--micro-batch", "8", "--recompute", "--exchange", "f16", "--steps", "3"];
    contains(&place.ok(&tiny("run", "cpu,cpu", &how)), &["tower a: cpu", "minibatch 16 in 2 of 8"]);
    let laid_out = |config: Config| {
        let Options { micro_batch, recompute, exchange, .. } = config.options;
        (micro_batch, recompute, exchange, config.devices)
    };
    let as_said = (Some(8), true, WireFormat::F16, Some("cpu,cpu".into()));
    assert_eq!(laid_out(config(&place, "run")), as_said);
    contains(&place.ok(&["train", "--resume", "run", "--steps", "5"]), &["tower b: cpu", "minibatch 16 in 2 of 8"]);
    assert_eq!(laid_out(config(&place, "run")), as_said, "kept by --resume");
    // And it is gone on with to the same bits as in one go.
    let in_one_go = [&how[..how.len() - 1], &["5"]].concat();
    place.ok(&tiny("whole", "cpu,cpu", &in_one_go));
    assert!(place.read("whole/last.safetensors") == place.read("run/last.safetensors"));
    // The command line says more than the run.
    place.ok(&["train", "--resume", "run", "--steps", "6", "--micro-batch", "16", "--exchange", "f32"]);
    assert_eq!(laid_out(config(&place, "run")), (Some(16), true, WireFormat::F32, Some("cpu,cpu".into())));
}

#[test]
fn no_images_at_once_is_a_slip() {
    let place = Place::new();
    for command in [&["train"][..], &["describe", "mini"], &["bench", "step"]] {
        let output = place.command(&[command, &["--micro-batch", "0"]].concat()).output().unwrap();
        refused(&output, 2, &["--micro-batch", "0"]);
    }
}

const TWO: [&str; 3] = ["--devices", "cpu,cpu", "--json"];

/// The bytes of `key` for each way of a list.
fn ways(list: &Value, key: &str) -> Vec<(String, String, u64)> {
    let text = |way: &Value, key: &str| way[key].as_str().unwrap().to_owned();
    let way = |way: &Value| (text(way, "from"), text(way, "to"), way[key].as_u64().unwrap());
    list.as_array().unwrap().iter().map(way).collect()
}

/// What is counted where it crosses is what the plan says, and the paper's figure.
#[test]
fn what_crosses_is_what_was_planned() {
    let place = Place::new();
    let of_128 = ["alexnet", "--batch", "128"];
    let described = place.json(&[&["describe"], &of_128[..], &TWO].concat());
    let planned = &described["plan"]["crossings"];
    let (to_b, to_a) = (14_483_456, 15_532_032);
    let both = |to_b, to_a| vec![("a".into(), "b".into(), to_b), ("b".into(), "a".into(), to_a)];
    assert_eq!(ways(planned, "forward"), both(to_b, to_a));
    assert_eq!(ways(planned, "backward"), both(to_a, to_b));
    let measured = place.json(&[&["bench", "exchange", "--repeats", "1", "--model"], &of_128[..], &TWO].concat());
    let passes = measured["passes"].as_array().unwrap();
    assert_eq!(measured["images"], 128);
    assert_eq!(passes[0]["pass"], "forward");
    assert_eq!(ways(&passes[0]["ways"], "bytes"), both(to_b, to_a));
    assert_eq!(ways(&passes[1]["ways"], "bytes"), both(to_b + to_a, to_a + to_b));
}

#[test]
fn a_step_is_told_by_its_parts() {
    let place = Place::new();
    let report = place.json(&[&["bench", "step", "--model", "mini", "--repeats", "2"], &TWO[..]].concat());
    let number = |value: &Value| value.as_f64().unwrap();
    let step = number(&report["step"]);
    assert!(step > 0.0 && report["images"] == 32 && report["steps"] == 2, "{report}");
    let devices = report["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    for device in devices {
        let [compute, waiting, other] = ["compute", "waiting", "other"].map(|part| number(&device[part]));
        assert!(compute > 0.0 && waiting > 0.0 && other >= 0.0, "{device}");
        assert!((compute + waiting + other - step).abs() < 1e-9, "{compute} + {waiting} + {other} is not {step}");
    }
    assert_eq!(ways(&report["ways"], "bytes").len(), 2);
}
