//! `prepare` from end to end: a release of ILSVRC2012 in the small, with its odd files, to shards, to a trained
//! network.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use alexnet::checkpoint::Checkpoint;
use alexnet::data::{Colours, Dataset, Image, Measured};
use image::{ImageFormat, RgbImage};
use safetensors::SafeTensors;
use tar::{Archive, EntryType};

use crate::cli::{Place, contains, refused, tiny};
use crate::release::{BROKEN, EACH, SYNSETS, VALIDATION, encoded, picture, release, tar, validation_label};

/// Arguments of `prepare` for the release.
fn prepare<'a>(out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["prepare", "release", "--out", out, "--size", "32", "--shard-images", "6"], more].concat()
}

/// Whether a file has this extension.
fn is(name: &str, extension: &str) -> bool {
    Path::new(name).extension().is_some_and(|found| found == extension)
}

/// Every file in a folder.
fn files(place: &Place, folder: &str) -> BTreeMap<String, Vec<u8>> {
    place.list(folder).into_iter().map(|name| (name.clone(), place.read(&format!("{folder}/{name}")))).collect()
}

/// The members of the shards of a split, in their order.
fn members(place: &Place, folder: &str, split: &str) -> Vec<(String, Vec<u8>)> {
    let shards = place.list(folder).into_iter().filter(|name| name.starts_with(split) && is(name, "tar"));
    let mut members = Vec::new();
    for shard in shards {
        let bytes = place.read(&format!("{folder}/{shard}"));
        for entry in Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!((entry.header().entry_type(), entry.header().mtime().unwrap()), (EntryType::Regular, 0));
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            members.push((entry.path().unwrap().to_str().unwrap().to_owned(), content));
        }
    }
    members
}

/// Keys, contents and labels of the samples of a split whose images have this extension.
fn samples(place: &Place, folder: &str, split: &str, extension: &str) -> Vec<(String, Vec<u8>, usize)> {
    let members = members(place, folder, split);
    let sample = |pair: &[(String, Vec<u8>)]| {
        let key = pair[0].0.strip_suffix(extension).unwrap_or_else(|| panic!("{}", pair[0].0)).to_owned();
        assert_eq!(pair[1].0, format!("{key}.cls").replace("..", "."));
        (key, pair[0].1.clone(), std::str::from_utf8(&pair[1].1).unwrap().parse().unwrap())
    };
    members.chunks(2).map(sample).collect()
}

/// What systems leave beside the archives of classes is passed over; anything else is told.
#[test]
fn litter_in_the_outer_archive_is_no_class() {
    let place = release();
    let path = "release/ILSVRC2012_img_train.tar";
    let litter = ["@eaDir/n02.tar", "__MACOSX/n02.tar", "._n02.tar", "notes.txt"];
    let litter = tar(litter.map(|name| (name.to_owned(), b"left by a system".to_vec())));
    // An archive ends in two empty blocks, or more of them.
    let classes = place.read(path);
    let end = classes.iter().rposition(|&byte| byte != 0).unwrap().next_multiple_of(512);
    place.write(path, [&classes[..end], &litter].concat());
    let output = place.command(&prepare("shards", &[])).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    contains(&String::from_utf8(output.stdout).unwrap(), &["42 training and 10 validation images"]);
    let told = String::from_utf8(output.stderr).unwrap();
    contains(&told, &["1 that are no archives of classes", "notes.txt"]);
    assert!(!told.contains("@eaDir") && !told.contains("__MACOSX") && !told.contains("._n02"), "{told}");
}

#[test]
fn images_under_keys_with_dots_are_told() {
    let place = Place::new();
    let image = || encoded(&picture(3), ImageFormat::Jpeg);
    let member = |name: &str, content: Vec<u8>| (name.to_owned(), content);
    let whole = || [member("a.jpg", image()), member("a.cls", b"0".to_vec())];
    let dotted = [member("my.photo.jpg", image()), member("my.photo.cls", b"0".to_vec())];
    place.write("dots/train-0.tar", tar(whole().into_iter().chain(dotted)));
    place.write("dots/val-0.tar", tar(whole()));
    let output = place.command(&tiny("run", "cpu", &["--data", "dots", "--steps", "1"])).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    contains(&String::from_utf8(output.stdout).unwrap(), &["1 training and 1 validation images"]);
    let parts = ["1 that are images without a class under their key", "first dot", "my.photo.jpg"];
    contains(&String::from_utf8(output.stderr).unwrap(), &parts);
}

