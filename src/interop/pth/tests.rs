//! Archives are written here as `torch.save` writes them, and then broken.

use std::io::Write as _;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::*;

/// Pickled call of `_rebuild_tensor_v2` on the storage of key `key`.
fn tensor(storage: &str, key: &str, numbers: u8, offset: u8, shape: &[u8], strides: &[u8]) -> Vec<u8> {
    let mut pickle = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    text(&mut pickle, "storage");
    pickle.extend(format!("ctorch\n{storage}\n").bytes());
    text(&mut pickle, key);
    text(&mut pickle, "cpu");
    pickle.extend([b'K', numbers, b't', b'Q', b'K', offset]);
    for extents in [shape, strides] {
        pickle.push(b'(');
        pickle.extend(extents.iter().flat_map(|&extent| [b'K', extent]));
        pickle.push(b't');
    }
    pickle.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    pickle
}

fn text(pickle: &mut Vec<u8>, text: &str) {
    pickle.push(b'X');
    pickle.extend((text.len() as u32).to_le_bytes());
    pickle.extend(text.bytes());
}

/// Pickled dict of these entries.
fn dict(entries: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut pickle = b"}q\x00(".to_vec();
    for (name, value) in entries {
        text(&mut pickle, name);
        pickle.extend(value);
    }
    pickle.push(b'u');
    pickle
}

fn framed(body: &[u8]) -> Vec<u8> {
    [b"\x80\x02", body, b"."].concat()
}

/// Options of an uncompressed entry, as `torch.save` writes them.
fn stored_only() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        writer.start_file(format!("weights/{name}"), stored_only()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// File of one tensor, `a`, in a storage of eight floats.
fn one(tensor: Vec<u8>) -> Vec<u8> {
    let numbers = floats(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]);
    archive(&[("data.pkl", &framed(&dict(&[("a", tensor)]))), ("byteorder", b"little"), ("data/0", &numbers)])
}

fn read(bytes: &[u8]) -> BTreeMap<String, Tensor> {
    parse(bytes).unwrap_or_else(|error| panic!("{error}")).read(|_| true)
}

#[track_caller]
fn refuses(bytes: &[u8], reason: &str) {
    let error = match parse(bytes) {
        Ok(mut dict) => {
            dict.read(|_| true);
            let (name, reason) = dict.unreadable.first_key_value().unwrap();
            format!("tensor {name}: {reason}")
        }
        Err(error) => error.to_string(),
    };
    assert!(error.contains(reason), "{error}");
}

#[test]
fn tensors_are_cut_out_of_their_storages() {
    let got = read(&one(tensor("FloatStorage", "0", 8, 1, &[2, 3], &[1, 2])));
    assert_eq!(got["a"], Tensor::new([2, 3], vec![1.0, 3.0, 5.0, 2.0, 4.0, 6.0]), "transposed");
    let got = read(&one(tensor("FloatStorage", "0", 8, 7, &[], &[])));
    assert_eq!(got["a"], Tensor::new([], vec![7.0]));
    let got = read(&one(tensor("FloatStorage", "0", 8, 0, &[3, 0], &[1, 1])));
    assert_eq!(got["a"], Tensor::new([3, 0], Vec::new()));
    let halves: Vec<u8> = [0x3c00_u16, 0xc100].into_iter().flat_map(u16::to_le_bytes).collect();
    let pickle = framed(&dict(&[("h", tensor("HalfStorage", "h", 2, 0, &[2], &[1]))]));
    let got = read(&archive(&[("data.pkl", &pickle), ("data/h", &halves)]));
    assert_eq!(got["h"].values(), [1.0, -2.5]);
}

#[test]
fn a_state_dict_lies_alone_or_in_a_checkpoint() {
    let inner = dict(&[("w", tensor("FloatStorage", "0", 8, 0, &[8], &[1])), ("epoch", vec![b'K', 3])]);
    // _metadata, as an attribute of the dict.
    let inner = [&inner[..], &dict(&[("_metadata", b"}".to_vec())]), b"b"].concat();
    let values = floats(&[1.0; 8]);
    for (body, name) in
        [(inner.clone(), "w"), (dict(&[("epoch", vec![b'K', 3]), ("state_dict", inner)]), "state_dict.w")]
    {
        let got = read(&archive(&[("data.pkl", &framed(&body)), ("data/0", &values)]));
        assert_eq!(got.into_keys().collect::<Vec<_>>(), [name]);
    }
}

