//! Files of other programs besides plain safetensors: numbers of 16 and 64 bits, ONNX, Caffe.

use std::collections::BTreeMap;

use alexnet::checkpoint::{Checkpoint, MEAN};
use alexnet::commands::convert::export_onnx;
use alexnet::interop::caffe::proto::{BlobProto, BlobShape, ConvolutionParameter, InnerProductParameter};
use alexnet::interop::caffe::proto::{LayerParameter, LrnParameter, NetParameter, PoolingParameter};
use alexnet::interop::onnx::proto::{ModelProto, NodeProto};
use alexnet::net::Model;
use alexnet::ops::{LAYERS, kind};
use alexnet::tensor::Tensor;
use half::{bf16, f16};
use prost::Message as _;
use safetensors::Dtype;
use safetensors::tensor::TensorView;

use crate::cli::{Place, contains};
use crate::tiny::TINY;
use crate::weights::{checkpoint, import, scores};

/// A safetensors file with the first layer of the tiny network.
fn first_layer(place: &Place, dtype: Dtype, number: impl Fn(f32) -> Vec<u8>) {
    let bytes = |count: usize| (0..count).flat_map(|i| number(i as f32 / 8.0)).collect::<Vec<u8>>();
    let (weights, bias) = (bytes(8 * 27), bytes(8));
    let weights = TensorView::new(dtype, vec![8, 3, 3, 3], &weights).unwrap();
    let bias = TensorView::new(dtype, vec![8], &bias).unwrap();
    let file = safetensors::serialize([("conv1.weight", weights), ("conv1.bias", bias)], None).unwrap();
    place.write("w.safetensors", file);
}

const IMPORT: [&str; 10] =
    ["import", "w.safetensors", "--model", "tiny.toml", "--missing", "random", "--mean", "1,2,3", "--out", "imported"];

#[test]
fn numbers_of_16_and_64_bits_become_32_bit_floats() {
    let place = Place::new();
    let imported = |dtype, number: &dyn Fn(f32) -> Vec<u8>| {
        first_layer(&place, dtype, number);
        place.ok(&IMPORT);
        place.read("imported")
    };
    // Eighths of whole numbers below 256 are the same in all of them.
    let whole = imported(Dtype::F32, &|value| value.to_le_bytes().into());
    assert!(imported(Dtype::F16, &|value| f16::from_f32(value).to_le_bytes().into()) == whole);
    assert!(imported(Dtype::BF16, &|value| bf16::from_f32(value).to_le_bytes().into()) == whole);
    assert!(imported(Dtype::F64, &|value| f64::from(value).to_le_bytes().into()) == whole);
    first_layer(&place, Dtype::F64, |value| (1e300 * f64::from(value)).to_le_bytes().into());
    place.refuses(&IMPORT, &["w.safetensors", "conv1.", "beyond the range of 32-bit floats"]);
    first_layer(&place, Dtype::I32, |value| (value as i32).to_le_bytes().into());
    place.refuses(&IMPORT, &["w.safetensors", "conv1.", "I32"]);
}

#[test]
fn files_that_only_look_like_those_of_pytorch_are_refused() {
    let place = Place::new();
    let refuses = |bytes: &[u8], part: &str| {
        place.write("w.safetensors", bytes);
        place.refuses(&IMPORT, &["w.safetensors", part]);
    };
    refuses(b"PK\x03\x04", "truncated, or not a zip archive");
    refuses(b"\x80\x02}q\x00.", "torch.save it again");
    refuses(b"", "is truncated or not a safetensors file");
    // Nor are all that begin as they do: this is the length of a safetensors file's header.
    refuses(&[&0x280_u64.to_le_bytes()[..], b"{}", &[b' '; 0x27e]].concat(), "no tensor of this network");
}

/// The ONNX file of `model` before training, with a mean of 1, 2 and 3.
fn exported(place: &Place, model: &Model) -> ModelProto {
    let mut checkpoint = checkpoint(model);
    let size = model.input.stored();
    checkpoint.tensors.insert(MEAN.into(), Tensor::new([size, size, 3], [1.0, 2.0, 3.0].repeat(size * size)));
    export_onnx(&checkpoint, &place.path("network.onnx")).unwrap();
    ModelProto::decode(place.read("network.onnx").as_slice()).unwrap()
}

fn ints<'n>(node: &'n NodeProto, name: &str) -> &'n [i64] {
    &node.attribute.iter().find(|attribute| attribute.name() == name).unwrap().ints
}