#[test]
fn too_many_broken_images_stop_the_work_and_more_can_be_allowed() {
    let place = release();
    let parts = ["of 45 training images cannot be decoded, more than 0 %", "--max-broken PERCENT"];
    place.refuses(&prepare("shards", &["--max-broken", "0"]), &parts);
    contains(&place.ok(&prepare("shards", &["--max-broken", "50"])), &["3 images were skipped:"]);
    place.refuses(&prepare("shards", &["--max-broken", "0"]), &parts); // also those of shards that are there
}

#[test]
fn a_release_becomes_shards_that_other_programs_read() {
    let place = release();
    let said = place.ok(&prepare("shards", &[]));
    contains(
        &said,
        &[
            "45 training and 10 validation images of 5 classes go into 10 shards",
            "3 images were skipped:",
            "n05.tar/n05_1.JPEG: is truncated",
            "n02.tar/n02_4.JPEG: is not a JPEG or PNG image",
            "n04.tar/n04_0.JPEG: is empty",
            "42 training and 10 validation images in 10 shards",
            "alexnet train --data shards",
        ],
    );
    let mut names = vec!["classes.txt".to_owned(), "prepare.json".into(), "statistics.safetensors".into()];
    for (split, shards) in [("train", 8), ("val", 2)] {
        names.extend((0..shards).flat_map(|i| ["json", "tar"].map(|kind| format!("{split}-{i:06}.{kind}"))));
    }
    names.sort();
    assert_eq!(place.list("shards"), names, "nothing is left over");

    // What `tar` lists is what the crate reads.
    let list = Command::new("tar").arg("-tf").arg(place.path("shards/train-000001.tar")).output().unwrap();
    assert!(list.status.success() && list.stderr.is_empty(), "{list:?}");
    assert_eq!(String::from_utf8(list.stdout).unwrap().lines().count() % 2, 0);

    let training = samples(&place, "shards", "train", ".jpg");
    assert_eq!(training.len(), 5 * EACH - BROKEN);
    let stems: BTreeSet<&str> = training.iter().map(|(key, ..)| key.split_once('-').unwrap().1).collect();
    assert_eq!(stems.len(), training.len(), "every image once");
    for (key, jpeg, label) in &training {
        let (place, stem) = key.split_once('-').unwrap();
        assert!(place.len() == 8 && SYNSETS[*label] == &stem[..3], "{key} has label {label}");
        let image = Image::decode(key, jpeg).unwrap();
        assert_eq!((image.width, image.height), (32, 32));
    }
    assert!(!training.iter().map(|(.., label)| label).is_sorted(), "the classes are mixed");
    for (i, (key, _, label)) in samples(&place, "shards", "val", ".jpg").iter().enumerate() {
        assert_eq!(*key, format!("{i:08}-ILSVRC2012_val_{:08}", i + 1), "in the order of the names");
        assert_eq!(*label, validation_label(i + 1), "{key}");
    }
    let dataset = Dataset::open(Some(&place.path("shards")), 32).unwrap();
    assert_eq!(dataset.classes[2], "n05 thing n05, another word");
    assert_eq!((dataset.train.len(), dataset.validation.len()), (42, 10));
    for (i, (_, jpeg, label)) in training.iter().enumerate() {
        assert_eq!(dataset.train.label(i) as usize, *label);
        assert_eq!(dataset.train.decode(i).unwrap(), Image::decode("", jpeg).unwrap().rgb);
    }
}