#[test]
fn what_is_no_plain_tensor_is_refused() {
    let run = b"cos\nsystem\n(X\x02\x00\x00\x00lstR".to_vec();
    refuses(&one(run), "os.system, which only Python code could make");
    refuses(
        &one(tensor("LongStorage", "0", 4, 0, &[4], &[1])),
        "tensor a: elements of type LongStorage are not supported; known are HalfStorage",
    );
    refuses(&one(tensor("FloatStorage", "0", 8, 0, &[3, 3], &[3, 1])), "beyond its storage of 8 numbers");
    refuses(&one(tensor("FloatStorage", "0", 8, 250, &[0, 1], &[1, 1]).repeat(2)), "damaged pickle");
    refuses(
        &one(tensor("FloatStorage", "0", 9, 0, &[3], &[1])),
        "found 32 bytes in its storage, expected 9 numbers of 4 bytes",
    );
    refuses(&one(tensor("FloatStorage", "1", 8, 0, &[3], &[1])), "entry weights/data/1 is missing or damaged");
    // Numbers that the file has once, read over and over.
    refuses(
        &one(tensor("FloatStorage", "0", 8, 0, &[255, 255], &[0, 0])),
        "it and the tensors before it are larger than 4 times the file",
    );
    refuses(&one(tensor("FloatStorage", "0", 8, 0, &[255; 9], &[0; 9])), "beyond its storage");
    refuses(&one(vec![b'K', 3]), "no tensors");
    let big = archive(&[("data.pkl", &framed(&dict(&[]))), ("byteorder", b"big")]);
    refuses(&big, "big-endian");
    let huge = 1e39_f64.to_le_bytes();
    let pickle = framed(&dict(&[("a", tensor("DoubleStorage", "0", 1, 0, &[1], &[1]))]));
    refuses(
        &archive(&[("data.pkl", &pickle), ("data/0", &huge)]),
        "tensor a: a number is beyond the range of 32-bit floats",
    );
}

#[test]
fn archives_that_torch_does_not_write_are_refused() {
    refuses(&archive(&[("data/0", b"")]), "found 0 entries called data.pkl");
    refuses(&archive(&[("data.pkl", b"N."), ("x/data.pkl", b"N.")]), "found 2 entries called data.pkl");
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    writer.start_file("weights/data.pkl", stored_only()).unwrap();
    writer.write_all(b"N.").unwrap();
    let bytes = writer.finish().unwrap().into_inner();
    refuses(&bytes, "no dict of tensors");
    // Method 8, deflate, in both headers: as in a bomb.
    let mut bomb = bytes.clone();
    let central = bytes.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
    (bomb[8], bomb[central + 10]) = (8, 8);
    assert!(parse(&bomb).is_err_and(|error| error.to_string().contains("weights/data.pkl")));
    // A byte of an entry that does not match its checksum.
    let mut flipped = bytes.clone();
    let body = bytes.windows(2).position(|at| at == b"N.").unwrap();
    flipped[body] ^= 1;
    refuses(&flipped, "entry weights/data.pkl is missing or damaged");
    let mut twice = archive(&[("data.pkl", b"N."), ("data.pkk", b"N.")]);
    for at in 0..twice.len() - 8 {
        if twice[at..].starts_with(b"data.pkk") {
            twice[at + 7] = b'l';
        }
    }
    refuses(&twice, "two entries of one name");
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = one(tensor("FloatStorage", "0", 8, 0, &[8], &[1]));
    assert!(parse(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    let pickle = framed(&dict(&[("a", tensor("FloatStorage", "0", 8, 0, &[8], &[1]))]));
    for length in 0..pickle.len() {
        assert!(state_dict::state_dict(&pickle[..length]).is_err(), "{length}");
    }
}

/// What loads a module depends on who saved it: torch.save or torch.jit.save.
#[test]
fn whole_modules_are_refused_with_the_line_that_saves_them_right() {
    for (module, load) in [
        ("mynet", "torch.save(torch.load(FILE, weights_only=False).st"),
        ("__torch__.mynet", "torch.save(torch.jit.load(FILE).st"),
    ] {
        let object = [format!("c{module}\nNet\n)").as_bytes(), &[0x81]].concat();
        refuses(&archive(&[("data.pkl", &framed(&object))]), &format!("found a whole object of class {module}.Net"));
        refuses(&archive(&[("data.pkl", &framed(&object))]), load);
    }
}

/// Storages of an optimiser that are lost, damaged or of other types are nobody's concern.
#[test]
fn tensors_that_cannot_be_read_leave_the_others() {
    let lost = tensor("FloatStorage", "lost", 8, 0, &[8], &[1]);
    let (whole, count) = (tensor("FloatStorage", "0", 8, 0, &[8], &[1]), tensor("LongStorage", "1", 1, 0, &[1], &[1]));
    let pickle = framed(&dict(&[("lost", lost), ("whole", whole), ("count", count)]));
    let file = archive(&[("data.pkl", &pickle), ("data/0", &floats(&[1.0; 8])), ("data/1", &[0; 8])]);
    let mut dict = parse(&file).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(dict.order.len(), 3);
    assert_eq!(dict.unreadable.keys().collect::<Vec<_>>(), ["count"]);
    assert_eq!(dict.read(|name| name == "whole").into_keys().collect::<Vec<_>>(), ["whole"]);
    assert_eq!(dict.shapes.keys().collect::<Vec<_>>(), ["lost"], "nobody asked");
    assert_eq!(dict.unreadable.len(), 1);
    assert!(dict.read(|name| name != "count").is_empty());
    let StateDict { unreadable, .. } = dict;
    assert!(unreadable["lost"].to_string().contains("entry weights/data/lost is missing"), "{}", unreadable["lost"]);
}
