//! Networks of ONNX files that see images in other ways than N x 3 x S x S, or give more than scores of classes.

use std::collections::BTreeMap;

use alexnet::files::write_tensors;
use alexnet::interop::npy::{self, Array};
use alexnet::interop::read_array;
use alexnet::tensor::Tensor;

use crate::cli::{Place, contains};
use crate::onnx::file::{File, int, ints, random};

/// A picture of `width` columns from its pixels.
fn picture(place: &Place, width: usize, pixels: &[[u8; 3]]) {
    let head = format!("P6 {width} {} 255\n", pixels.len() / width);
    place.write("picture.ppm", [head.as_bytes(), pixels.as_flattened()].concat());
}

/// The best label of the picture; pixels go as they are to the network.
fn best(place: &Place, file: &File, options: &[&str]) -> String {
    place.write("net.onnx", file.bytes());
    let common = ["classify", "net.onnx", "picture.ppm", "--devices", "cpu", "--json"];
    place.json(&[&common, options].concat())[0]["labels"][0][0].as_str().unwrap().to_owned()
}

const AS_THEY_ARE: [&str; 4] = ["--mean", "0", "--scale", "1"];

/// Grey images of open size: the scores are their pixels, so that the best class is the brightest one.
#[test]
fn grey_images_of_any_size() {
    let place = Place::new();
    let mut pixels = [[10, 10, 10]; 64];
    pixels[3 * 8 + 6] = [0, 255, 0]; // the brightest, though not in each colour
    pixels[7 * 8 + 7] = [255, 0, 255];
    picture(&place, 8, &pixels);
    let grey = File::new(13).input("x", &[-1, 1, -1, -1]).node("Flatten", &["x"], &["y"], vec![]).outputs(&["y"]);
    let sized = |size: &str| best(&place, &grey, &[&AS_THEY_ARE[..], &["--size", size, "--stored", "8"]].concat());
    assert_eq!(sized("8x8"), (3 * 8 + 6).to_string());
    // Two rows above and below are cut, or two columns on each side: the second brightest is beyond.
    assert_eq!(sized("4x8"), (8 + 6).to_string());
    pixels.swap(3 * 8 + 6, 3 * 8 + 5);
    picture(&place, 8, &pixels);
    assert_eq!(sized("8x4"), (3 * 4 + 3).to_string());
    let command = [&["classify", "net.onnx", "picture.ppm"][..], &AS_THEY_ARE].concat();
    place.refuses(&command, &["net.onnx", "images of any size", "--size HxW"]);
    let coloured = ["--size", "8", "--mean", "1,2,3", "--scale", "1"];
    place.refuses(&[&command[..3], &coloured[..]].concat(), &["its input is grey"]);
    let fixed = File::new(13).input("x", &[-1, 1, 4, 4]).node("Flatten", &["x"], &["y"], vec![]).outputs(&["y"]);
    place.write("net.onnx", fixed.bytes());
    place.refuses(&[&command[..], &["--size", "4x5"]].concat(), &["declared as 4 x 4", "--size says otherwise"]);
}

/// Scores are the means of the colours, whose images lie innermost or outermost.
#[test]
fn colours_lie_first_or_last() {
    let place = Place::new();
    picture(&place, 4, &[[5, 250, 5]; 16]);
    let mean = |file: File, axes: &[i64]| {
        let last = vec![ints("axes", axes), int("keepdims", 0)];
        file.node("ReduceMean", &["x"], &["y"], last).outputs(&["y"])
    };
    let scale = ["--mean", "0,0,0", "--scale", ".01", "--size", "4"];
    let last = mean(File::new(13).input("x", &[-1, -1, -1, 3]), &[1, 2]);
    assert_eq!(best(&place, &last, &scale), "1");
    let first = mean(File::new(13).input("x", &[2, 3, 4, 4]), &[2, 3]);
    assert_eq!(best(&place, &first, &scale), "1");
    place.write("net.onnx", mean(File::new(13).input("x", &[-1, 4, 4, 2]), &[1, 2]).bytes());
    place.refuses(&[&["classify", "net.onnx", "picture.ppm"], &scale[..]].concat(), &["input x", "in colour or grey"]);
}

#[test]
fn one_of_several_outputs() {
    let place = Place::new();
    picture(&place, 2, &[[200, 100, 50]; 4]);
    let file = File::new(13)
        .input("x", &[-1, 3, 2, 2])
        .node("ReduceMean", &["x"], &["y"], vec![ints("axes", &[2, 3])])
        .node("Neg", &["y"], &["away"], vec![])
        .node("Shape", &["x"], &["extents"], vec![])
        .outputs(&["y", "away", "extents"]);
    let chosen = |output: &str| best(&place, &file, &[&AS_THEY_ARE[..], &["--output", output]].concat());
    assert_eq!((chosen("y"), chosen("away")), ("0".into(), "2".into()));
    let command = [&["classify", "net.onnx", "picture.ppm"][..], &AS_THEY_ARE].concat();
    let found = ["found y [1, 3, 1, 1], away [1, 3, 1, 1], extents [4]", "--output NAME"];
    place.refuses(&command, &[&["for each of 1 images"][..], &found].concat());
    place.refuses(&[&command[..], &["--output", "extents"]].concat(), &["extents [4]"]);
    place.refuses(
        &[&command[..], &["--output", "z"]].concat(),
        &["output z", "none of this name, but y, away, extents"],
    );
    // All of them as arrays, whole numbers too.
    let x = random(&[2, 3, 2, 2], 0);
    place.write("x.npy", npy::bytes(&x));
    let run = ["run", "net.onnx", "--input", "x=x.npy", "--devices", "cpu", "--output-dir"];
    place.ok(&[&run[..], &["all"]].concat());
    assert_eq!(place.list("all"), ["away.npy", "extents.npy", "y.npy"]);
    let extents = || read_array(&place.path("one/extents.npy")).unwrap();
    contains(&place.ok(&[&run[..], &["one", "--output", "extents"]].concat()), &["extents [4] in one"]);
    assert_eq!(place.list("one"), ["extents.npy"]);
    assert_eq!(extents(), Array::Integers { dims: vec![4], values: [2, 3, 2, 2].into() });
    place.refuses(&[&run[..], &["none", "--output", "z"]].concat(), &["output z", "but y, away, extents"]);
    assert!(!place.path("none").exists());
    write_tensors(&place.path("w"), &BTreeMap::from([("w".into(), Tensor::new([1], vec![0.0]))]), None).unwrap();
    place.refuses(&["classify", "w", "picture.ppm", "--size", "4"], &["--size and --output are for ONNX files"]);
}