#[test]
fn odd_files_have_their_own_colours() {
    let place = release();
    place.ok(&prepare("shards", &["--raw"]));
    let training = samples(&place, "shards", "train", ".rgb");
    let pixels = |stem: &str| &training.iter().find(|(key, ..)| key.ends_with(stem)).unwrap().1;
    // Four quadrants; the centre of 48x32 pixels is cut out.
    for odd in ["n03_2", "n03_5"] {
        for (at, colour) in [(8 * 32 + 4, [220, 40, 30]), (8 * 32 + 27, [40, 180, 60]), (24 * 32 + 4, [30, 60, 200])] {
            let found = &pixels(odd)[at * 3..][..3];
            assert!(found.iter().zip(colour).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 6), "{odd}: {found:?}");
        }
    }
    let png = Image::decode("", &encoded(&picture(12), ImageFormat::Png)).unwrap().square("", 32).unwrap();
    assert_eq!(*pixels("n01_3"), png);
}

#[test]
fn statistics_are_those_of_the_training_images() {
    let place = release();
    place.ok(&prepare("raw", &["--raw"]));
    place.ok(&prepare("jpeg", &["--quality", "50"]));
    let images: Vec<Vec<u8>> = samples(&place, "raw", "train", ".rgb").into_iter().map(|(_, rgb, _)| rgb).collect();
    let count = images.len() as f64;
    let mean: Vec<f64> =
        (0..32 * 32 * 3).map(|i| images.iter().map(|rgb| f64::from(rgb[i])).sum::<f64>() / count).collect();
    let channel = |c: usize| mean.iter().skip(c).step_by(3).sum::<f64>() / 1024.0;
    let centre = [channel(0), channel(1), channel(2)];
    let mut covariance = [[0.0; 3]; 3];
    for pixel in images.iter().flat_map(|rgb| rgb.chunks(3)) {
        for (a, row) in covariance.iter_mut().enumerate() {
            for (b, sum) in row.iter_mut().enumerate() {
                *sum += (f64::from(pixel[a]) - centre[a]) * (f64::from(pixel[b]) - centre[b]) / count / 1024.0;
            }
        }
    }
    let Measured { statistics, about } = Dataset::open(Some(&place.path("raw")), 32).unwrap().measured.unwrap();
    assert!(statistics.mean.iter().zip(&mean).all(|(&found, &mean)| found == mean as f32));
    let Colours { eigenvectors, deviations } = statistics.colours;
    assert!(deviations.is_sorted_by(|a, b| a > b), "{deviations:?}");
    for (vector, deviation) in eigenvectors.into_iter().zip(deviations) {
        let (vector, variance) = (vector.map(f64::from), f64::from(deviation).powi(2));
        for (row, x) in covariance.into_iter().zip(vector) {
            let image: f64 = row.into_iter().zip(vector).map(|(a, b)| a * b).sum();
            assert!((image - variance * x).abs() < 1e-2, "{image} is not {variance} times {x}");
        }
        assert!((vector.map(|x| x * x).iter().sum::<f64>() - 1.0).abs() < 1e-6);
    }
    assert_eq!((about.training, about.validation, about.skipped, about.size, about.seed), (42, 10, 3, 32, 0));
    assert_eq!((about.source.as_str(), about.skipped_first.len()), ("release", 3));
    assert!(about.program.starts_with("alexnet "));

    // They are taken before the images are compressed.
    let bytes = ["raw", "jpeg"].map(|folder| place.read(&format!("{folder}/statistics.safetensors")));
    let [raw, jpeg] = bytes.each_ref().map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    for name in ["mean", "eigenvectors", "deviations"] {
        assert_eq!(raw.tensor(name).unwrap().data(), jpeg.tensor(name).unwrap().data());
    }
    let other = Dataset::open(Some(&place.path("raw")), 16).unwrap();
    assert_eq!(other.statistics().unwrap().mean.len(), 16 * 16 * 3, "of another size it is computed");
}

/// The program that has as many threads as `threads`.
fn threaded(place: &Place, threads: usize, arguments: &[&str]) -> Command {
    let mut command = place.command(arguments);
    command.env("RAYON_NUM_THREADS", threads.to_string());
    command
}