#[test]
fn an_onnx_graph_has_the_layers_of_the_network() {
    let place = Place::new();
    let file = exported(&place, &Model::open("mini").unwrap());
    let facts: BTreeMap<&str, &str> = file.metadata_props.iter().map(|fact| (fact.key(), fact.value())).collect();
    assert_eq!(facts["alexnet.mean"], "1,2,3");
    assert_eq!(facts["alexnet.scale"], "0.015625,0.015625,0.015625");
    let graph = file.graph.unwrap();
    let ops: Vec<&str> = graph.node.iter().map(NodeProto::op_type).collect();
    let normalised = ["Conv", "Relu", "Split", "LRN", "LRN", "Concat", "MaxPool"];
    let rest = ["Conv", "Relu", "Conv", "Relu", "Conv", "Relu", "MaxPool", "Flatten"];
    let full = ["Gemm", "Relu", "Gemm", "Relu", "Gemm", "Softmax"];
    assert_eq!(ops, [&normalised[..], &normalised, &rest, &full].concat());
    let node = |name: &str| graph.node.iter().find(|node| node.name() == name).unwrap();
    let groups = ["conv1", "conv2", "conv3", "conv4"]
        .map(|name| node(name).attribute.iter().find(|attribute| attribute.name() == "group").unwrap().i());
    assert_eq!(groups, [1, 2, 1, 2]);
    let alpha = node("conv1.lrn.part.0").attribute.iter().find(|attribute| attribute.name() == "alpha").unwrap().f();
    assert!((alpha - 5e-4).abs() < 1e-9, "of the mean of five squares: {alpha}");
    assert_eq!(ints(node("conv1.pool"), "pads"), [0, 0, 1, 1], "28 pixels, windows of 3 every 2: the last hangs over");
}

/// The last window of conv1 hangs over 224 pixels; what has no operator is written with those that there are.
#[test]
fn an_onnx_graph_of_2012_has_normalisation_within_maps() {
    let place = Place::new();
    let mut model = Model::open("alexnet-2012").unwrap();
    for row in &mut model.layers {
        row.set_outputs(if row.head.name() == "conv" { row.outputs() / 16 } else { 16 });
    }
    let graph = exported(&place, &model).graph.unwrap();
    let node = |name: &str| graph.node.iter().find(|node| node.name() == name).unwrap();
    assert_eq!(ints(node("conv1"), "pads"), [0, 0, 3, 3]);
    let within: Vec<&str> =
        graph.node.iter().filter(|node| node.name().starts_with("conv2.lrn_spatial")).map(NodeProto::op_type).collect();
    assert_eq!(within, ["Mul", "Conv", "Pow", "Mul"]);
    assert_eq!(ints(node("conv2.lrn_spatial.sums"), "pads"), [2, 2, 2, 2]);
}

/// A network with a mean image, which the graph subtracts as of the central crop; three means would err otherwise.
#[test]
fn an_onnx_file_subtracts_the_mean_image() {
    let place = Place::new();
    place.blobs();
    place.train("run", &["--data", "blobs"]);
    place.ok(&["export", "run", "--format", "onnx", "--out", "run.onnx"]);
    let file = ModelProto::decode(place.read("run.onnx").as_slice()).unwrap();
    assert!(file.metadata_props.iter().any(|fact| fact.key() == "alexnet.mean" && fact.value() == "0,0,0"));
    let ops: Vec<String> = file.graph.unwrap().node[..4].iter().map(|node| node.op_type().into()).collect();
    assert_eq!(ops, ["Slice", "Mul", "Sub", "Conv"]);
    let (ours, theirs) = (scores(&place, "run"), scores(&place, "run.onnx"));
    assert!((ours[0] - theirs[0]).abs() < 1e-5 * ours[0].max(1.0), "{ours:?} {theirs:?}");
    assert_eq!(ours[1..], theirs[1..]);
}

