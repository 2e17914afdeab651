use std::fs;

use proptest::prelude::*;
use tar::{Builder, EntryType, Header};

use super::*;
use crate::data::Dataset;
use crate::data::testing::{check, folder, png, refusal};

/// A tar of regular files.
fn tar<'a>(members: impl IntoIterator<Item = (&'a str, Vec<u8>)>) -> Vec<u8> {
    let mut tar = Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Names that are too long for a header get one of their own.
        tar.append_data(&mut header, name, &content[..]).unwrap();
    }
    tar.into_inner().unwrap()
}

fn sample(key: &str, label: u32, colour: u8) -> [(String, Vec<u8>); 2] {
    [(format!("{key}.png"), png(4, 4, [colour; 3])), (format!("{key}.cls"), label.to_string().into())]
}

/// A shard of images of one colour each: `first`, `first` + 1, …, whose labels are the colours modulo 3.
fn shard(first: u8, count: u8) -> Vec<u8> {
    let members: Vec<_> =
        (first..first + count).flat_map(|i| sample(&format!("{i:03}"), u32::from(i) % 3, i)).collect();
    tar(members.iter().map(|(name, content)| (name.as_str(), content.clone())))
}

#[test]
fn an_archive_behind_another_is_read_and_links_are_refused() {
    let [first, second] = [shard(0, 2), shard(2, 3)];
    let both = [&first[..], &second, &[0; 9000], b"no archive"].concat();
    let root =
        folder([("train-0.tar", both), ("val-0.tar", first.clone()), ("classes.txt", "\u{feff}a\r\nb\nc".into())]);
    let data = Dataset::open(Some(root.path()), 4).unwrap();
    assert_eq!(
        (data.train.len(), data.validation.len(), data.classes),
        (5, 2, ["a", "b", "c"].map(str::to_owned).to_vec())
    );
    let mut link = Header::new_gnu();
    link.set_entry_type(EntryType::Link);
    link.set_size(0);
    link.set_path("9.png").unwrap();
    link.set_link_name("000.png").unwrap();
    link.set_cksum();
    let linked = [link.as_bytes(), &first[..]].concat();
    check(
        refusal(folder([("train-0.tar", linked), ("val-0.tar", first)]).path()),
        &["9.png is a link", "--hard-dereference"],
    );
}

#[test]
fn shards_of_others_are_read_by_their_headers() {
    let long = format!("{}/a", "folder/".repeat(30));
    let (photo, label) = (format!("{long}.PNG"), format!("{long}.cls"));
    let train = tar([
        ("__meta__.json", b"{}".to_vec()),
        (photo.as_str(), png(6, 4, [9; 3])),
        (label.as_str(), b" 1\n".to_vec()),
        ("b.cls", b"0".to_vec()),
        ("b.json", b"{\"caption\": \"none\"}".to_vec()),
        ("b.seg.png", png(2, 2, [0; 3])),
        ("b.png", png(4, 4, [7; 3])),
        ("._b.png", b"what another system adds".to_vec()),
        ("notes.txt", Vec::new()),
    ]);
    let root = folder([("train-7.tar", train), ("val-a.tar", shard(0, 2)), ("train-list.txt", Vec::new())]);
    let data = Dataset::open(Some(root.path()), 4).unwrap();
    assert_eq!(data.classes, ["0", "1"]);
    assert!(data.measured.is_none());
    let train = &data.train;
    assert_eq!((train.len(), train.label(0), train.label(1)), (2, 1, 0));
    assert_eq!((train.decode(0).unwrap(), train.decode(1).unwrap()), (vec![9; 48], vec![7; 48]));
    assert_eq!(data.statistics().unwrap().mean, vec![8.0; 48]);
    assert!(train.name(1).contains("train-7.tar byte "), "{}", train.name(1));
}

#[test]
fn an_image_of_another_size_is_scaled() {
    let root = folder([("train-0.tar", shard(50, 3)), ("val-0.tar", shard(0, 1))]);
    let data = Dataset::open(Some(root.path()), 9).unwrap();
    assert_eq!(data.train.decode(2).unwrap(), vec![52; 9 * 9 * 3]);
}