#[test]
fn what_is_killed_and_started_again_ends_the_same() {
    let place = Place::new();
    // Large images, so that there is time to kill.
    let images: Vec<_> = (0..4_u32)
        .map(|seed| {
            let noise = |x: u32, y: u32| ((x * 31 + y * 17 + seed * 97) * (x ^ y) % 251) as u8;
            let image = RgbImage::from_fn(700, 500, |x, y| image::Rgb([noise(x, y), noise(y, x), noise(x, 7)]));
            encoded(&image, ImageFormat::Jpeg)
        })
        .collect();
    for i in 0..60 {
        place.write(&format!("images/train/c{}/{i}.jpg", i % 3), &images[i % 4]);
        place.write(&format!("images/val/c{}/{i}.jpg", i % 3), &images[i % 2]);
    }
    place.write("images/train/c1/broken.jpg", "text");
    let arguments = |out| vec!["prepare", "images", "--out", out, "--size", "64", "--shard-images", "5", "--seed", "3"];
    assert!(threaded(&place, 4, &arguments("whole")).output().unwrap().status.success());
    let whole = files(&place, "whole");
    assert_eq!(whole.len(), 2 * (13 + 12) + 3);

    let shards = |place: &Place| {
        let names = if place.path("parts").exists() { place.list("parts") } else { Vec::new() };
        names.into_iter().filter(|name| is(name, "tar")).count()
    };
    // A kill as soon as so many shards are there, and a little later.
    for (kill, (wanted, later)) in [(0, 0), (0, 20), (1, 3), (6, 0), (13, 10), (20, 5)].into_iter().enumerate() {
        let mut child = threaded(&place, 1 + kill % 2, &arguments("parts")).stdout(Stdio::null()).spawn().unwrap();
        let begin = Instant::now();
        while shards(&place) < wanted && child.try_wait().unwrap().is_none() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{wanted} shards do not come");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(later));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(shards(&place) >= wanted);
        for (name, bytes) in if place.path("parts").exists() { files(&place, "parts") } else { BTreeMap::new() } {
            assert!(
                is(&name, "partial") || is(&name, "sums") || bytes == whole[&name],
                "{name} is there, but not whole"
            );
        }
        if shards(&place) < 25 && place.path("parts/prepare.json").exists() {
            let train = tiny("run", "cpu", &["--data", "parts"]);
            place.refuses(&train, &["parts", if wanted == 0 { "" } else { "not prepared to the end" }]);
        }
    }
    let made = shards(&place);
    let output = threaded(&place, 3, &arguments("parts")).output().unwrap();
    let found = format!("25 shards, of which {made} were there before");
    contains(&String::from_utf8(output.stdout).unwrap(), &[&found, "c1/broken.jpg: is not a JPEG"]);
    assert!(files(&place, "parts") == whole);

    // Once more there is nothing to do; a shard that was lost is made again.
    contains(&place.ok(&arguments("parts")), &["of which 25 were there before", "broken.jpg"]);
    fs::remove_file(place.path("parts/train-000002.tar")).unwrap();
    contains(&place.ok(&arguments("parts")), &["of which 24 were there before"]);
    assert!(files(&place, "parts") == whole);
}

#[test]
fn another_source_or_recipe_is_not_mixed_in() {
    let place = release();
    place.ok(&prepare("shards", &[]));
    let before = files(&place, "shards");
    place.refuses(&prepare("shards", &["--seed", "1"]), &["shards", "was begun with --seed 0", "another --out"]);
    place.refuses(&prepare("shards", &["--raw"]), &["was begun with --raw false"]);
    place.refuses(&prepare("shards", &["--quality", "90"]), &["was begun with --quality 95"]);
    let other = |i: usize| (format!("ILSVRC2012_val_{i:08}.JPEG"), encoded(&picture(i), ImageFormat::Png));
    place.write("release/ILSVRC2012_img_val.tar", tar((1..=VALIDATION).map(other)));
    place.refuses(&prepare("shards", &[]), &["was begun with other files in release"]);
    place.write("taken/thesis.txt", "years of work");
    place.refuses(&prepare("taken", &[]), &["taken", "is not empty", "another --out"]);
    assert_eq!(place.list("taken"), ["thesis.txt"]);
    assert!(files(&place, "shards") == before);
    let output = place.command(&prepare("other", &["--raw", "--quality", "80"])).output().unwrap();
    refused(&output, 2, &["--raw", "--quality"]);
}

