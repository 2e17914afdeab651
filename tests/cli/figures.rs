//! The paper's figures and tables as commands: filters, predictions, similar images, features, files of `eval`,
//! gradients.

use crate::cli::{Place, contains, refused, save_image};

/// A run on the blobs whose checkpoints are kept.
fn trained() -> Place {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs", "--epochs", "3", "--lr", "0.03", "--keep", "5"]);
    place
}

/// A folder `own` of classes that differ in red, each of `count` images for training and the same for validation.
fn colours(place: &Place, classes: &[(&str, u8)], count: u8) {
    for (class, red) in classes {
        for i in 0..count {
            for part in ["train", "val"] {
                save_image(&place.path(&format!("own/{part}/{class}/{i}.png")), 10, 10, [*red, 20 * i, 60]);
            }
        }
    }
}

#[test]
fn filters_are_drawn_tower_by_tower() {
    let place = trained();
    place.ok(&["filters", "run", "--out", "f.svg"]);
    let svg = String::from_utf8(place.read("f.svg")).unwrap();
    contains(&svg, &["tower A", "tower B", "filter 3 of tower B", "8 filters of conv1, 3×3 pixels"]);
    assert_eq!(svg.matches("<image ").count(), 8);
    place.ok(&["filters", "run/last.safetensors", "--layer", "conv1", "--contrast", "filter", "--out", "f.png"]);
    let picture = image::load_from_memory(&place.read("f.png")).unwrap();
    assert_eq!(picture.width(), 2 * (4 * 47 - 3 + 24), "four filters in a row, and the edge");
    place.ok(&["filters", "run", "--over-training", "--out", "o.svg"]);
    let svg = String::from_utf8(place.read("o.svg")).unwrap();
    contains(&svg, &["conv1 after step 10", "change from step 10 to 20", "change from step 20 to 30"]);
    place.refuses(&["filters", "run", "--layer", "fc2", "--out", "x.png"], &["no convolution fc2", "has conv1"]);
    place.refuses(&["filters", "run", "--out", "tiny.toml"], &["tiny.toml"]);
    place.train("alone", &["--data", "blobs", "--epochs", "1"]);
    place.refuses(&["filters", "alone", "--over-training", "--out", "x.png"], &["found 0 checkpoints", "--keep"]);
}

/// A convolution that sees both towers, and classes that the towers share, not evenly.
const CROSSED: &str = r#"
about = "towers that meet twice"
input = { channels = 3, size = 8, stored = 10, scale = [0.015625, 0.015625, 0.015625] }
towers = 2
layers = [
  { name = "conv1", conv = { filters = 8, size = 3, pad = 1 }, weights = 0.2, then = ["relu"] },
  { name = "conv2", conv = { filters = 4, size = 3, pad = 1 }, sees = "both", weights = 0.1, then = ["relu"] },
  { name = "fc3", fc = 3, sees = "both", on = "both", weights = 0.1, then = ["softmax"] },
]

[train]
batch = 6
epochs = 3
rate = 0.01
"#;

