//! Evaluation from the command line: views, ensembles, predictions, confusions; and what is wrong with a request.

use alexnet::checkpoint::Checkpoint;
use alexnet::files::{TensorFile, write_tensors};
use safetensors::SafeTensors;
use serde_json::Value;

use crate::cli::{Place, contains, refused, tiny};
use crate::devices;

/// Three short runs on the spots, with seeds of their own.
fn runs() -> Place {
    let place = Place::new();
    place.blobs();
    for (run, seed) in [("a", "1"), ("b", "2"), ("c", "3")] {
        place.train(run, &["--data", "blobs", "--epochs", "2", "--seed", seed]);
    }
    place
}

fn eval<'a>(runs: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [&["eval"], runs, &["--data", "blobs", "--devices", "cpu"], more].concat()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("no number: {value}"))
}

/// Probabilities and labels of a file of predictions.
fn predictions(place: &Place, name: &str) -> (Vec<f32>, Vec<u32>) {
    let bytes = place.read(name);
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let labels = bytemuck::pod_collect_to_vec(file.tensor("labels").unwrap().data());
    (bytemuck::pod_collect_to_vec(file.tensor("probabilities").unwrap().data()), labels)
}

#[test]
fn ten_views_are_averaged_on_any_engine() {
    let place = runs();
    let ten = place.json(&eval(&["a"], &["--views", "10", "--json", "--predictions", "ten.safetensors"]));
    let one = place.json(&eval(&["a"], &["--json", "--predictions", "one.safetensors"]));
    let rows = ten["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["views"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 10]);
    assert_eq!(rows[0], one["rows"][0], "the centre is one of the ten views");
    assert_eq!((&ten["loss"], &ten["images"]), (&rows[1]["loss"], &one["images"]));
    assert_ne!(ten["loss"], one["loss"]);
    let ((ten, labels), (one, same)) = (predictions(&place, "ten.safetensors"), predictions(&place, "one.safetensors"));
    assert!(labels == same && labels.len() == 50 && ten.len() == 500 && ten != one);
    assert!(ten.chunks(10).all(|p| (p.iter().sum::<f32>() - 1.0).abs() < 1e-5));
    // What is written is what was scored.
    let loss = ten.chunks(10).zip(&labels).map(|(p, &label)| -f64::from(p[label as usize]).ln()).sum::<f64>() / 50.0;
    assert!((loss - number(&rows[1]["loss"])).abs() < 1e-9, "{loss}");
    if let Some(gpu) = devices::spec("gpu") {
        let more =
            ["eval", "a", "--data", "blobs", "--views", "10", "--devices", &gpu, "--predictions", "gpu.safetensors"];
        place.ok(&more);
        let (gpu, _) = predictions(&place, "gpu.safetensors");
        assert!(gpu.iter().zip(&ten).all(|(a, b)| (a - b).abs() < 1e-5));
    }
    let classified = ["classify", "a", "--devices", "cpu", "--views", "10", "--json"];
    crate::cli::save_image(&place.path("x.png"), 12, 10, [90, 40, 10]);
    let labels = |views: &str| {
        let arguments: Vec<&str> = classified.iter().map(|&a| if a == "10" { views } else { a }).collect();
        place.json(&[&arguments[..], &["x.png"]].concat())[0]["labels"].clone()
    };
    let [one, ten] = ["1", "10"].map(labels);
    let best = |labels: &Value| number(&labels[0][1]);
    assert!(one != ten && best(&one) > 0.1 && best(&ten) > 0.1 && best(&ten) < 1.0, "{one} {ten}");
}

#[test]
fn networks_are_averaged_as_their_weights_say() {
    let place = runs();
    let alone = ["a", "b", "c"].map(|run| {
        let name = format!("{run}.safetensors");
        place.ok(&eval(&[run], &["--predictions", &name]));
        predictions(&place, &name).0
    });
    let mixed = |more: &[&str]| {
        let more = [more, &["--json", "--predictions", "mixed.safetensors"]].concat();
        (place.json(&eval(&["a", "b", "c"], &more)), predictions(&place, "mixed.safetensors").0)
    };
    let is_mean = |mixed: &[f32], weights: [f32; 3]| {
        (0..mixed.len()).all(|i| {
            let mean: f32 = alone.iter().zip(weights).map(|(p, weight)| p[i] * weight).sum();
            (mean - mixed[i]).abs() < 1e-6
        })
    };
    let (equal, p) = mixed(&[]);
    let rows = equal["rows"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|row| row["network"].as_str().unwrap()).collect::<Vec<_>>(),
        ["a", "b", "c", "ensemble"]
    );
    assert!(is_mean(&p, [1.0 / 3.0; 3]) && equal["loss"] == rows[3]["loss"] && rows[3]["weight"].is_null());
    // A logarithm is concave: the mean of probabilities has no greater loss than the mean of losses.
    let losses: f64 = rows[..3].iter().map(|row| number(&row["loss"])).sum();
    assert!(number(&equal["loss"]) <= losses / 3.0);
    let (given, p) = mixed(&["--weights", "2,1,1"]);
    assert!(is_mean(&p, [0.5, 0.25, 0.25]));
    assert_eq!([0, 1, 2].map(|i| number(&given["rows"][i]["weight"])), [0.5, 0.25, 0.25]);
    let (searched, _) = mixed(&["--search"]);
    let key = |it: &Value| (number(&it["top5_error"]), number(&it["top1_error"]), number(&it["loss"]));
    assert!(key(&searched) <= key(&equal), "{searched} is worse than {equal}");
    let said = place.ok(&eval(&["a", "b"], &["--search"]));
    contains(&said, &["ensemble", "weight", "were searched on these images", "most often mistaken"]);
}