#[test]
fn what_is_missing_of_a_release_is_named() {
    let place = release();
    for (name, says) in [
        ("ILSVRC2012_img_train.tar", &["ILSVRC2012_img_train.tar is missing", "training images"][..]),
        ("ILSVRC2012_img_val.tar", &["ILSVRC2012_img_val.tar is missing"]),
        ("synset_words.txt", &["synset_words.txt or synsets.txt is missing", "WordNet id"]),
        ("val.txt", &["val.txt or ILSVRC2012_validation_ground_truth.txt is missing", "from 0"]),
    ] {
        let (from, to) = (place.path(&format!("release/{name}")), place.path("away"));
        fs::rename(&from, &to).unwrap();
        place.refuses(&prepare("shards", &[]), &[&["release: "], says].concat());
        fs::rename(to, from).unwrap();
    }
    place.write("notes/README", "nothing");
    place.refuses(&["prepare", "notes", "--out", "shards"], &["notes: holds nothing to prepare", "train/<class>/*"]);
    place.refuses(&["prepare", "nowhere", "--out", "shards"], &["nowhere: cannot be read"]);
    let change = |name: &str, content: &[u8], says: &[&str]| {
        let name = format!("release/{name}");
        let before = place.read(&name);
        place.write(&name, content);
        place.refuses(&prepare("shards", &[]), says);
        place.write(&name, before);
    };
    let archive = place.read("release/ILSVRC2012_img_train.tar");
    let half = &archive[..archive.len() / 2];
    change(
        "ILSVRC2012_img_train.tar",
        half,
        &["ILSVRC2012_img_train.tar: byte", "ends in the middle", "fetch it again"],
    );
    change("synset_words.txt", b"n01 a\nn02 b\nn03 c\nn04 d\n", &["holds n05.tar", "synset_words.txt does not have"]);
    change("synset_words.txt", b"n01\nn02\nn03\nn04\nn05\nn06\n", &["no images of 1 of the 6 classes", "n06"]);
    change("synset_words.txt", b"n01\nn01\n", &["names no class, or one twice"]);
    change("val.txt", b"ILSVRC2012_val_00000001.JPEG 2\n", &["val.txt: has no line for ILSVRC2012_val_0"]);
    change("val.txt", b"0\n1\n", &["has 10 images, but release/val.txt has 2 lines"]);
    change("val.txt", b"a.JPEG 1\n2\n", &["all with names or none"]);
    change("val.txt", b"a.JPEG 7\n", &["has class 7, but there are 5 classes"]);
    change("val.txt", b"a.JPEG cat\n", &["line 1: \"cat\" is neither a number nor a known class"]);
    assert!(!place.path("shards").exists(), "nothing is begun");
}