#[test]
fn maps_of_both_towers_are_drawn_and_classes_that_they_share_are_told_without_padding() {
    let place = Place::new();
    place.write("crossed.toml", CROSSED);
    colours(&place, &[("dark", 10), ("dim", 90), ("light", 250)], 4);
    place.ok(&["train", "--model", "crossed.toml", "--data", "own", "--keep", "5", "--devices", "cpu", "--out", "run"]);
    place.ok(&["filters", "run", "--layer", "conv2", "--out", "f.svg"]);
    let svg = String::from_utf8(place.read("f.svg")).unwrap();
    contains(&svg, &["4 filters of conv2", "a column for each of 8 maps", "tower B"]);
    place.ok(&["filters", "run", "--layer", "conv2", "--over-training", "--out", "o.svg"]);
    let told = place.ok(&["features", "run", "--layer", "fc3", "--devices", "cpu", "--out", "f.npy"]);
    contains(&told, &["3 features of fc3 for each of 12 images"]);
    place.ok(&["eval", "run", "--devices", "cpu", "--predictions", "p.safetensors"]);
    let (logits, file) = (place.read("f.npy"), place.read("p.safetensors"));
    let logits: Vec<f32> = bytemuck::pod_collect_to_vec(&logits[logits.len() - 12 * 3 * 4..]);
    let probabilities = alexnet::files::TensorFile::parse(&file).unwrap().float32("probabilities").unwrap();
    for (logits, probabilities) in logits.chunks(3).zip(probabilities.values().chunks(3)) {
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let share = |logit: &f32| (logit - most).exp() / logits.iter().map(|logit| (logit - most).exp()).sum::<f32>();
        assert!(logits.iter().zip(probabilities).all(|(logit, p)| (share(logit) - p).abs() < 1e-5), "{logits:?}");
    }
    let sure = probabilities.values().iter().filter(|p| **p > 0.999).count();
    assert!(sure < 12, "probabilities tell logits apart: {probabilities:?}");
}

#[test]
fn predictions_are_drawn_of_data_and_of_single_files() {
    let place = trained();
    let draw = |more: &[&str]| {
        place.ok(&[&["predictions", "run", "--devices", "cpu", "--out", "p.svg"], more].concat());
        String::from_utf8(place.read("p.svg")).unwrap()
    };
    let svg = draw(&["--errors-first", "--count", "3"]);
    assert_eq!(svg.matches("<image ").count(), 3);
    contains(&svg, &["spot ", "Predictions: 3 images with the best 5 classes"]);
    save_image(&place.path("a red one.png"), 12, 12, [200, 10, 10]);
    let svg = draw(&["a red one.png"]);
    contains(&svg, &["a red one.png", "1 images with the best 5 classes of each."]);
    place.write("broken.png", b"\x89PNG\r\n\x1a\nbroken");
    let said = place.ok(&["predictions", "run", "broken.png", "a red one.png", "--devices", "cpu", "--out", "p.svg"]);
    contains(&said, &["1 image was skipped", "broken.png"]);
    place.refuses(&["predictions", "run", "none.png", "--out", "p.svg"], &["none.png: cannot be read"]);
    place.refuses(&["predictions", "run", "broken.png", "--out", "p.svg"], &["none of the images"]);
    for command in ["predictions", "similar"] {
        place.refuses(&[command, "run", "a red one.png", "--out", "a red one.png"], &["a red one.png", "to be read"]);
        let both = [command, "run", "a red one.png", "--count", "1", "--out", "p.svg"];
        refused(&place.command(&both).output().unwrap(), 2, &["--count"]);
    }
    place.refuses(&["predictions", "run", "--model", "tiny.toml", "--out", "p.svg"], &["run", "leave --model out"]);
    place.refuses(&["predictions", "run", "--out", "nowhere/p.svg"], &["nowhere/p.svg: its folder does not exist"]);
}

#[test]
fn an_image_is_most_like_itself() {
    let place = trained();
    let similar = ["similar", "run", "--devices", "cpu", "--count", "2", "--top", "4"];
    let found = place.json(&[&similar[..], &["--json", "--out", "s.svg"]].concat());
    let svg = String::from_utf8(place.read("s.svg")).unwrap();
    assert_eq!(svg.matches("<image ").count(), 10);
    for query in found.as_array().unwrap() {
        let near = query["similar"].as_array().unwrap();
        let distances: Vec<f64> = near.iter().map(|near| near["distance"].as_f64().unwrap()).collect();
        assert!(distances.len() == 4 && distances.is_sorted() && distances[0] > 0.0, "{query}");
    }
    // Among the images of its own data a file finds itself.
    colours(&place, &[("dark", 10), ("light", 250)], 3);
    place.train("own-run", &["--data", "own", "--epochs", "1"]);
    let query = "own/train/light/1.png";
    let found = place.json(&["similar", "own-run", query, "--layer", "conv1.pool", "--devices", "cpu", "--json"]);
    let first = &found[0]["similar"][0];
    assert_eq!((&first["distance"], &first["class"]), (&0.0.into(), &"light".into()), "{found}");
    place.refuses(&["similar", "own-run", "--layer", "fc9"], &["no layer fc9", "conv1.pool", "fc2"]);
}

