//! Small data sets on disk, and checks of messages, for the tests of this module.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// A folder with `files`, given by path and content; missing folders are created.
pub(super) fn folder<'a>(files: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = root.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    root
}

/// A CIFAR record whose pixels are all (`red`, `red` + 1, `red` + 2).
pub(super) fn record(label: u8, red: u8) -> Vec<u8> {
    let planes = [red, red + 1, red + 2].map(|value| vec![value; 1024]);
    [vec![label], planes.concat()].concat()
}

/// Pixels of which neighbours differ, three bytes each.
pub(super) fn pattern(width: usize, height: usize) -> Vec<u8> {
    let value = |i: usize| ((i * 2_654_435_761) >> 13) as u8;
    (0..width * height * 3).map(value).collect()
}

/// A PNG file of one colour.
pub(super) fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_pixel(width, height, image::Rgb(colour));
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

/// Message of the error of opening `root`.
pub(super) fn refusal(root: &Path) -> String {
    super::Dataset::open(Some(root), 32).unwrap_err().to_string()
}

/// Asserts that `message` contains all of `words`.
#[track_caller]
pub(super) fn check(message: impl AsRef<str>, words: &[&str]) {
    let message = message.as_ref();
    assert!(words.iter().all(|word| message.contains(word)), "{message}");
}
