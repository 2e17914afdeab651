//! `alexnet reproduce`: paired runs, of which those that are done are not done again, and what they tell.

use serde_json::Value;

use crate::cli::{Place, contains};

fn outcome(place: &Place, folder: &str) -> Value {
    serde_json::from_slice(&place.read(&format!("{folder}/outcome.json"))).unwrap()
}

#[test]
fn a_claim_is_measured_over_paired_seeds_and_goes_on_where_it_was() {
    let place = Place::new();
    place.blobs();
    let reproduce = |name: &str, more: &[&str]| {
        let common = ["reproduce", name, "--data", "blobs", "--scale", "0.01", "--devices", "cpu", "--out", "there"];
        place.ok(&[&common[..], more].concat())
    };
    let first = reproduce("norm", &["--seeds", "1"]);
    contains(&first, &["run 1 of 2: normalised-seed-1", "published: 1.4", "1 of 13 epochs", "of 1 above 0"]);
    let weights = || place.read("there/without-seed-1/last.safetensors");
    let before = weights();
    let settings = place.read("there/settings.json");
    let second = reproduce("norm", &["--seeds", "2"]);
    contains(&second, &["normalised-seed-1 was done before", "run 4 of 4: without-seed-2", "±", "of 2 above 0"]);
    assert!(before == weights(), "a run that was done is left alone");
    let found = outcome(&place, "there");
    let errors = |arm: usize| {
        let runs = found["arms"][arm]["runs"].as_array().unwrap();
        runs.iter().map(|run| run["validation_error"].as_f64().unwrap()).collect::<Vec<_>>()
    };
    let differences = found["arms"][1]["ours"]["values"].as_array().unwrap().clone();
    for (seed, difference) in differences.iter().enumerate() {
        let wanted = 100.0 * (errors(1)[seed] - errors(0)[seed]);
        assert!((difference.as_f64().unwrap() - wanted).abs() < 1e-9, "{found}");
    }
    assert_eq!((differences.len(), found["paper"].as_f64()), (2, Some(1.4)));
    assert!(place.list("there").iter().any(|name| name == "curves.svg"));
    let more = ["reproduce", "norm", "--data", "./blobs", "--scale", "0.01", "--devices", "cpu", "--out", "there"];
    contains(&place.ok(&[&more[..], &["--seeds", "1"]].concat()), &["of 1 above 0"]);
    place.refuses(&[&more[..], &["--micro-batch", "8"]].concat(), &["there was begun with norm", "--micro-batch 8"]);
    place.refuses(&["reproduce", "norm", "--data", "nope", "--out", "typo"], &["nope"]);
    assert!(!place.path("typo").exists(), "no folder is begun with data that are not there");
    place.write("there/settings.json", b"{");
    place.refuses(&more, &["there/settings.json is damaged"]);
    place.write("there/settings.json", &settings);
    let other = ["reproduce", "overlap", "--data", "blobs", "--scale", "0.01", "--out", "there"];
    place.refuses(&other, &["there was begun with norm on blobs", "this is overlap", "--out"]);
    for taken in ["blobs", "tiny.toml"] {
        place.refuses(&["reproduce", "overlap", "--out", taken], &[taken, "something else"]);
    }
}

/// Ten views and ensembles are measured on the runs' checkpoints, a rate on a grid by a trial.
#[test]
fn every_measure_tells_its_number() {
    let place = Place::new();
    place.blobs();
    let reproduce = |name: &str, seeds: &str| {
        let place_of = ["--data", "blobs", "--scale", "0.01", "--devices", "cpu", "--seeds", seeds, "--out", name];
        (place.ok(&[&["reproduce", name], &place_of[..]].concat()), outcome(&place, name))
    };
    let (text, views) = reproduce("ten-views", "1");
    contains(&text, &["by ten views"]);
    let (arm, run) = (&views["arms"][0], &views["arms"][0]["runs"][0]);
    let [one, ten] = ["validation_error", "error_by_ten_views"].map(|key| run[key].as_f64().unwrap());
    let gain = arm["ours"]["mean"].as_f64().unwrap();
    assert!((gain - 100.0 * (one - ten)).abs() < 1e-9, "{arm}");
    assert_eq!(run["curve"][0]["validation_error"], run["validation_error"]);
    let (_, ensemble) = reproduce("ensemble", "2");
    let (arm, together) = (&ensemble["arms"][0], ensemble["arms"][0]["together"].as_f64().unwrap());
    let mean = arm["runs"].as_array().unwrap().iter().map(|run| run["validation_error"].as_f64().unwrap() / 2.0);
    assert!((arm["ours"]["mean"].as_f64().unwrap() - 100.0 * (mean.sum::<f64>() - together)).abs() < 1e-9);
    let (text, grid) = reproduce("relu-vs-tanh", "1");
    contains(&text, &["no number, for what is said below; published: 6", "at most 2 of 100 epochs"]);
    for arm in grid["arms"].as_array().unwrap() {
        let tried = arm["grid"].as_array().unwrap();
        // A rate at which the loss was not finite has no error.
        let error = |tried: &Value| tried[1].as_f64().unwrap_or(f64::INFINITY);
        let least = tried.iter().min_by(|a, b| error(a).total_cmp(&error(b))).unwrap();
        assert_eq!((tried.len(), &arm["rate"]), (4, &least[0]), "{arm}");
    }
    assert_eq!(grid["target"], 0.25);
}