/// To ONNX and back, under every kind of mean: the same tensors, and the same file again.
#[test]
fn an_onnx_file_becomes_the_checkpoint_that_it_was() {
    let place = Place::new();
    let (file, again) = (place.path("file.onnx"), place.path("again.onnx"));
    let back = |ours: &Checkpoint, model: &Model| {
        export_onnx(ours, &file).unwrap();
        let imported = import(&file, model.clone()).read().unwrap();
        assert_eq!((imported.drawn, imported.unused), (Vec::new(), Vec::new()));
        assert!(imported.checkpoint.tensors == ours.tensors && imported.checkpoint.state == ours.state);
        export_onnx(&imported.checkpoint, &again).unwrap();
        assert!(place.read("file.onnx") == place.read("again.onnx"));
    };
    let lrn = "towers = 2\nlrn = { size = 4, k = 1.0, alpha = 0.1, beta = 0.75 }";
    for (from, to) in [
        ("stored = 10", "stored = 10"),
        ("stored = 10,", "stored = 8,"),
        ("stored = 10, scale = [0.015625, 0.015625, 0.015625]", "stored = 13, scale = [1.0, 1.0, 1.0]"),
        ("stored = 10, scale = [0.015625, 0.015625, 0.015625]", "scale = [0.3, 0.2, 0.1]"),
        ("stored = 10,", "stored = 10, mean = [120.5, 110.1, 100.7],"),
        ("fc2\", fc = 16", "fc2\", conv = { filters = 16, size = 4 }"),
    ] {
        for kind in ["relu", "lrn", "lrn_spatial"] {
            let then = format!("\"relu\", \"{kind}\", ").replace("\"relu\", \"relu\"", "\"relu\"");
            let text = TINY.replace(from, to).replace("\"relu\", \"pool\"", &format!("{then}\"pool\""));
            let model = Model::parse("tiny", &text.replace("towers = 2", lrn)).unwrap();
            let mut ours = checkpoint(&model);
            back(&ours, &model);
            if model.input.mean.is_none() {
                let size = model.input.stored();
                let same = [0.1, 20.7, 255.0].repeat(size * size);
                ours.tensors.insert(MEAN.into(), Tensor::new([size, size, 3], same));
                back(&ours, &model);
            }
        }
    }
    place.blobs();
    place.train("run", &["--data", "blobs"]);
    place.ok(&["export", "run", "--format", "onnx", "--out", "run.onnx"]);
    place.ok(&["import", "run.onnx", "--model", "tiny.toml", "--out", "imported.safetensors"]);
    assert_eq!(scores(&place, "imported.safetensors"), scores(&place, "run"));
}

#[test]
fn an_onnx_file_evaluates_as_its_checkpoint_does() {
    // An odd window has an operator in ONNX; an even one, and windows within maps, are written with others.
    for (kind, size) in [("lrn", 3), ("lrn", 4), ("lrn_spatial", 3)] {
        let place = Place::new();
        place.blobs();
        let lrn = format!("lrn = {{ size = {size}, k = 1.0, alpha = 0.1, beta = 0.75 }}");
        let text = TINY
            .replace("stored = 10,", "stored = 10, mean = [120.0, 110.0, 100.0],")
            .replace("towers = 2", &format!("towers = 2\n{lrn}"))
            .replace("\"relu\", \"pool\"", &format!("\"relu\", \"{kind}\", \"pool\""));
        place.write("tiny.toml", text);
        place.train("run", &["--data", "blobs"]);
        place.ok(&["export", "run", "--format", "onnx", "--out", "run.onnx"]);
        let (ours, theirs) = (scores(&place, "run"), scores(&place, "run.onnx"));
        // Sums in another order.
        assert!((ours[0] - theirs[0]).abs() < 1e-5 * ours[0], "{kind} over {size}: {ours:?} {theirs:?}");
        assert_eq!(ours[1..], theirs[1..], "{kind} over {size}");
        place.refuses(&["export", "run", "--format", "onnx", "--names", "caffe", "--out", "x"], &["--names"]);
    }
}

/// A dropout's share goes into the weights behind it, through layers that let a factor pass; through others it cannot.
#[test]
fn every_kind_of_layer_is_exported_as_it_computes_or_refused() {
    for layer in LAYERS {
        for example in layer.examples {
            let stage = if example.starts_with('"') { (*example).into() } else { format!("{{ {example} }}") };
            let rows = match layer.place {
                kind::Place::Loss => continue, // the last of every network here
                kind::Place::Head { .. } => vec![
                    TINY.replace("conv = { filters = 8, size = 3, pad = 1 }", example)
                        .replace("\"relu\", \"pool\"", "\"relu\""),
                    TINY.replace("fc = 16, sees = \"both\"", example),
                ]
                .split_off(usize::from(example.contains("groups"))), // three colours make none
                kind::Place::Stage { .. } => ["", "\"dropout\", \"relu\", "]
                    .map(|before| TINY.replace("\"relu\", \"pool\"", &format!("{before}{stage}")))
                    .into(),
            };
            for text in rows {
                assert_ne!(text, TINY, "{example} is in the network");
                let passes =
                    !matches!(layer.scaling, kind::Scaling::Other) || !text.contains("[\"dropout\"") || layer.is_head();
                let place = Place::new();
                place.blobs();
                place.write(
                    "tiny.toml",
                    text.replace("stored = 10,", "stored = 10, mean = [120.0, 110.0, 100.0],")
                        .replace("epochs = 2", "epochs = 1"),
                );
                place.train("run", &["--data", "blobs", "--steps", "3"]);
                let export = ["export", "run", "--format", "onnx", "--out", "run.onnx"];
                if text.contains("local = ") {
                    place.refuses(&export, &["layer", "other filters for every pixel"]);
                    continue;
                }
                if !passes {
                    place.refuses(&export, &[&format!("layer conv1: {} after dropout", layer.name)]);
                    continue;
                }
                place.ok(&export);
                let (ours, theirs) = (scores(&place, "run"), scores(&place, "run.onnx"));
                assert!((ours[0] - theirs[0]).abs() < 1e-5 * ours[0], "{text}: {ours:?} {theirs:?}");
                assert_eq!(ours[1..], theirs[1..], "{text}");
            }
        }
    }
}

