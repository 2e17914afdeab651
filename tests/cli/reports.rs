//! What is drawn and written of runs: curves, inspections, reports.

use std::fs;

use serde_json::json;

use crate::cli::{Place, contains, tiny};

fn trained() -> Place {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs", "--epochs", "3", "--lr", "0.03"]);
    place
}

#[test]
fn curves_are_drawn_in_the_terminal_and_in_files() {
    let place = trained();
    let text = place.ok(&["plot", "run"]);
    contains(&text, &["loss, nats by step", "training", "o validation", "top-1 error", "└──"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80) && !text.contains('\u{1b}'), "{text}");
    place.train("other", &["--data", "blobs", "--epochs", "1", "--lr", "0.001"]);
    let both = ["plot", "run", "other", "--curves", "loss,ratio,rate", "--over", "epoch", "--log"];
    contains(&place.ok(&both), &["run training", "other validation", "run conv1", "learning rate by epoch"]);
    place.ok(&[&both[..], &["--out", "x.svg"]].concat());
    let svg = String::from_utf8(place.read("x.svg")).unwrap();
    assert!(svg.starts_with("<svg xmlns=") && svg.contains("<title>run training: "), "{}", &svg[..200]);
    place.ok(&[&both[..], &["--out", "x.png"]].concat());
    let picture = image::load_from_memory(&place.read("x.png")).unwrap();
    assert_eq!((picture.width(), picture.height()), (1568, 1968), "twice the pixels of three charts and the edge");
    place.ok(&[&both[..], &["--out", "x.png"]].concat());
    place.refuses(&["plot", "run", "--out", "x.onnx"], &["x.onnx", ".png"]);
    place.refuses(&["plot", "run", "--out", "run/metrics.jsonl"], &["metrics.jsonl", "ends in .png"]);
    place.refuses(&["plot", "blobs"], &["blobs: is no run"]);
    // Of a run whose first line is being written there is nothing to see yet.
    place.write("new/metrics.jsonl", r#"{"kind":"step","st"#);
    place.refuses(&["plot", "new"], &["new: holds no step yet"]);
}

/// The speed in the table of validations is that of the training before them.
#[test]
fn metrics_say_whose_speed_they_tell() {
    let place = Place::new();
    let line = |kind: &str, speed: u32| {
        format!(
            r#"{{"kind":"{kind}","step":1,"epoch":1,"loss":1.0,"top1_error":0.5,"top5_error":0.1,"images_per_second":{speed}}}"#
        )
    };
    place.write("run/metrics.jsonl", format!("{}\n{}\n", line("step", 123), line("validation", 999)));
    let text = place.ok(&["metrics", "run"]);
    contains(&text, &["images/s are those of training", "123"]);
    assert!(!text.contains("999"), "{text}");
    assert!(place.ok(&["metrics", "run", "--format", "csv"]).contains("validation,1,1,1.0,0.5,0.1,0.0,0.0,999"));
}

#[test]
fn a_verdict_counts_epochs_in_parts() {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs", "--epochs", "3", "--steps", "25"]);
    place.ok(&["report", "run", "--devices", "cpu", "--out", "x.html", "--images", "0", "--timed", "0"]);
    contains(&String::from_utf8(place.read("x.html")).unwrap(), &["After 2.5 epochs, 25 steps"]);
    place.train("short", &["--data", "blobs", "--steps", "5"]);
    place.ok(&["report", "short", "--devices", "cpu", "--out", "y.html", "--images", "0", "--timed", "0"]);
    contains(&String::from_utf8(place.read("y.html")).unwrap(), &["After 0.5 epochs, 5 steps"]);
}

#[test]
fn an_inspection_counts_dead_units_and_says_what_is_unusual() {
    let place = trained();
    let found = place.json(&["inspect", "run", "--json", "--devices", "cpu"]);
    assert_eq!((&found["step"], &found["images"]), (&30.into(), &50.into()));
    let tensors = found["tensors"].as_array().unwrap();
    assert_eq!(
        (tensors.len(), &tensors[0]["name"]),
        (13, &"conv1.a.bias".into()),
        "those of both towers, without momentum"
    );
    assert!(tensors.iter().all(|tensor| tensor["ratio"].as_f64().unwrap() > 0.0), "{tensors:?}");
    let activity = found["activity"].as_array().unwrap();
    let units: Vec<_> =
        activity.iter().map(|layer| (layer["layer"].as_str().unwrap(), layer["units"].as_u64())).collect();
    assert_eq!(units, [("conv1", Some(8)), ("fc2", Some(16))]);
    let text = place.ok(&["inspect", "run", "--devices", "cpu"]);
    contains(&text, &["conv1.a.weights", "3×3×3×4", "never respond", "after 30 steps"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    // A layer whose biases let nothing through.
    let path = place.path("run/last.safetensors");
    let mut checkpoint = alexnet::checkpoint::Checkpoint::read(&path).unwrap();
    for tower in ["a", "b"] {
        let name = format!("fc2.{tower}.bias");
        let shape = checkpoint.tensors[&name].shape().to_vec();
        checkpoint.tensors.insert(name, alexnet::tensor::Tensor::new(shape, vec![-1e6; 8]));
    }
    checkpoint.save(&place.path("dead.safetensors")).unwrap();
    let data = ["--data", "blobs", "--devices", "cpu"];
    let text = place.ok(&[&["inspect", "dead.safetensors"], &data[..]].concat());
    contains(&text, &["fc2: is dead: none of its 16 units responds to any of 50 images"]);
    let none = place.json(&["inspect", "dead.safetensors", "--images", "0", "--json"]);
    assert_eq!(none["images"], 0);
}

#[test]
fn a_report_is_one_page_with_everything_in_it() {
    let place = trained();
    let report = ["report", "run", "--devices", "cpu", "--out", "x.html", "--pictures", "pictures"];
    place.ok(&report);
    let html = String::from_utf8(place.read("x.html")).unwrap();
    contains(
        &html,
        &[
            "After 3 epochs, 30 steps",
            "Learning",
            "Mistakes",
            "Errors by class",
            "spot 3",
            "Weights",
            "Time",
            "Placement",
        ],
    );
    contains(
        &html,
        &["Configuration", "model = &quot;tiny.toml&quot;", "tiny.toml", "cpu", "fc2.b.weights.a", "conv1"],
    );
    assert!(!html.contains("<script") && !html.contains("http"), "it asks for nothing");
    let pictures = place.list("pictures");
    for name in ["loss", "error", "ratio", "confusion", "worst", "predictions", "alike", "filters", "placement"] {
        assert!(pictures.contains(&format!("{name}.svg")) && pictures.contains(&format!("{name}.png")), "{pictures:?}");
    }
    // The placement is the run's, wherever the report is made.
    contains(&html, &["on the devices of the run", "Of best.safetensors, after"]);
    let mut metrics = place.metrics("run");
    let begun = &mut metrics[0]["begun"];
    let cpu = begun["devices"][0].as_str().unwrap().strip_prefix("a, b: ").unwrap().to_owned();
    begun["devices"] = json!(["a: Voodoo (driver 7)", "b: Rage (driver 8)"]);
    begun["commit"] = json!("0123abcd");
    let lines: Vec<_> = metrics.iter().map(ToString::to_string).collect();
    place.write("run/metrics.jsonl", lines.join("\n") + "\n");
    place.ok(&["report", "run", "--devices", "cpu", "--out", "e.html", "--images", "0"]);
    let html = String::from_utf8(place.read("e.html")).unwrap();
    contains(&html, &[">Voodoo (driver 7)</text>", ">Rage (driver 8)</text>", "KiB</text>", "commit 0123abcd"]);
    contains(&html, &[&format!("as measured for this report on {cpu}")]);
    // Again, over what it wrote, without the images.
    fs::rename(place.path("blobs"), place.path("away")).unwrap();
    place.ok(&report);
    let html = String::from_utf8(place.read("x.html")).unwrap();
    contains(&html, &["the images of the run are not there any more"]);
    let whole = place.read("run/best.safetensors");
    place.write("run/best.safetensors", &whole[..whole.len() - 9]);
    place.ok(&["report", "run", "--devices", "cpu", "--out", "y.html", "--images", "0", "--timed", "0"]);
    let html = String::from_utf8(place.read("y.html")).unwrap();
    contains(
        &html,
        &["a checkpoint of the run is not shown: ", "best.safetensors", "Of last.safetensors, after 30 steps"],
    );
    place.write("run/last.safetensors", &whole[..whole.len() - 9]);
    place.write("run/best.safetensors", &whole);
    place.ok(&["report", "run", "--devices", "cpu", "--out", "y.html", "--images", "0", "--timed", "0"]);
    let html = String::from_utf8(place.read("y.html")).unwrap();
    contains(&html, &["a checkpoint of the run is not shown: ", "last.safetensors", "Of best.safetensors, after"]);
    place.ok(&["report", "run", "--devices", "cpu", "--out", "y.html", "--images", "0", "--timed", "0"]);
    place.write("alone/metrics.jsonl", place.read("run/metrics.jsonl"));
    place.ok(&["report", "alone", "--devices", "cpu", "--out", "alone.html"]);
    contains(&String::from_utf8(place.read("alone.html")).unwrap(), &["the run has no checkpoint to show", "Learning"]);
    place.refuses(&["report", "run", "--out", "tiny.toml"], &["tiny.toml", "ends in .html"]);
}

#[test]
fn a_report_of_several_runs_compares_them() {
    let place = trained();
    let name = "<b>run & co";
    let arguments = tiny(name, "cpu", &["--data", "blobs", "--epochs", "1", "--lr", "0.001"]);
    place.ok(&arguments);
    place.ok(&["report", "run", name, "--out", "x.html"]);
    let html = String::from_utf8(place.read("x.html")).unwrap();
    contains(
        &html,
        &[
            "The least validation error is that of run",
            "Settings that differ",
            "network.train.rate",
            "&lt;b&gt;run &amp; co",
        ],
    );
    assert!(!html.contains("<b>"), "names are text");
    #[cfg(unix)]
    {
        let name = "a\u{1b}[31m\nb";
        fs::rename(place.path("run"), place.path(name)).unwrap();
        for command in [&["metrics", name][..], &["metrics", name, "--format", "csv"], &["plot", name, "<b>run & co"]] {
            let text = place.ok(command);
            assert!(text.contains(r"a\u001b[31m\u000ab") && !text.contains('\u{1b}'), "{text}");
        }
        place.refuses(&["metrics", "x\ny"], &["x/u000ay: is no run"]);
    }
}

/// The messages in the event files of `run`, whose checksums are right.
fn events(place: &Place, run: &str) -> Vec<Vec<u8>> {
    let masked = |bytes: &[u8]| crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8);
    let mut messages = Vec::new();
    for name in place.list(run).iter().filter(|name| name.starts_with("events.out.tfevents.")) {
        let bytes = place.read(&format!("{run}/{name}"));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
            let checksum = |at: usize| u32::from_le_bytes(rest[at..at + 4].try_into().unwrap());
            let message = &rest[12..12 + length];
            assert_eq!((checksum(8), checksum(12 + length)), (masked(&rest[..8]), masked(message)), "{name}");
            messages.push(message.to_vec());
            rest = &rest[12 + length + 4..];
        }
    }
    messages
}

#[test]
fn event_files_have_every_step_and_do_not_change_the_run() {
    let place = trained();
    let arguments = ["--data", "blobs", "--epochs", "3", "--lr", "0.03", "--tensorboard"];
    place.train("board", &arguments);
    assert_eq!(place.read("board/last.safetensors"), place.read("run/last.safetensors"));
    let holds = |message: &Vec<u8>, tag: &str| message.windows(tag.len()).any(|part| part == tag.as_bytes());
    let count = |tag: &str| events(&place, "board").iter().filter(|message| holds(message, tag)).count();
    let tags = [
        "loss/training",
        "loss/validation",
        "weights/conv1.a.weights",
        "filters/conv1.b.weights",
        "\n\u{5}batch",
        "rate/weights",
    ];
    assert_eq!(tags.map(count), [30, 3, 3, 3, 1, 4], "each step, each epoch, once; rates at their start too");
    assert_eq!((count("brain.Event:2"), count("configuration")), (1, 1));
    place.ok(&["train", "--resume", "board", "--epochs", "4", "--tensorboard"]);
    assert_eq!((count("brain.Event:2"), count("loss/training")), (2, 40));
    place.refuses(&["train", "--tui"], &["--tui", "expected a terminal"]);
}