#[test]
fn features_are_the_same_in_every_format() {
    let place = trained();
    let write =
        |out: &str, more: &[&str]| place.ok(&[&["features", "run", "--devices", "cpu", "--out", out], more].concat());
    contains(&write("f.npy", &[]), &["16 features of fc2 for each of 50 images"]);
    write("f.csv", &[]);
    write("f.safetensors", &[]);
    write("f.csv", &[]); // over its own file
    let bytes = place.read("f.npy");
    let start = bytes.len() - 50 * 16 * 4;
    let floats = bytes[start..].chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let floats: Vec<f32> = floats.collect();
    assert!(floats.iter().any(|value| *value > 0.0));
    let text = String::from_utf8(place.read("f.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(text.as_bytes());
    assert_eq!(rows.headers().unwrap().iter().take(3).collect::<Vec<_>>(), ["image", "class", "0"]);
    let cells = rows.records().flat_map(|row| row.unwrap().iter().skip(2).map(str::to_owned).collect::<Vec<_>>());
    assert_eq!(cells.map(|cell| cell.parse::<f32>().unwrap()).collect::<Vec<_>>(), floats);
    let bytes = place.read("f.safetensors");
    let file = alexnet::files::TensorFile::parse(&bytes).unwrap();
    assert_eq!(file.float32("features").unwrap().values(), floats);
    assert_eq!(file.integers("labels").unwrap().0, [50]);
    contains(
        &write("t.npy", &["--training", "--layer", "conv1.pool"]),
        &["features of conv1.pool for each of 150 images"],
    );
    place.refuses(&["features", "run", "--out", "f.txt"], &["f.txt", ".npy, .safetensors or .csv"]);
}

#[test]
fn eval_writes_the_contest_s_file_and_what_becomes_of_each_class() {
    let place = trained();
    let eval = ["eval", "run", "--devices", "cpu", "--contest", "c.txt", "--per-class", "p.csv", "--confusion"];
    for matrix in ["m.csv", "m.png", "m.svg", "m.csv"] {
        place.ok(&[&eval[..], &[matrix]].concat());
    }
    let contest = String::from_utf8(place.read("c.txt")).unwrap();
    let numbers = |line: &str| line.split(' ').map(|number| number.parse::<usize>().unwrap()).collect::<Vec<_>>();
    assert_eq!(contest.lines().count(), 50);
    assert!(contest.lines().map(numbers).all(|best| best.len() == 5 && best.iter().all(|n| (1..=10).contains(n))));
    let scores = place.json(&["eval", "run", "--devices", "cpu", "--json"]);
    let matrix = String::from_utf8(place.read("m.csv")).unwrap();
    let mut rows = csv::Reader::from_reader(matrix.as_bytes());
    let rows: Vec<csv::StringRecord> = rows.records().map(Result::unwrap).collect();
    let right: usize = rows.iter().enumerate().map(|(i, row)| row[i + 1].parse::<usize>().unwrap()).sum();
    let error = 1.0 - right as f64 / 50.0;
    assert!((error - scores["top1_error"].as_f64().unwrap()).abs() < 1e-9, "{error}: {scores}");
    let table = String::from_utf8(place.read("p.csv")).unwrap();
    assert_eq!(
        (table.lines().count(), table.lines().next()),
        (11, Some("class,images,top1_error,top5_error,most_often_taken_for,times"))
    );
    place.refuses(&["eval", "run", "--contest", "p.csv"], &["p.csv", ".txt"]);
    place.refuses(&["eval", "run", "--confusion", "tiny.toml"], &["tiny.toml"]);
    place.write("ids.txt", "n01\n");
    let ids = ["eval", "run", "--devices", "cpu", "--contest", "c.txt", "--contest-ids"];
    place.refuses(&[&ids[..], &["ids.txt"]].concat(), &["--contest-ids", "ids.txt", "spot 0"]);
    place.refuses(&[&ids[..], &["none.txt"]].concat(), &["--contest-ids", "none.txt: cannot be read"]);
    place.refuses(&["eval", "run", "--per-class", "x.csv", "--predictions", "./x.csv"], &["x.csv", "another result"]);
}

/// The contest's lines are in the order of the names of files, whether these lie in folders or in shards, and an image
/// that cannot be decoded has its line.
#[test]
fn the_contest_s_file_has_a_line_for_each_image_by_name() {
    let place = Place::new();
    for (class, first) in [("dark", 0), ("light", 1)] {
        for i in 0..6_u8 {
            let colour = [120 * first + 20 * i, 40 * i, 250 - 30 * i];
            save_image(&place.path(&format!("own/train/{class}/{i}.png")), 10, 10, colour);
            save_image(&place.path(&format!("own/val/{class}/val_{}.png", 2 * i + first)), 10, 10, colour);
        }
    }
    place.train("run", &["--data", "own", "--epochs", "8", "--lr", "0.03"]);
    let eval = |data: &str| {
        let eval = ["eval", "run", "--devices", "cpu", "--data", data, "--contest", "c.txt"];
        let told = place.command(&eval).output().unwrap();
        (String::from_utf8(place.read("c.txt")).unwrap(), String::from_utf8_lossy(&told.stderr).into_owned())
    };
    place.ok(&["eval", "run", "--devices", "cpu", "--data", "own", "--predictions", "p.csv"]);
    let table = place.read("p.csv");
    let mut rows: Vec<(String, String)> = csv::Reader::from_reader(&table[..])
        .records()
        .map(|row| row.map(|row| (row[0].rsplit(['/', '\\']).next().unwrap().to_owned(), row[2].to_owned())).unwrap())
        .collect();
    rows.sort();
    let lines: Vec<&str> = rows.iter().map(|(_, best)| if best == "dark" { "1 2\n" } else { "2 1\n" }).collect();
    assert!(lines.contains(&"1 2\n") && lines.contains(&"2 1\n"), "{lines:?}");
    assert_eq!(eval("own").0, lines.concat());
    place.ok(&["prepare", "own", "--size", "10", "--raw", "--out", "shards"]);
    assert_eq!(eval("shards").0, lines.concat());
    place.write(&format!("own/val/{}/{}", if lines[10] == "1 2\n" { "dark" } else { "light" }, rows[10].0), b"broken");
    let (contest, told) = eval("own");
    contains(&told, &["c.txt: the numbers of 1 image", "are 0"]);
    assert_eq!(contest.lines().filter(|line| *line == "0 0").count(), 1);
    assert_eq!(contest.lines().count(), 12);
}

#[test]
fn gradients_of_a_network_are_checked_on_a_device() {
    let place = Place::new();
    let report = place.json(&["check", "--gradients", "tiny.toml", "--devices", "cpu", "--json"]);
    let tensors = report["tensors"].as_array().unwrap();
    assert_eq!((tensors.len(), &report["images"]), (13, &8.into()));
    for tensor in tensors {
        let number = |key: &str| tensor[key].as_f64().unwrap();
        assert!(number("norm") > 1e-3 && number("error") < 1e-4 && number("slope_error") < 0.02, "{tensor}");
    }
    let text = place.ok(&["check", "--gradients", "tiny.toml", "--devices", "cpu", "--images", "4"]);
    contains(&text, &["loss of 4 random images", "conv1.a.weights", "13 gradients are right on cpu"]);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    place.refuses(&["check", "--gradients", "nothing.toml", "--devices", "cpu"], &["nothing.toml"]);
}
