//! ONNX files that are damaged, or ask for what is not supported: each is refused with a message that names the node,
//! the operator and the attribute, before anything is allocated, without a panic. And the program with such files.

use std::collections::BTreeMap;

use alexnet::backend::Engine;
use alexnet::graph::Given;
use alexnet::interop::npy;
use alexnet::interop::onnx::proto::tensor_proto::{DataLocation, DataType};
use alexnet::interop::onnx::proto::{AttributeProto, SparseTensorProto, StringStringEntryProto, TensorProto};
use alexnet::interop::onnx::{metadata, parse};
use alexnet::session::GraphSession;
use alexnet::tensor::Tensor;
use prost::Message as _;

use crate::cli::{Place, contains, save_image};
use crate::onnx::file::{File, float, floats, info, int, integers, ints, random, text};

/// A network that is whole: a convolution and what classifies.
fn whole() -> File {
    File::new(13)
        .input("x", &[-1, 3, 6, 6])
        .constant(floats("w", &random(&[4, 3, 3, 3], 1)))
        .constant(floats("b", &random(&[4], 2)))
        .constant(floats("m", &random(&[64, 10], 3)))
        .node("Conv", &["x", "w", "b"], &["c"], vec![])
        .node("Relu", &["c"], &["r"], vec![])
        .node("Flatten", &["r"], &["f"], vec![])
        .node("Gemm", &["f", "m"], &["g"], vec![])
        .node("Softmax", &["g"], &["y"], vec![])
        .outputs(&["y"])
}

const IMAGES: &[(&str, &[usize])] = &[("x", &[2, 3, 6, 6])];

/// Checks that `whole`, changed, is refused with all of `parts`.
#[track_caller]
fn changed(change: impl FnOnce(&mut File), parts: &[&str]) {
    let mut file = whole();
    change(&mut file);
    contains(&file.refused(IMAGES), parts);
}

/// Checks that `op` with these attributes is refused, on `x` and a constant `w` of these extents.
#[track_caller]
fn node(op: &str, x: &[usize], w: Option<&[usize]>, attributes: Vec<AttributeProto>, parts: &[&str]) {
    let dims: Vec<i64> = x.iter().map(|&extent| extent as i64).collect();
    let mut file = File::new(13).input("x", &dims).outputs(&["y"]);
    let mut inputs = vec!["x"];
    if let Some(w) = w {
        file = file.constant(floats("w", &random(w, 1)));
        inputs.push("w");
    }
    let file = file.node(op, &inputs, &["y"], attributes);
    contains(&file.refused(&[("x", x)]), &[&["node the ", op], parts].concat());
}

