//! Layouts of data sets as people have them, and what is said of files that are not used.

use std::fs;

use serde_json::Value;

use crate::cli::{Place, contains, refused, save_image, tiny};

const IDS: [&str; 6] = ["n01440764", "n02102040", "n02979186", "n03000684", "n03888257", "n03445777"];

/// A place with a folder of 4 training images and 1 validation image of each of six classes.
fn place() -> Place {
    let place = Place::new();
    for (class, id) in (0..).zip(IDS) {
        let colour = [40 * class, 200, 255 - 40 * class];
        (0..4).for_each(|i| save_image(&place.path(&format!("images/train/{id}/{i}.png")), 12, 12, colour));
        save_image(&place.path(&format!("images/val/{id}/0.png")), 12, 12, colour);
    }
    place
}

/// Standard error of a command that succeeds.
#[track_caller]
fn warnings(place: &Place, arguments: &[&str]) -> String {
    let output = place.command(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn eval(place: &Place, more: &[&str]) -> Value {
    place.json(&[&["eval", "run", "--devices", "cpu", "--json"], more].concat())
}

#[test]
fn what_is_not_used_is_told_in_a_line() {
    let place = place();
    for name in ["train/n01440764/list.txt", "train/n01440764/noise", "train/n02102040/x.avif", "val/loose.png"] {
        place.write(&format!("images/{name}"), "text");
    }
    place.write("images/val/n02102040/.DS_Store", "");
    let said = warnings(&place, &tiny("run", "cpu", &["--data", "images", "--steps", "1", "--batch", "30"]));
    contains(&said, &["passed over: 3 that are not called like images", "list.txt"]);
    contains(&said, &["passed over: 1 that lie loose", "images/val/loose.png"]);
    assert_eq!(said.matches("passed over").count(), 2, "{said}");
    contains(&said, &["a minibatch of 30 images is more than the 24 to train on"]);
    let prepared = warnings(&place, &["prepare", "images", "--out", "shards", "--size", "16"]);
    contains(&prepared, &["passed over: 3", "passed over: 1"]);
}

#[cfg(unix)]
#[test]
fn pipes_and_links_to_nothing_are_passed_over_alike() {
    let place = place();
    let pipe = |name: &str| {
        let made = std::process::Command::new("mkfifo").arg(place.path(name)).status();
        assert!(made.unwrap().success());
    };
    pipe("images/train/n01440764/pipe.jpg");
    std::os::unix::fs::symlink("nowhere", place.path("images/train/n01440764/link.jpg")).unwrap();
    fs::create_dir(place.path("images/train/n01440764/folder.jpg")).unwrap();
    for arguments in [
        tiny("run", "cpu", &["--data", "images", "--steps", "1"]),
        vec!["prepare", "images", "--out", "shards", "--size", "16"],
    ] {
        let said = warnings(&place, &arguments);
        contains(
            &said,
            &["1 that are pipes or devices", "1 that are links to nothing", "1 that are called like images"],
        );
        assert!(!said.contains("skipped"), "{said}");
    }
    pipe("x.jpg");
    let output = place.command(&["classify", "run", "x.jpg", "--devices", "cpu"]).output().unwrap();
    refused(&output, 1, &["x.jpg: is a folder, a pipe or a device"]);
    std::os::unix::fs::symlink("/mnt/nowhere", place.path("images/train/n09999999")).unwrap();
    place.refuses(&tiny("other", "cpu", &["--data", "images"]), &["train/n09999999: is a link to nothing"]);
}

#[test]
fn a_run_is_scored_on_its_own_data_a_part_of_it_or_a_flat_list() {
    let place = place();
    place.train("run", &["--data", "images", "--epochs", "20"]);
    let own = eval(&place, &[]);
    assert_eq!((&own["images"], eval(&place, &["--data", "images"])), (&6.into(), own.clone()));
    assert_eq!(eval(&place, &["--data", "images"])["loss"], own["loss"]);

    // Without train/, flat, in another order, under the names that people read.
    let words = ["parachute, chute", "English springer, English springer spaniel"];
    for (id, name) in [("n03888257", words[0]), ("n02102040", words[1])] {
        fs::create_dir_all(place.path(&format!("part/val/{name}"))).unwrap();
        fs::copy(place.path(&format!("images/val/{id}/0.png")), place.path(&format!("part/val/{name}/0.png"))).unwrap();
    }
    assert_eq!(eval(&place, &["--data", "part"])["images"], 2);
    let said = warnings(&place, &["eval", "run", "--data", "part", "--devices", "cpu"]);
    contains(&said, &["2 classes of the data are matched by WordNet id with 6 of the network", "is n02102040"]);
    let mut list = String::new();
    for (number, id) in IDS.iter().enumerate() {
        fs::create_dir_all(place.path("flat/val/images")).unwrap();
        let from = place.path(&format!("images/val/{id}/0.png"));
        fs::copy(from, place.path(&format!("flat/val/images/val_{number}.png"))).unwrap();
        list.extend(["val_", &number.to_string(), ".png\t", id, "\t0\t0\t9\t9\n"]);
    }
    place.write("flat/val/val_annotations.txt", list);
    let flat = eval(&place, &["--data", "flat"]);
    assert_eq!((&flat["images"], &flat["top1_error"]), (&own["images"], &own["top1_error"]));

    // Another class is refused.
    save_image(&place.path("part/val/zebra crossing/0.png"), 12, 12, [0; 3]);
    let wrong = ["eval", "run", "--data", "part", "--devices", "cpu"];
    place.refuses(&wrong, &["part", "3 classes", "the 6 classes (n01440764"]);
}

#[test]
fn synsets_are_read_by_their_words_or_those_of_a_file() {
    let place = place();
    place.train("run", &["--data", "images", "--epochs", "20"]);
    let classify = ["classify", "run", "images/val/n03888257/0.png", "--devices", "cpu"];
    contains(&place.ok(&classify), &["%  n03888257 parachute, chute"]);
    place.write("names.txt", "tench\nspaniel\ncassette\nsaw\nball\nfallschirm\n");
    let named = place.ok(&[&classify[..], &["--classes", "names.txt"]].concat());
    contains(&named, &["%  fallschirm"]);
    assert!(!named.contains("%  n0"), "{named}");
    let eval = place.ok(&["eval", "run", "--devices", "cpu", "--classes", "names.txt", "--predictions", "p.csv"]);
    contains(&eval, &["6 validation images"]);
    contains(&String::from_utf8(place.read("p.csv")).unwrap(), &["fallschirm"]);

    place.write("words.txt", IDS.map(|id| format!("{id} the word of {id}\n")).concat());
    place.ok(&tiny("named", "cpu", &["--data", "images", "--classes", "words.txt", "--epochs", "1"]));
    let state = alexnet::checkpoint::Checkpoint::open(&place.path("named")).unwrap().state;
    assert_eq!(state.classes[0], "n01440764 the word of n01440764");
    place.ok(&["train", "--resume", "named", "--epochs", "2"]);
    place.ok(&["prepare", "images", "--out", "shards", "--size", "16", "--classes", "words.txt"]);
    contains(&String::from_utf8(place.read("shards/classes.txt")).unwrap(), &["n03888257 the word of n03888257"]);
    place.write("short.txt", "one\ntwo\n");
    place.refuses(&tiny("x", "cpu", &["--data", "images", "--classes", "short.txt"]), &["short.txt: names 0 of the 6"]);
}

#[test]
fn a_run_on_data_by_a_relative_path_goes_on_from_elsewhere() {
    let place = place();
    place.train("run", &["--data", "images", "--steps", "2"]);
    fs::create_dir(place.path("elsewhere")).unwrap();
    let from = |arguments: &[&str]| place.command(arguments).current_dir(place.path("elsewhere")).output().unwrap();
    let output = from(&["train", "--resume", "../run", "--steps", "3"]);
    assert!(output.status.success(), "{output:?}");
    let output = from(&["eval", "../run", "--devices", "cpu"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_class_that_two_lines_would_name_is_not_prepared() {
    let place = place();
    fs::rename(place.path("images/train/n01440764"), place.path("images/train/a\nb")).unwrap();
    fs::rename(place.path("images/val/n01440764"), place.path("images/val/a\nb")).unwrap();
    place.refuses(&["prepare", "images", "--out", "shards"], &["images: class \"a", "has a line break"]);
    place.train("run", &["--data", "images", "--steps", "1"]);
}

#[test]
fn data_that_changed_since_the_checkpoint_are_told() {
    let place = place();
    place.train("run", &["--data", "images", "--epochs", "1"]);
    assert!(!warnings(&place, &["train", "--resume", "run", "--epochs", "2"]).contains("changed"));
    fs::remove_file(place.path("images/train/n02979186/3.png")).unwrap();
    let said = warnings(&place, &["train", "--resume", "run", "--epochs", "3"]);
    contains(&said, &["the data have changed since the checkpoint: 30 images then, 29 now, in 1 classes"]);
    contains(&said, &["n02979186: 5 images then, 4 now"]);
}
