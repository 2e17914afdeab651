//! What is printed beside results: names from outside, commands to copy.

use crate::cli::{Place, contains, save_image, tiny};

#[cfg(unix)]
#[test]
fn names_of_files_and_classes_steer_no_terminal() {
    let place = Place::new();
    for split in ["train", "val"] {
        for class in ["a\u{1b}[31mred", "b"] {
            save_image(&place.path(&format!("images/{split}/{class}/1.png")), 12, 12, [90; 3]);
        }
    }
    place.write("images/train/b/\u{1b}]0;title\u{7}.png", "no image");
    let trained = place.command(&tiny("run", "cpu", &["--data", "images"])).output().unwrap();
    let classified = place.command(&["classify", "run", "images/val/b/1.png", "--devices", "cpu"]).output().unwrap();
    let failed = place.command(&["describe", "\u{1b}[2J"]).output().unwrap();
    let raw = [trained, classified, failed].map(|output| [output.stdout, output.stderr].concat()).concat();
    let said = String::from_utf8(raw).unwrap();
    assert!(!said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
    contains(&said.replace('\\', "%"), &["%u001b]0;title%u0007.png", "a%u001b[31mred", "%u001b[2J"]);
}

#[cfg(unix)]
#[test]
fn paths_are_quoted_in_commands_to_copy() {
    let place = Place::new();
    for split in ["train", "val"] {
        for class in ["a", "b"] {
            save_image(&place.path(&format!("images/{split}/{class}/1.png")), 12, 12, [90; 3]);
        }
    }
    let prepared = place.ok(&["prepare", "images", "--out", "my shards", "--size", "8"]);
    contains(&prepared, &["alexnet train --data 'my shards'"]);
}

/// A name with a line break is one cell of a table, and one line of an answer.
#[cfg(unix)]
#[test]
fn names_with_line_breaks_stay_on_one_line() {
    let place = Place::new();
    for split in ["train", "val"] {
        for class in ["a\nb", "c"] {
            save_image(&place.path(&format!("images/{split}/{class}/1.png")), 12, 12, [90; 3]);
        }
    }
    place.train("run", &["--data", "images"]);
    let scored = place.ok(&["eval", "run", "--devices", "cpu"]);
    let classified = place.ok(&["classify", "run", "images/val/a\nb/1.png", "--devices", "cpu"]);
    let plain = |text: String| text.replace('\\', "%");
    contains(&plain(scored), &["a%u000ab"]);
    let classified = plain(classified);
    contains(&classified, &["images/val/a%u000ab/1.png\n", "%  a%u000ab\n"]);
    assert_eq!(classified.lines().count(), 3, "{classified}");
}