#[test]
fn bytes_that_are_no_file() {
    let bytes = whole().bytes();
    assert!(parse(&bytes).is_ok());
    for length in 0..bytes.len() {
        assert!(parse(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
    // Every byte damaged in turn: an error or another network, no panic.
    for at in 0..bytes.len().min(2000) {
        for mask in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= mask;
            let _ = parse(&bytes);
        }
    }
    contains(&parse(b"not at all").unwrap_err().to_string(), &["not an ONNX file"]);
    contains(&parse(&[]).unwrap_err().to_string(), &["opset_import"]);
    // A name that is not UTF-8.
    let name = bytes.windows(8).position(|window| window == b"the Conv").unwrap();
    let mut bytes = bytes;
    bytes[name] = 0xff;
    contains(&parse(&bytes).unwrap_err().to_string(), &["UTF-8"]);
}

#[test]
fn graphs_that_do_not_hang_together() {
    changed(|file| file.model.graph = None, &["without a graph"]);
    changed(|file| file.model.opset_import.clear(), &["opset_import"]);
    changed(|file| file.model.opset_import[0].version = Some(99), &["opset 99"]);
    changed(|file| file.graph().output.clear(), &["without outputs"]);
    changed(|file| file.graph().output[0].name = Some("z".into()), &["output z"]);
    changed(
        |file| file.graph().node[0].input[1] = "v".into(),
        &["node the Conv (Conv)", "it reads v", "no initializer"],
    );
    changed(|file| file.graph().node[1].output[0] = "c".into(), &["c: there are two values of this name"]);
    changed(|file| file.graph().initializer[1].name = Some("w".into()), &["initializer w: there are two"]);
    changed(|file| file.graph().node[0].input[0] = "r".into(), &["it reads r, which is written only later", "circle"]);
    changed(|file| file.graph().node.swap(0, 1), &["node the Relu (Relu)", "not in their order"]);
    changed(|file| file.graph().node[1].op_type = Some("Einsum".into()), &["(Einsum)", "not supported", "LogSoftmax"]);
    changed(|file| file.graph().node[1].domain = Some("com.microsoft".into()), &["domain com.microsoft"]);
    changed(|file| file.graph().node[1].output.clear(), &["node the Relu (Relu)", "no output"]);
    changed(|file| file.graph().node[1].input.clear(), &["(Relu)", "expected 1 input and 1 output, found 0 and 1"]);
    changed(|file| file.graph().node[1].input[0] = String::new(), &["(Relu)", "input 0 is missing"]);
    changed(|file| file.graph().input[0].name = Some(String::new()), &["input : it has no name"]);
}

#[test]
fn constants_that_are_none() {
    let first = |change: fn(&mut TensorProto)| move |file: &mut File| change(&mut file.graph().initializer[0]);
    changed(first(|w| w.dims[0] = 5), &["initializer w", "it has 108 elements, and its shape wants 135"]);
    changed(first(|w| w.dims[0] = -4), &["initializer w", "-4"]);
    changed(first(|w| w.dims = vec![i64::MAX; 4]), &["initializer w", "too large"]);
    changed(first(|w| w.raw_data = Some(vec![0; 431])), &["initializer w", "elements"]);
    changed(
        first(|w| w.data_type = Some(DataType::Double as i32)),
        &["(Conv)", "w is of type DOUBLE", "32-bit floats"],
    );
    changed(first(|w| w.data_type = Some(77)), &["(Conv)", "w is of type 77"]);
    changed(first(|w| w.data_location = Some(DataLocation::External as i32)), &["initializer w", "external data"]);
    let elsewhere = StringStringEntryProto { key: Some("location".into()), value: Some("/etc/passwd".into()) };
    changed(|file| file.graph().initializer[0].external_data.push(elsewhere), &["initializer w", "external data"]);
    changed(
        |file| file.graph().sparse_initializer.push(SparseTensorProto { values: Some(floats("s", &random(&[1], 0))) }),
        &["initializer s", "sparse"],
    );
    let whole_numbers = |file: &mut File| file.graph().initializer[1] = integers("b", &[1, 2, 3, 4]);
    changed(whole_numbers, &["(Conv)", "b holds whole numbers"]);
}

#[test]
fn inputs_that_do_not_fit() {
    contains(&whole().refused(&[]), &["input x: it is not given", "--input x=FILE.npy"]);
    contains(&whole().refused(&[("x", &[2, 3, 6, 7])]), &["input x: it has shape [2, 3, 6, 7]", "[?, 3, 6, 6]"]);
    contains(&whole().refused(&[("x", &[2, 3, 6, 6]), ("z", &[1])]), &["input z", "there is none of this name, but x"]);
    contains(&whole().refused(&[("x", &[0, 3, 6, 6])]), &["input x", "empty"]);
    contains(&whole().refused(&[("x", &[1 << 40, 3, 6, 6])]), &["input x", "too large"]);
    // Within what kernels can count, but not within the memory of any machine that runs this.
    let mut large = File::new(13).input("x", &[-1, 64]).outputs(&["y"]);
    for (from, to) in [("x", "a"), ("a", "b"), ("b", "y")] {
        large = large.node("Concat", &vec![from; 256], &[to], vec![int("axis", 1)]);
    }
    contains(&large.refused(&[("x", &[8, 64])]), &["(Concat)", "too large"]);
    let shared = File::new(13).input("x", &[2, 3]).input("z", &[3, 2]).node("Add", &["x", "z"], &["y"], vec![]);
    let message = shared.outputs(&["y"]).refused(&[("x", &[2, 3]), ("z", &[3, 2])]);
    contains(&message, &["node the Add (Add)", "[2, 3] and [3, 2] do not fit"]);
}

#[test]
fn what_is_given_later_has_the_same_shape() {
    let graph = parse(&whole().bytes()).unwrap();
    let given = BTreeMap::from([("x".to_owned(), Given::Floats(vec![2, 3, 6, 6]))]);
    let mut session = GraphSession::new(&graph, &given, &Engine::Cpu.into()).unwrap();
    let mut refused = |inputs| session.run(&inputs).unwrap_err().to_string();
    let other = BTreeMap::from([("x".to_owned(), random(&[1, 3, 6, 6], 0))]);
    contains(&refused(other), &["input x", "[1, 3, 6, 6]", "[2, 3, 6, 6]"]);
    contains(&refused(BTreeMap::new()), &["input x: it is not given"]);
}

#[test]
fn sizes_may_be_inputs() {
    let mut file = File::new(13).input("x", &[2, 6]).node("Reshape", &["x", "s"], &["y"], vec![]).outputs(&["y"]);
    file.graph().input.push(info("s", DataType::Int64, &[2]));
    let (graph, x) = (parse(&file.bytes()).unwrap(), random(&[2, 6], 0));
    let set_up = |sizes: Given| {
        let given = BTreeMap::from([("x".to_owned(), Given::Floats(vec![2, 6])), ("s".to_owned(), sizes)]);
        GraphSession::new(&graph, &given, &Engine::Cpu.into())
    };
    let mut session = set_up(Given::Integers { dims: vec![2], values: [3, -1].into() }).unwrap();
    let y = session.run(&BTreeMap::from([("x".to_owned(), x.clone())])).unwrap();
    assert_eq!(y, [("y".to_owned(), Tensor::new([3, 4], x.into_values()))]);
    let refused = |sizes| set_up(sizes).err().unwrap().to_string();
    contains(&refused(Given::Integers { dims: vec![2], values: [5, -1].into() }), &["(Reshape)", "[5, -1]", "[2, 6]"]);
    contains(&refused(Given::Floats(vec![2])), &["input s", "whole numbers"]);
}

#[test]
fn attributes_that_are_not_supported() {
    let maps: &[usize] = &[1, 4, 6, 6];
    let filters = Some(&[4, 4, 3, 3][..]);
    node("Conv", maps, filters, vec![int("novel", 1)], &["attribute novel is not supported"]);
    node("Conv", maps, filters, vec![float("group", 1.0)], &["attribute group is of type FLOAT, expected INT"]);
    node("Conv", maps, filters, vec![int("group", 1), int("group", 2)], &["attribute group is there twice"]);
    node("Conv", maps, filters, vec![int("group", 3)], &["group 3", "4 maps"]);
    node("Conv", maps, filters, vec![int("group", 0)], &["attribute group"]);
    node("Conv", maps, filters, vec![int("group", i64::MAX)], &["group 9223372036854775807"]);
    node("Conv", maps, filters, vec![ints("strides", &[0, 1])], &["strides"]);
    node("Conv", maps, filters, vec![ints("strides", &[1])], &["strides"]);
    node("Conv", maps, filters, vec![ints("pads", &[0, 0, -1, 0])], &["pads", "negative"]);
    node("Conv", maps, filters, vec![ints("pads", &[0, 0, 1 << 40, 0])], &["pads"]);
    node("Conv", maps, filters, vec![ints("dilations", &[9, 1])], &["dilations", "larger than the map"]);
    node("Conv", maps, filters, vec![ints("dilations", &[1 << 15, 1])], &["dilations", "too large"]);
    node("Conv", maps, filters, vec![ints("kernel_shape", &[2, 2])], &["kernel_shape"]);
    node(
        "Conv",
        maps,
        filters,
        vec![text("auto_pad", "SAME")],
        &["unknown value SAME of attribute auto_pad; known are NOTSET, SAME_UPPER"],
    );
    node("Conv", &[1, 4, 6], filters, vec![], &["X has shape [1, 4, 6]"]);
    node("MaxPool", maps, None, vec![], &["kernel_shape is missing"]);
    node("MaxPool", maps, None, vec![ints("kernel_shape", &[7, 7])], &["kernel_shape"]);
    node("MaxPool", maps, None, vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 2)], &["ceil_mode is 2"]);
    node("LRN", maps, None, vec![], &["attribute size is missing"]);
    node("LRN", maps, None, vec![int("size", 4)], &["size 4"]);
    node("LRN", maps, None, vec![int("size", -3)], &["size"]);
    node("LRN", maps, None, vec![int("size", 3), float("alpha", f32::NAN)], &["alpha"]);
    node("Gemm", &[2, 3], Some(&[4, 5]), vec![], &["[2, 3]", "[4, 5]"]);
    node("Gemm", &[2, 3, 1], Some(&[3, 5]), vec![], &["A has shape [2, 3, 1]"]);
    node("MatMul", &[2, 3, 4], Some(&[3, 4, 5]), vec![], &["[2]", "[3]"]);
    node("MatMul", &[300, 1, 4], Some(&[300, 4, 1]), vec![], &["batch of 300"]);
    node("Softmax", maps, None, vec![int("axis", 4)], &["axis 4 is out of range for 4 axes"]);
    node("Concat", maps, Some(&[1, 4, 6, 5]), vec![int("axis", 1)], &["does not fit behind"]);
    node("Concat", maps, None, vec![], &["attribute axis is missing"]);
    node("Flatten", maps, None, vec![int("axis", 5)], &["axis 5 is out of range"]);
    node("Reshape", maps, Some(&[2]), vec![], &["w has to be whole numbers"]);
    node("Split", maps, None, vec![int("axis", 1), ints("split", &[1, 3])], &["attribute split is not supported"]);
}

