//! A release of ILSVRC2012 in the small, with the odd files that the real one has.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, RgbImage};
use tar::{Builder, Header};

use crate::cli::Place;

/// The synsets, in an order that is neither theirs nor that of the archives.
pub(crate) const SYNSETS: [&str; 5] = ["n03", "n01", "n05", "n02", "n04"];

/// Training images of a class.
pub(crate) const EACH: usize = 9;

pub(crate) const VALIDATION: usize = 10;

/// Class of validation image `i`, counted from 1 as its name.
pub(crate) fn validation_label(i: usize) -> usize {
    i * 3 % 5
}

/// An image of some size, coarse enough to survive compression, that no other number gives.
pub(crate) fn picture(number: usize) -> RgbImage {
    let (width, height) = (40 + (number * 7 % 30) as u32, 40 + (number * 11 % 30) as u32);
    RgbImage::from_fn(width, height, |x, y| {
        let wave = |step: usize| ((x as usize * step + y as usize * (step + 2) + number * 37) % 256) as u8;
        image::Rgb([wave(3), wave(5) / 2, wave(1)])
    })
}

pub(crate) fn encoded(image: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

pub(crate) fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)).unwrap()
}

pub(crate) fn tar(members: impl IntoIterator<Item = (String, Vec<u8>)>) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

/// The file of image `i` of class `class`: one of each odd kind that ImageNet has, else a JPEG.
pub(crate) fn training_file(class: usize, i: usize) -> Vec<u8> {
    let jpeg = || encoded(&picture(class * EACH + i), ImageFormat::Jpeg);
    match (class, i) {
        (0, 2) => fixture("cmyk.jpg"),
        (0, 5) => fixture("ycck.jpg"),
        (1, 3) => encoded(&picture(12), ImageFormat::Png),
        (2, 1) => jpeg()[..500].to_vec(),
        (3, 4) => b"<html>no such image</html>".to_vec(),
        (4, 0) => Vec::new(),
        _ => jpeg(),
    }
}

/// Images that cannot be decoded.
pub(crate) const BROKEN: usize = 3;

/// A release in the folder `release`.
pub(crate) fn release() -> Place {
    let place = Place::new();
    let class = |class: usize| {
        let id = SYNSETS[class];
        tar((0..EACH).map(|i| (format!("{id}_{i}.JPEG"), training_file(class, i))))
    };
    let mut order = [0, 1, 2, 3, 4];
    order.sort_by_key(|&class| SYNSETS[class]);
    place.write(
        "release/ILSVRC2012_img_train.tar",
        tar(order.map(|number| (format!("{}.tar", SYNSETS[number]), class(number)))),
    );
    let image = |i: usize| (format!("ILSVRC2012_val_{i:08}.JPEG"), encoded(&picture(100 + i), ImageFormat::Jpeg));
    place.write("release/ILSVRC2012_img_val.tar", tar((1..=VALIDATION).rev().map(image)));
    let words: Vec<String> = SYNSETS.iter().map(|id| format!("{id} thing {id}, another word\n")).collect();
    place.write("release/synset_words.txt", words.concat());
    let line = |i| format!("ILSVRC2012_val_{i:08}.JPEG {}\n", validation_label(i));
    place.write("release/val.txt", (1..=VALIDATION).map(line).collect::<String>());
    place
}
