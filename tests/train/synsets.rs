//! Releases of ImageNet other than ILSVRC2012: tars by synset in a folder or in one tar, and ILSVRC-2010.

use std::fs;

use alexnet::data::Dataset;
use image::ImageFormat;

use crate::cli::{Place, contains};
use crate::release::{encoded, picture, release, tar};

/// Images of each class; the first has fewer than the 50 of which one is kept.
const EACH: [(&str, usize); 3] = [("n00000001", 3), ("n00000007", 101), ("n00000019", 50)];

fn class(id: &str, count: usize) -> Vec<u8> {
    let image = encoded(&picture(count), ImageFormat::Jpeg);
    tar((0..count).map(|i| (format!("{id}_{i}.JPEG"), image.clone())))
}

/// Names of the classes, and numbers of training and validation images by class.
fn counts(place: &Place, folder: &str) -> (Vec<String>, [Vec<usize>; 2]) {
    let data = Dataset::open(Some(&place.path(folder)), 16).unwrap();
    let of = |split: &alexnet::data::Split| {
        let mut counts = vec![0; data.classes.len()];
        (0..split.len()).for_each(|i| counts[split.label(i) as usize] += 1);
        counts
    };
    (data.classes.clone(), [of(&data.train), of(&data.validation)])
}

#[test]
fn a_release_of_tars_by_synset_is_prepared_whether_they_lie_apart_or_together() {
    let place = Place::new();
    for (id, count) in EACH {
        place.write(&format!("apart/{id}.tar"), class(id, count));
    }
    place.write("apart/words.txt", "n00000002\tanother\nn00000001\tfirst, one\nn00000019\tlast\n");
    let all = EACH.iter().rev().map(|(id, count)| (format!("{id}.tar"), class(id, *count)));
    let odd = [("n00000003.tar".to_owned(), tar([])), ("README".to_owned(), b"see the web".to_vec())];
    place.write("together/fall11_whole.tar", tar(all.chain(odd)));
    let wanted = [vec![2, 99, 49], vec![1, 2, 1]];
    let names = |names: [&str; 3]| names.map(str::to_owned).to_vec();
    let apart = names(["n00000001 first, one", "n00000007", "n00000019 last"]);
    assert_eq!(counts(&place, "apart"), (apart.clone(), wanted.clone()));
    assert_eq!(counts(&place, "together"), (names(EACH.map(|(id, _)| id)), wanted.clone()));
    for folder in ["apart", "together"] {
        let out = format!("{folder}-shards");
        let said = place.ok(&["prepare", folder, "--out", &out, "--size", "16"]);
        contains(&said, &["150 training and 4 validation images of 3 classes"]);
        assert_eq!(counts(&place, &out).1, wanted);
    }
    assert_eq!(counts(&place, "apart-shards").0, apart);
}

#[test]
fn the_release_of_2010_is_that_of_2012_under_other_names() {
    let place = release();
    place.ok(&["prepare", "release", "--out", "of-2012", "--size", "16"]);
    for (old, new) in [("img_train", "images_train"), ("img_val", "images_val")] {
        let path = |year: &str, name: &str| place.path(&format!("release/ILSVRC{year}_{name}.tar"));
        fs::rename(path("2012", old), path("2010", new)).unwrap();
    }
    place.ok(&["prepare", "release", "--out", "of-2010", "--size", "16"]);
    let same = |name: &str| place.read(&format!("of-2012/{name}")) == place.read(&format!("of-2010/{name}"));
    assert!(place.list("of-2012") == place.list("of-2010"));
    assert!(["train-000000.tar", "val-000000.tar", "classes.txt"].into_iter().all(same));
    fs::remove_file(place.path("release/ILSVRC2010_images_val.tar")).unwrap();
    let arguments = ["prepare", "release", "--out", "other", "--size", "16"];
    place.refuses(&arguments, &["ILSVRC2010_images_val.tar is missing"]);
}