#[test]
fn predictions_name_images_and_labels() {
    let place = runs();
    place.ok(&eval(&["a"], &["--predictions", "best.csv"]));
    let text = String::from_utf8(place.read("best.csv")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!((lines.len(), lines[0].len(), lines[0][..3].to_vec()), (51, 12, vec!["image", "class", "label1"]));
    contains(lines[1][0], &["test_batch.bin image 0"]);
    let wrong = lines[1..].iter().filter(|line| line[1] != line[2]).count();
    let result = place.json(&eval(&["a"], &["--json", "--confusions", "100"]));
    assert!((number(&result["top1_error"]) - wrong as f64 / 50.0).abs() < 1e-9);
    let confused = result["confusions"].as_array().unwrap();
    assert_eq!(confused.iter().map(|pair| pair["images"].as_u64().unwrap()).sum::<u64>(), wrong as u64);
    let counts = |class: &str, label: &str| lines.iter().filter(|line| line[1] == class && line[2] == label).count();
    for pair in confused {
        let (class, label) = (pair["class"].as_str().unwrap(), pair["taken_for"].as_str().unwrap());
        assert_eq!(pair["images"], counts(class, label), "{pair}");
    }
    assert!(place.json(&eval(&["a"], &["--json", "--confusions", "0"]))["confusions"].as_array().unwrap().is_empty());
}

#[test]
fn what_is_wrong_with_an_evaluation_is_said() {
    let place = runs();
    place.refuses(&eval(&["a", "b"], &["--weights", "1"]), &["--weights", "2 checkpoints need 2"]);
    place.refuses(&eval(&["a", "b"], &["--weights", "1,-1"]), &["--weights", "0 or more"]);
    place.refuses(&eval(&["a", "b"], &["--weights", "0,0"]), &["--weights", "more than 0"]);
    place.refuses(&eval(&["a"], &["--predictions", "p.txt"]), &["p.txt", ".csv", ".safetensors"]);
    place.refuses(&eval(&["a"], &["--predictions", "nowhere/p.csv"]), &["nowhere/p.csv", "does not exist"]);
    place.refuses(&eval(&["a"], &["--model", "tiny.toml"]), &["--model", "a says its network itself"]);
    place.refuses(&eval(&["a", "nothing"], &[]), &["nothing", "cannot be read"]);
    let output = |more: &[&str]| place.command(&eval(&["a"], more)).output().unwrap();
    refused(&output(&["--views", "5"]), 2, &["--views", "10"]);
    refused(&output(&["--search", "--weights", "1"]), 2, &["--search", "--weights"]);
    // Networks of other classes are no ensemble.
    place.ok(&tiny("sample", "cpu", &["--steps", "1"]));
    place.refuses(&eval(&["a", "sample"], &[]), &["blobs", "10 classes (spot 0", "10 classes (airplane"]);
    let checkpoint = Checkpoint::read(&place.path("a/best.safetensors")).unwrap();
    assert!(checkpoint.tensors.contains_key("eigenvectors"));
}

#[test]
fn outputs_without_names_are_named_by_a_list() {
    let place = runs();
    place.ok(&["export", "a", "--out", "w.safetensors"]);
    let weights = TensorFile::parse(&place.read("w.safetensors")).unwrap().floats().unwrap();
    write_tensors(&place.path("w.safetensors"), &weights, None).unwrap();
    let nameless = |more: &[&'static str]| eval(&["w.safetensors"], &[&["--model", "tiny.toml"], more].concat());
    place.refuses(&nameless(&[]), &["10 classes have no names", "--classes"]);
    place.write("names.txt", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map(|class| format!("spot {class}\n")).concat());
    place.ok(&nameless(&["--classes", "names.txt"]));
}