#[test]
fn what_is_not_computed_is_named() {
    let pool = File::new(13)
        .input("x", &[1, 1, 4, 4])
        .node("MaxPool", &["x"], &["y", "i"], vec![ints("kernel_shape", &[2, 2])])
        .outputs(&["y", "i"]);
    contains(&pool.refused(&[("x", &[1, 1, 4, 4])]), &["output i", "the indices of node the MaxPool (MaxPool)"]);
    let mut training = File::new(13).input("x", &[4]).outputs(&["y"]);
    let on = TensorProto { data_type: Some(DataType::Bool as i32), int32_data: vec![1], ..TensorProto::default() };
    training = training.constant(TensorProto { name: Some("t".into()), ..on });
    let training = training.node("Dropout", &["x", "", "t"], &["y"], vec![]);
    contains(&training.refused(&[("x", &[4])]), &["(Dropout)", "training_mode"]);
    let mut double = File::new(13).node("Relu", &["d"], &["y"], vec![]).outputs(&["y"]);
    double.graph().input.push(info("d", DataType::Double, &[4]));
    contains(&double.refused(&[("d", &[4])]), &["(Relu)", "d is of type DOUBLE"]);
    for (sizes, outputs) in [(&[2, 3][..], &["a", "y"][..]), (&[1 << 62, 1 << 62], &["a", "y"]), (&[4, 0], &["a", "y"])]
    {
        let split = File::new(13).input("x", &[4]).constant(integers("s", sizes)).outputs(&["y"]);
        let split = split.node("Split", &["x", "s"], outputs, vec![]);
        contains(&split.refused(&[("x", &[4])]), &["(Split)", "an extent of 4 is not 2 parts"]);
    }
}