#[test]
fn every_form_of_the_list_gives_the_same_labels() {
    let place = release();
    let prepared = |out: &str| {
        place.ok(&prepare(out, &[]));
        place.read(&format!("{out}/val-000000.tar"))
    };
    let wanted = prepared("named");
    fs::remove_file(place.path("release/val.txt")).unwrap();
    let list = "release/ILSVRC2012_validation_ground_truth.txt";
    let lines = |line: &dyn Fn(usize) -> String| (1..=VALIDATION).map(line).collect::<String>();
    place.write(list, lines(&|i| format!("val.zip@/ILSVRC2012_val_{i:08}.JPEG {}\n", validation_label(i))));
    assert!(prepared("zip") == wanted);
    place.write(list, lines(&|i| format!("{}\n", validation_label(i))));
    assert!(prepared("plain") == wanted);
    place.write(list, lines(&|i| format!("{}\n", SYNSETS[validation_label(i)])));
    assert!(prepared("ids") == wanted);

    // The development kit counts from 1 and in an order of its own.
    fs::remove_file(place.path(list)).unwrap();
    let kit = ["n02", "n05", "n01", "n04", "n03"];
    let number = |i: usize| kit.iter().position(|id| *id == SYNSETS[validation_label(i)]).unwrap() + 1;
    let kit_list = "release/ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt";
    place.write(kit_list, lines(&|i| format!("{}\n", number(i))));
    place.refuses(&prepare("kit", &[]), &["counts classes from 1", "devkit_synsets.txt", "meta.mat", "val.txt"]);
    place.write("release/devkit_synsets.txt", kit[..3].join("\n"));
    place.refuses(&prepare("kit", &[]), &["devkit_synsets.txt: is to begin with the 5 classes", "line 4"]);
    place.write("release/devkit_synsets.txt", kit.join("\n"));
    assert!(prepared("kit") == wanted);
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_only_whole_files() {
    let place = release();
    place.ok(&prepare("whole", &["--raw"]));
    let whole = files(&place, "whole");
    let output = place.on_a_full_disk(20, &prepare("parts", &["--raw"]));
    refused(&output, 1, &["parts/", "-00000", ".tar: cannot be written", "make room", "run the same command again"]);
    for (name, bytes) in files(&place, "parts") {
        assert!(is(&name, "sums") || bytes == whole[&name], "{name} is there, but not whole");
        assert!(!is(&name, "partial"), "{name} is left");
    }
    place.ok(&prepare("parts", &["--raw"]));
    assert!(files(&place, "parts") == whole);
}

#[test]
fn a_network_is_trained_on_shards_and_goes_on_within_an_epoch() {
    let place = release();
    // More shards than are shuffled among each other; of the size that the network wants.
    place.ok(&["prepare", "release", "--out", "shards", "--size", "10", "--shard-images", "3", "--quality", "100"]);
    let said = place.train("whole", &["--data", "shards", "--batch", "8", "--steps", "16"]);
    contains(&said, &["42 training and 10 validation images of 5 classes", "validation error"]);
    // An epoch has 6 steps.
    place.train("parts", &["--data", "shards", "--batch", "8", "--steps", "9"]);
    place.ok(&["train", "--resume", "parts", "--steps", "16"]);
    // The best validation error may differ: the end of the first part was validated as well.
    let checkpoint = |run: &str| Checkpoint::read(&place.path(&format!("{run}/last.safetensors"))).unwrap();
    let (whole, parts) = (checkpoint("whole"), checkpoint("parts"));
    assert_eq!((whole.state.step, whole.state.epoch, whole.state.position), (16, 2, parts.state.position));
    assert!(whole.tensors == parts.tensors);
    let bytes = ["whole/last.safetensors", "shards/statistics.safetensors"].map(|name| place.read(name));
    let [network, statistics] = bytes.each_ref().map(|bytes| SafeTensors::deserialize(bytes).unwrap());
    assert_eq!(network.tensor("mean").unwrap().data(), statistics.tensor("mean").unwrap().data());
    assert_eq!(place.json(&["eval", "whole", "--data", "shards", "--devices", "cpu", "--json"])["images"], 10);

    // An index is not needed.
    for name in place.list("shards").into_iter().filter(|name| name.starts_with("train") && is(name, "json")) {
        fs::remove_file(place.path(&format!("shards/{name}"))).unwrap();
    }
    place.train("scanned", &["--data", "shards", "--batch", "8", "--steps", "16"]);
    assert!(place.read("whole/last.safetensors") == place.read("scanned/last.safetensors"));
    fs::remove_file(place.path("shards/train-000003.tar")).unwrap();
    let lost = tiny("lost", "cpu", &["--data", "shards"]);
    place.refuses(&lost, &["shards: has ", "but 42 and 10 were prepared", "copy all shards"]);
}

#[test]
fn the_speed_of_the_loader_is_measured() {
    let place = release();
    place.ok(&prepare("shards", &[]));
    let arguments = ["bench", "loader", "--data", "shards", "--threads", "2", "--size", "32", "--images", "30"];
    contains(&place.ok(&arguments), &["30 images of 32×32 pixels", "decoder alone", "loader:", "waits"]);
    let speed = place.json(&[&arguments[..], &["--json"]].concat());
    assert_eq!((&speed["images"], &speed["threads"], &speed["skipped"]), (&30.into(), &2.into(), &0.into()));
    let share = speed["share"].as_f64().unwrap();
    assert!((share - speed["loader"].as_f64().unwrap() / speed["decoder"].as_f64().unwrap()).abs() < 1e-9);
}
