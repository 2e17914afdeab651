//! Folders of data: the first byte chooses the format, the others are its files. Headers of tars get the sums that few
//! inputs would have.

#![no_main]

use std::fs::{create_dir_all, write};

use alexnet::data::{Dataset, Labelled, Split};
use libfuzzer_sys::fuzz_target;

/// Files that hold the input, or a half of it each, and others beside them with what they hold.
type Files = (&'static [&'static str], &'static [(&'static str, &'static str)]);

const FORMATS: [Files; 10] = [
    (&["data_batch_1.bin", "batches.meta.txt"], &[]),
    (&["test.bin", "fine_label_names.txt"], &[]),
    (&["train-0.tar", "val-0.tar"], &[]),
    (&["train-0.json"], &[("train-0.tar", "1234"), ("val-0.tar", "1234")]),
    (&["classes.txt", "val-0.tar"], &[]),
    (&["statistics.safetensors", "val-0.tar"], &[("prepare.json", "{}")]),
    (&["ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"], &[("synset_words.txt", "n1"), ("val.txt", "0")]),
    (&["val.txt", "synset_words.txt"], &[("ILSVRC2012_img_val.tar", ""), ("ILSVRC2012_img_train.tar", "")]),
    (&["n00000001.tar", "words.txt"], &[]),
    (&["train/a/1.png", "val/a/1.png"], &[]),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&format, rest)) = bytes.split_first() else { return };
    let (files, others) = FORMATS[usize::from(format) % FORMATS.len()];
    let root = tempfile::tempdir().unwrap();
    let part = rest.len() / files.len();
    for (file, content) in files.iter().zip(rest.chunks(part.max(1))) {
        let path = root.path().join(file);
        create_dir_all(path.parent().unwrap()).unwrap();
        write(path, if file.ends_with("tar") { with_sums(content) } else { content.to_vec() }).unwrap();
    }
    for (file, content) in others {
        write(root.path().join(file), content).unwrap();
    }
    if let Ok(dataset) = Dataset::open(Some(root.path()), 4) {
        read(&dataset.train);
        read(&dataset.validation);
        let _ = dataset.changed(&dataset.contents());
    }
    if let Ok(labelled) = Labelled::open(Some(root.path()), 4) {
        read(&labelled.images);
    }
});

fn read(split: &Split) {
    for image in 0..split.len().min(4) {
        let _ = (split.name(image), split.label(image), split.decode(image));
    }
}

/// The blocks of a tar, each that begins like a header with the sum of its bytes where that belongs.
fn with_sums(tar: &[u8]) -> Vec<u8> {
    let mut tar = tar.to_vec();
    for block in tar.chunks_exact_mut(512).filter(|block| block[257..].starts_with(b"ustar")) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    }
    tar
}