/// The mean image of shards without statistics is measured once.
#[test]
fn a_shard_that_was_written_again_is_another_data_set() {
    let root = folder([("train-0.tar", shard(0, 3)), ("val-0.tar", shard(0, 3))]);
    let fingerprint = || Dataset::open(Some(root.path()), 4).unwrap().train.fingerprint();
    let first = fingerprint();
    assert!(first.is_some() && first == fingerprint());
    let file = fs::File::options().write(true).open(root.path().join("train-0.tar")).unwrap();
    file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_ne!(first, fingerprint());
}

#[test]
fn names_of_classes_come_from_a_file() {
    let files = |classes: &'static str| {
        folder([("train-0.tar", shard(0, 3)), ("val-0.tar", shard(0, 1)), ("classes.txt", classes.into())])
    };
    let data = Dataset::open(Some(files("cat\ndog\r\n\nemu\n").path()), 4).unwrap();
    assert_eq!(data.classes, ["cat", "dog", "emu"]);
    let message = refusal(files("cat\ndog\n").path());
    assert!(message.contains("classes.txt: names 2 classes, but there is a label 2"), "{message}");
}

#[test]
fn more_shards_than_are_kept_open_are_read_in_any_order() {
    let shards: Vec<(String, Vec<u8>)> = (0..40).map(|i| (format!("train-{i:02}.tar"), shard(i * 3, 3))).collect();
    let files = shards.iter().map(|(name, content)| (name.as_str(), content.clone()));
    let root = folder(files.chain([("val-0.tar", shard(0, 1))]));
    let train = Dataset::open(Some(root.path()), 4).unwrap().train;
    let order = train.training_order(3, 0);
    for &i in order.iter().chain(&(0..120).rev().collect::<Vec<u32>>()) {
        assert_eq!(train.decode(i as usize).unwrap(), vec![i as u8; 48]);
    }

    // Every image once; other seeds and epochs, other orders; a window's worth of shards at a time.
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..120));
    assert_eq!(order, train.training_order(3, 0));
    assert!(order != train.training_order(3, 1) && order != train.training_order(4, 0));
    for window in order.chunks(3 * WINDOW) {
        let shards: std::collections::BTreeSet<u32> = window.iter().map(|i| i / 3).collect();
        assert_eq!(shards.len(), window.len() / 3);
        assert!(!window.is_sorted());
    }
}

#[test]
fn an_index_stands_for_its_shard_only() {
    let root = folder([("train-0.tar", shard(0, 3)), ("val-0.tar", shard(0, 1))]);
    let path = root.path().join("train-0.tar");
    let scanned = Index::open(&path).unwrap().0;
    let bytes = fs::metadata(&path).unwrap().len();
    let write = |index: &Index| fs::write(Index::path(&path), serde_json::to_vec(index).unwrap()).unwrap();
    write(&Index::new(bytes, false, Vec::new(), scanned.images.clone()));
    assert_eq!(Index::open(&path).unwrap().0.images, scanned.images);
    assert_eq!(Dataset::open(Some(root.path()), 4).unwrap().train.decode(2).unwrap(), vec![2; 48]);
    for (wrong, says) in [
        (Index::new(bytes + 512, false, Vec::new(), Vec::new()), "is the index of another shard"),
        (Index::new(bytes, false, Vec::new(), vec![(u64::MAX, 4, 0)]), "has an image of 4 bytes at byte 1844"),
        (Index::new(bytes, false, Vec::new(), vec![(bytes - 3, 4, 0)]), "has an image of 4 bytes"),
        (Index::new(bytes, false, Vec::new(), vec![(0, u32::MAX, 0)]), "has an image of 4294967295 bytes"),
    ] {
        write(&wrong);
        let message = refusal(root.path());
        assert!(
            message.contains("train-0.json") && message.contains(says) && message.contains("delete it"),
            "{message}"
        );
    }
    fs::write(Index::path(&path), "{\"version\": 1").unwrap();
    assert!(refusal(root.path()).contains("train-0.json: is damaged"));
}

/// What opening says of one training shard.
fn refused(shard: Vec<u8>) -> String {
    refusal(folder([("train-0.tar", shard), ("val-0.tar", self::shard(0, 1))]).path())
}

