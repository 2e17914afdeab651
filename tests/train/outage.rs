//! Images that cannot be read for a while, and images that are broken: the first are waited for, the second left out.

use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use crate::cli::{Place, contains, refused, save_image, tiny};

/// A place with 20 training images and 2 validation images of each of six classes.
fn place() -> Place {
    let place = Place::new();
    for class in 0..6_u8 {
        for number in 0..22 {
            let split = if number < 20 { "train" } else { "val" };
            let path = place.path(&format!("images/{split}/c{class}/{number}.png"));
            save_image(&path, 12, 12, [40 * class, 9 * number, 255 - 40 * class]);
        }
    }
    place
}

fn steps(place: &Place) -> usize {
    let text = fs::read_to_string(place.path("run/metrics.jsonl")).unwrap_or_default();
    text.lines().filter(|line| line.contains("\"kind\":\"step\"")).count()
}

#[test]
fn a_folder_that_is_away_for_a_while_costs_no_image() {
    let place = place();
    let mut train = place.command(&tiny("run", "cpu", &["--data", "images", "--batch", "8", "--epochs", "60"]));
    let child = train.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while steps(&place) < 20 {
        sleep(Duration::from_millis(5));
    }
    let [train, away] = ["images/train", "images/away"].map(|name| place.path(name));
    fs::rename(&train, &away).unwrap();
    sleep(Duration::from_millis(700));
    fs::rename(&away, &train).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(steps(&place), 60 * 15);
    let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!said.contains("skipped") && !warned.contains("skipped"), "{said}{warned}");
    contains(&warned, &["images/train/c", "cannot be read", "trying again", "images can be read again"]);
}

#[test]
fn too_many_broken_images_stop_a_run_which_goes_on_if_they_may_be() {
    let place = place();
    for number in 0..12 {
        place.write(&format!("images/train/c{}/broken{number}.png", number % 6), "no image");
    }
    let arguments = tiny("run", "cpu", &["--data", "images", "--batch", "4", "--epochs", "2"]);
    let output = place.command(&arguments).output().unwrap();
    let parts =
        ["--resume run", "6 of 132 training images", "more than 1 %", "broken", "is not a JPEG", "--max-broken"];
    refused(&output, 1, &parts);
    let done = steps(&place);
    assert!(done > 0 && place.path("run/last.safetensors").is_file(), "{done} steps are lost");
    let said = place.ok(&["train", "--resume", "run", "--max-broken", "10"]);
    contains(&said, &["12 images were skipped:"]);
    assert_eq!(steps(&place), 60);
    let again = place.command(&tiny("other", "cpu", &["--data", "images", "--max-broken", "101"])).output().unwrap();
    refused(&again, 2, &["--max-broken", "0 to 100"]);
}