/// The whole network in a folder, with an input.
fn place() -> (Place, Tensor) {
    let (place, x) = (Place::new(), random(&[2, 3, 6, 6], 9));
    place.write("net.onnx", whole().bytes());
    place.write("x.npy", npy::bytes(&x));
    (place, x)
}

#[test]
fn the_program_runs_networks() {
    let (place, x) = place();
    place.ok(&["run", "net.onnx", "--input", "x=x.npy", "--output-dir", "out", "--devices", "cpu"]);
    assert_eq!(place.list("out"), ["y.npy"]);
    let Ok(npy::Array::Floats(y)) = npy::parse(&place.read("out/y.npy")) else { panic!("no floats") };
    assert_eq!(y, whole().run(&Engine::Cpu, &[("x", &x)])[0]);
    let run = |more: &[&'static str]| [&["run", "net.onnx", "--devices", "cpu", "--output-dir", "no"], more].concat();
    place.refuses(&run(&[]), &["input x", "--input x=FILE.npy"]);
    place.refuses(&run(&["--input", "x=tiny.toml"]), &["tiny.toml: not a .npy file"]);
    place.refuses(&run(&["--input", "x=gone.npy"]), &["gone.npy: cannot be read"]);
    place.refuses(&run(&["--input", "x=x.npy", "--input", "x=x.npy"]), &["input x is given twice"]);
    place.write("cut.onnx", &whole().bytes()[..500]);
    place.refuses(
        &["run", "cut.onnx", "--input", "x=x.npy", "--output-dir", "no"],
        &["cut.onnx", "not an ONNX file, or a damaged one"],
    );
    assert!(!place.path("no").exists());
}

#[test]
fn the_program_classifies_with_networks() {
    let (place, _) = place();
    save_image(&place.path("a.png"), 9, 9, [200, 20, 100]);
    let classify = |model, more: &[&'static str]| [&["classify", model, "a.png", "--devices", "cpu"], more].concat();
    place.refuses(&classify("net.onnx", &[]), &["net.onnx", "alexnet.mean", "--mean"]);
    place.refuses(&classify("net.onnx", &["--mean", "1,2,3"]), &["alexnet.scale", "--scale"]);
    let flags = ["--mean", "100,110,120", "--scale", "0.01,0.02,0.03", "--json"];
    let by_flags = place.json(&classify("net.onnx", &flags));
    // The same by metadata, and by hand: the image is of one colour.
    let mut file = whole();
    let names: Vec<String> = (0..10).map(|class| format!("class {class}")).collect();
    for (key, value) in [
        (metadata::MEAN, "100,110,120".to_owned()),
        (metadata::SCALE, "0.01,0.02,0.03".to_owned()),
        (metadata::STORED_SIZE, "8".to_owned()),
        (metadata::CLASSES, serde_json::to_string(&names).unwrap()),
    ] {
        file.model.metadata_props.push(StringStringEntryProto { key: Some(key.into()), value: Some(value) });
    }
    place.write("told.onnx", file.model.encode_to_vec());
    let by_metadata = place.json(&classify("told.onnx", &["--json"]));
    let planes = [(200.0 - 100.0) * 0.01, (20.0 - 110.0) * 0.02, (100.0 - 120.0) * 0.03_f32];
    let x = Tensor::new([1, 3, 6, 6], planes.iter().flat_map(|&value| [value; 36]).collect());
    let y = whole().run(&Engine::Cpu, &[("x", &x)]).remove(0);
    let (best, most) = y.values().iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap();
    for (found, name) in [(by_flags, best.to_string()), (by_metadata, format!("class {best}"))] {
        let label = &found[0]["labels"][0];
        assert_eq!(label[0], name);
        assert!((label[1].as_f64().unwrap() - f64::from(*most)).abs() < 1e-6, "{found}");
    }
    place.blobs();
    let eval = ["eval", "told.onnx", "--data", "blobs", "--devices", "cpu", "--json"];
    place.refuses(&eval, &["blobs", "class 0", "spot 0"]);
    let eval = ["eval", "net.onnx", "--data", "blobs", "--devices", "cpu", "--json", "--batch", "16"];
    let score = place.json(&[&eval[..], &flags[..4]].concat());
    assert_eq!(score["images"], 50);
    assert!(score["loss"].as_f64().unwrap().is_finite());
    place.train("trained", &["--steps", "1", "--data", "blobs"]);
    place.refuses(&["classify", "trained", "a.png", "--devices", "cpu", "--mean", "1,2,3"], &["trained", "--mean"]);
}