/// One header with a content of `size` bytes, as it says.
fn header(kind: EntryType, size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_path("a.png").unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

#[test]
fn hostile_archives_are_refused_by_name_and_place() {
    let check = |shard: Vec<u8>, words: &[&str]| {
        let message = refused(shard);
        assert!(message.contains("train-0.tar"), "{message}");
        assert!(words.iter().all(|word| message.contains(word)), "{message}");
    };
    let whole = shard(0, 2);
    check(whole[..520].to_vec(), &["byte 0", "ends in the middle of 000.png"]);
    check(whole[..1300].to_vec(), &["byte 1024", "ends in the middle of a header"]);
    check(b"<html>not found</html>".repeat(100), &["byte 0: is no tar header"]);
    check(header(EntryType::Regular, u64::MAX), &["byte 0", "ends in the middle", "18446744073709551615 bytes"]);
    check(header(EntryType::Regular, u64::MAX - 511), &["ends in the middle"]);
    check(header(EntryType::GNUSparse, 0), &["byte 0", "sparse"]);
    for kind in [EntryType::GNULongName, EntryType::XHeader] {
        let long = [header(kind, 1 << 20), vec![b'a'; 1 << 20]].concat();
        check(long, &["byte 0", "a name or attributes of 1048576 bytes"]);
    }
    let pax = |text: &[u8]| {
        let block = [text, &vec![0; 512 - text.len()]].concat();
        [header(EntryType::XHeader, text.len() as u64), block, header(EntryType::Regular, 0)].concat()
    };
    check(pax(b"26 size=9999999999999999\n"), &["byte 0"]);
    check(pax(b"25 size=9999999999999999\n"), &["byte 1024", "9999999999999999 bytes"]);
    check(pax(b"12 size=ab\n"), &["byte 0"]);
    check(pax(b"11 size=ab\n"), &["byte 0", "no number"]);

    let png = || png(4, 4, [1; 3]);
    check(tar([("a.png", png()), ("a.cls", b"one".to_vec())]), &["a.cls holds \"one\""]);
    check(tar([("a.png", png()), ("a.cls", b"-1".to_vec())]), &["a.cls holds \"-1\""]);
    check(tar([("a.png", png()), ("a.cls", vec![b'1'; 5000])]), &["a.cls has 5000 bytes, too many"]);
    check(tar([("a.png", png())]), &["a has no .cls"]);
    check(tar([("a.cls", b"1".to_vec()), ("b.png", png())]), &["a has no image"]);
    check(
        tar([("a.png", png()), ("a.cls", b"1".to_vec()), ("b.rgb", vec![0; 48]), ("b.cls", b"1".to_vec())]),
        &["both .rgb and compressed"],
    );
    let message = refused(tar([("a.png", png()), ("a.cls", b"4294967295".to_vec())]));
    assert!(message.contains("classes.txt: is not there, and a label of 4294967295"), "{message}");
    let message = refused(Vec::new());
    assert!(message.contains("has no images in train-*.tar"), "{message}");
}

#[test]
fn pixels_that_are_no_square_are_left_out() {
    let raw = tar([("a.rgb", vec![5; 27]), ("a.cls", b"0".to_vec()), ("b.rgb", vec![5; 28]), ("b.cls", b"0".to_vec())]);
    let root = folder([("train-0.tar", raw), ("val-0.tar", shard(0, 1))]);
    let train = Dataset::open(Some(root.path()), 3).unwrap().train;
    assert_eq!(train.decode(0).unwrap(), vec![5; 27]);
    let message = train.decode(1).unwrap_err().to_string();
    assert!(message.contains("train-0.tar byte") && message.contains("28 bytes are no square"), "{message}");
}

proptest! {
    #[test]
    fn arbitrary_damage_never_panics(changes in prop::collection::vec((0_usize..4000, any::<u8>()), 1..6), cut in 0_usize..4000) {
        let mut bytes = shard(0, 3);
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        bytes.truncate(cut.max(1));
        let root = folder([("train-0.tar", bytes), ("val-0.tar", shard(0, 1))]);
        if let Ok(data) = Dataset::open(Some(root.path()), 4) {
            for i in 0..data.train.len() {
                let _ = data.train.decode(i);
            }
        }
    }
}