const CAFFE: &str = r#"
about = "a small network in the order of Caffe's"
input = { channels = 3, size = 8, stored = 10 }
lrn = { size = 5, k = 1.0, alpha = 2e-5, beta = 0.75 }
pool = { size = 3, stride = 2 }
layers = [
  { name = "conv1", conv = { filters = 4, size = 3, pad = 1 }, then = ["relu", "pool", "lrn"] },
  { name = "fc2", fc = 10, then = ["softmax"] },
]
[train]
batch = 8
epochs = 1
rate = 0.01
"#;

fn layer(name: &str, kind: &str, bottom: &str, top: &str) -> LayerParameter {
    let [name, kind, bottom, top] = [name, kind, bottom, top].map(str::to_owned);
    LayerParameter { name: Some(name), r#type: Some(kind), bottom: vec![bottom], top: vec![top], ..Default::default() }
}

fn blob(shape: &[i64]) -> BlobProto {
    let data = (0..shape.iter().product::<i64>()).map(|value| value as f32).collect();
    BlobProto { shape: Some(BlobShape { dim: shape.into() }), data, ..Default::default() }
}

fn caffe() -> NetParameter {
    let conv = ConvolutionParameter { num_output: Some(4), kernel_size: vec![3], pad: vec![1], ..Default::default() };
    let pool = PoolingParameter { kernel_size: Some(3), stride: Some(2), ..Default::default() };
    let lrn = LrnParameter { alpha: Some(1e-4), ..Default::default() };
    let full = InnerProductParameter { num_output: Some(10), ..Default::default() };
    let layers = [
        LayerParameter {
            convolution_param: Some(conv),
            blobs: vec![blob(&[4, 3, 3, 3]), blob(&[4])],
            ..layer("conv1", "Convolution", "data", "conv1")
        },
        layer("relu1", "ReLU", "conv1", "conv1"),
        LayerParameter { pooling_param: Some(pool), ..layer("pool1", "Pooling", "conv1", "pool1") },
        LayerParameter { lrn_param: Some(lrn), ..layer("norm1", "LRN", "pool1", "norm1") },
        LayerParameter {
            inner_product_param: Some(full),
            blobs: vec![blob(&[10, 64]), blob(&[10])],
            ..layer("fc2", "InnerProduct", "norm1", "fc2")
        },
        layer("prob", "Softmax", "fc2", "prob"),
    ];
    NetParameter { layer: layers.into(), ..Default::default() }
}

#[test]
fn a_network_of_caffe_becomes_a_checkpoint() {
    let place = Place::new();
    place.write("small.toml", CAFFE);
    place.write("small.caffemodel", caffe().encode_to_vec());
    place.write("mean.binaryproto", blob(&[1, 3, 10, 10]).encode_to_vec());
    let arguments = ["import", "small.caffemodel", "--model", "small.toml", "--out", "imported"];
    place.refuses(&arguments, &["small.caffemodel", "no mean image", "--mean-file"]);
    let with_mean = [&arguments[..], &["--mean-file", "mean.binaryproto"]].concat();
    place.ok(&with_mean);
    let imported = Checkpoint::read(&place.path("imported")).unwrap();
    assert_eq!(imported.tensors[MEAN].values()[..6], [200.0, 100.0, 0.0, 201.0, 101.0, 1.0], "red, green, blue");
    // [C][R][S][K]: red of filter 2 is the last plane of the file's.
    assert_eq!(imported.tensors["conv1.weights"].values()[2], (2 * 27 + 18) as f32);
    assert_eq!(imported.tensors["fc2.weights"].values()[10 + 3], (3 * 64 + 1) as f32);
    place.write("deploy.prototxt", "layer { name: 'fc2' type: 'InnerProduct' inner_product_param { num_output: 9 } }");
    place.refuses(
        &[&with_mean[..], &["--prototxt", "deploy.prototxt"]].concat(),
        &["deploy.prototxt", "its layer 1 is fc2", "the model has conv1"],
    );
    place.write("small.toml", CAFFE.replace("\"pool\", \"lrn\"", "\"lrn\", \"pool\""));
    place.refuses(&with_mean, &["small.caffemodel", "its layer 3 is max pool", "the model has normalisation"]);
    place.write("small.caffemodel", &caffe().encode_to_vec()[..700]);
    place.refuses(&with_mean, &["small.caffemodel"]);
    contains(&place.ok(&["import", "--help"]), &[".caffemodel", "--mean-file"]);
}
