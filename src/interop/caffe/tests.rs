//! Networks written with the messages of the format, and then broken.

use prost::Message as _;

use super::proto::v1_layer_parameter::LayerType;
use super::proto::{BlobShape, ConvolutionParameter, InnerProductParameter, LayerParameter, V1LayerParameter};
use super::*;
use crate::kernel::{Param as _, Params, Value};
use crate::net::Model;
use crate::ops::LAYERS;
use crate::ops::kind::LayerKind;
use crate::ops::layer::Chw;

/// Small chain, as Caffe's authors write theirs.
const TEXT: &str = r#"
name: "Small" # in the style of deploy.prototxt
layer { name: "data" type: "Input" top: "data" input_param { shape: { dim: 10 dim: 3 dim: 8 dim: 8 } } }
layer {
  name: "conv1"
  type: "Convolution"
  bottom: "data"
  top: "conv1"
  param { lr_mult: 1 }
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 1 weight_filler { type: 'gaussian' std: 0.01 } }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer {
  name: "conv2" type: "Convolution" bottom: "pool1" top: "conv2"
  convolution_param { num_output: 4 kernel_size: 1 group: 2 }
}
layer { name: "fc3" type: "InnerProduct" bottom: "conv2" top: "fc3" inner_product_param { num_output: 10 } }
layer { name: "drop3" type: "Dropout" bottom: "fc3" top: "fc3" dropout_param { dropout_ratio: 0.5 } }
layer { name: "prob" type: "Softmax" bottom: "fc3" top: "prob" }
"#;

const MODEL: &str = r#"
about = "the same"
input = { channels = 3, size = 8 }
lrn = { size = 5, k = 1.0, alpha = 2e-5, beta = 0.75 }
pool = { size = 3, stride = 2 }
layers = [
  { name = "conv1", conv = { filters = 4, size = 3, pad = 1 }, then = ["relu", "lrn", "pool"] },
  { name = "conv2", conv = { filters = 4, size = 1 } },
  { name = "fc3", fc = 10, then = ["dropout", "softmax"] },
]
[train]
batch = 8
epochs = 1
rate = 0.01
"#;

fn model() -> Model {
    Model::parse("model", MODEL).unwrap()
}

/// Blob of numbers that count up from `first`, with its extents as today or, `old`, as in 2014.
fn blob(shape: &[i64], first: usize, old: bool) -> BlobProto {
    let count = shape.iter().product::<i64>() as usize;
    let data = (first..first + count).map(|value| value as f32).collect();
    if !old {
        return BlobProto { shape: Some(BlobShape { dim: shape.into() }), data, ..BlobProto::default() };
    }
    let extent = |at: usize| (at + shape.len()).checked_sub(4).map_or(1, |at| shape[at] as i32);
    let [num, channels, height, width] = [0, 1, 2, 3].map(extent).map(Some);
    BlobProto { num, channels, height, width, data, ..BlobProto::default() }
}

/// Network of [`TEXT`] with weights, in the present format.
fn weighted() -> NetParameter {
    let mut net = prototxt::parse(TEXT).unwrap();
    for layer in &mut net.layer {
        layer.blobs = match layer.name() {
            "conv1" => vec![blob(&[4, 3, 3, 3], 0, false), blob(&[4], 7, false)],
            "conv2" => vec![blob(&[4, 2, 1, 1], 1, false), blob(&[4], 0, false)],
            "fc3" => vec![blob(&[10, 64], 0, false), blob(&[10], 0, false)],
            _ => Vec::new(),
        };
    }
    net
}

/// The same network in the format of 2014, with the layers that training had.
fn old() -> NetParameter {
    let word = |kind: &str| match kind {
        "Convolution" => LayerType::Convolution,
        "ReLU" => LayerType::Relu,
        "LRN" => LayerType::Lrn,
        "Pooling" => LayerType::Pooling,
        "InnerProduct" => LayerType::InnerProduct,
        "Dropout" => LayerType::Dropout,
        "Softmax" => LayerType::SoftmaxLoss,
        _ => LayerType::Data,
    };
    let old_blob =
        |blob: &BlobProto| super::tests::blob(&blob.shape.as_ref().unwrap().dim, blob.data[0] as usize, true);
    let layer = |layer: LayerParameter| V1LayerParameter {
        r#type: Some(word(layer.r#type()) as i32),
        blobs: layer.blobs.iter().map(old_blob).collect(),
        name: layer.name,
        bottom: layer.bottom,
        top: layer.top,
        include: layer.include,
        convolution_param: layer.convolution_param,
        inner_product_param: layer.inner_product_param,
        lrn_param: layer.lrn_param,
        pooling_param: layer.pooling_param,
        relu_param: layer.relu_param,
        transform_param: layer.transform_param,
    };
    let mut layers: Vec<_> = weighted().layer.into_iter().map(layer).collect();
    // Copies that Caffe put in, read under another name.
    let split = V1LayerParameter {
        r#type: Some(LayerType::Split as i32),
        bottom: vec!["pool1".into()],
        top: vec!["pool1_split_0".into(), "pool1_split_1".into()],
        ..V1LayerParameter::default()
    };
    let conv2 = layers.iter().position(|layer| layer.name() == "conv2").unwrap();
    layers[conv2].bottom = vec!["pool1_split_0".into()];
    layers.insert(conv2, split);
    NetParameter { layers, ..NetParameter::default() }
}

#[test]
fn weights_are_those_of_the_model_in_red_green_blue() {
    let net = Net::new(model()).unwrap();
    for file in [weighted(), old()] {
        let network = parse(&file.encode_to_vec()).unwrap();
        network.agrees_with(&net.model).unwrap();
        let mut tensors = network.tensors().unwrap();
        network.ungroup(&net, &mut tensors).unwrap();
        let first = &tensors["conv1.weight"];
        assert_eq!(first.shape(), [4, 3, 3, 3]);
        // Filter 1, red: the last of the file's three.
        assert_eq!(first.values()[27..36], [45.0, 46.0, 47.0, 48.0, 49.0, 50.0, 51.0, 52.0, 53.0]);
        assert_eq!(tensors["conv1.bias"].values(), [7.0, 8.0, 9.0, 10.0]);
        let grouped = &tensors["conv2.weight"];
        assert_eq!(grouped.shape(), [4, 4, 1, 1]);
        let rows = [[1.0, 2.0, 0.0, 0.0], [3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 5.0, 6.0], [0.0, 0.0, 7.0, 8.0]];
        assert_eq!(grouped.values(), rows.concat());
        assert_eq!(tensors["fc3.weight"].shape(), [10, 64]);
    }
}

/// Caffe's networks for CIFAR-10: convolutions of these filters with these layers behind them, then rows of these
/// outputs.
fn cifar(behind: [&[&str]; 3], outputs: &[usize]) -> Network {
    let mut text = vec!["input: 'data' input_dim: 1 input_dim: 3 input_dim: 32 input_dim: 32".to_owned()];
    let mut last = "data".to_owned();
    let mut add = |name: String, words: String| {
        text.push(format!("layer {{ name: '{name}' bottom: '{last}' top: '{name}' {words} }}"));
        last = name;
    };
    for (number, (filters, behind)) in (1..).zip([32, 32, 64].into_iter().zip(behind)) {
        let conv = format!("num_output: {filters} pad: 2 kernel_size: 5 stride: 1");
        add(format!("conv{number}"), format!("type: 'Convolution' convolution_param {{ {conv} }}"));
        for &kind in behind {
            let words = match kind {
                "relu" => "type: 'ReLU'".into(),
                "norm" => {
                    let norm = "local_size: 3 alpha: 5e-05 beta: 0.75 norm_region: WITHIN_CHANNEL";
                    format!("type: 'LRN' lrn_param {{ {norm} }}")
                }
                pool => format!("type: 'Pooling' pooling_param {{ pool: {pool} kernel_size: 3 stride: 2 }}"),
            };
            add(format!("{kind}{number}"), words);
        }
    }
    for (number, outputs) in (1..).zip(outputs) {
        let words = format!("type: 'InnerProduct' inner_product_param {{ num_output: {outputs} }}");
        add(format!("ip{number}"), words);
    }
    add("prob".into(), "type: 'Softmax'".into());
    parse_text(&text.join(" ")).unwrap()
}

#[test]
fn networks_for_cifar_10_agree_by_position() {
    let open = |name: &str| Model::open(name).unwrap();
    let quick = cifar([&["MAX", "relu"], &["relu", "AVE"], &["relu", "AVE"]], &[64, 10]);
    quick.agrees_with(&open("bvlc-cifar-quick")).unwrap();
    let neuron = quick.agrees_with(&open("cifar-quick")).unwrap_err().to_string();
    assert!(neuron.contains("ip2, fully connected with 10 outputs") && neuron.contains("relu"), "{neuron}");
    let full = cifar([&["MAX", "relu", "norm"], &["relu", "AVE", "norm"], &["relu", "AVE"]], &[10]);
    full.agrees_with(&open("cifar-18pct")).unwrap();
    let mut tensors = BTreeMap::from([("ip1.weight".to_owned(), Tensor::new([1], vec![0.0]))]);
    let words = full.name_as(&open("cifar-18pct"), &mut tensors).unwrap();
    assert_eq!(words, "names differ, so layers were taken by order: fc10 is ip1");
    assert!(tensors.contains_key("fc10.weight"));
}

/// Groups of a tower have the file's own weights.
#[test]
fn groups_stay_groups_where_the_model_has_them() {
    let network = parse(&weighted().encode_to_vec()).unwrap();
    let imported = |from: &str, to: &str| {
        assert!(MODEL.contains(from));
        let net = Net::new(Model::parse("model", &MODEL.replace(from, to)).unwrap()).unwrap();
        network.agrees_with(&net.model)?;
        let mut tensors = network.tensors().unwrap();
        let words = network.ungroup(&net, &mut tensors).unwrap();
        Ok::<_, ModelMismatch>((tensors["conv2.weight"].shape().to_vec(), words))
    };
    assert_eq!(imported("size = 1 }", "size = 1, groups = 2 }"), Ok((vec![4, 2, 1, 1], None)));
    let (shape, words) = imported("size = 1 }", "size = 1 }").unwrap();
    assert_eq!(shape, [4, 4, 1, 1]);
    let words = words.unwrap();
    assert!(words.starts_with("conv2: the model has fewer groups than the file"), "{words}");
    let more = imported("size = 1 }", "size = 1, groups = 4 }").unwrap_err().to_string();
    assert!(more.contains("with padding 0 in 2 groups") && more.contains("in 4 groups"), "{more}");
}

#[test]
fn a_model_that_computes_something_else_is_refused() {
    let network = parse_text(TEXT).unwrap();
    network.agrees_with(&model()).unwrap();
    let refuses = |from: &str, to: &str, parts: &[&str]| {
        assert!(MODEL.contains(from));
        let model = Model::parse("model", &MODEL.replace(from, to)).unwrap();
        let error = network.agrees_with(&model).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    refuses("size = 8", "size = 9", &["images of 8 pixels, the model of 9"]);
    refuses("\"lrn\", \"pool\"", "\"pool\", \"lrn\"", &["its layer 3 is normalisation", "the model has max pool"]);
    refuses("alpha = 2e-5", "alpha = 1e-4", &["alpha 2.0000e-5", "alpha 1.0000e-4"]);
    refuses("filters = 4, size = 1", "filters = 8, size = 1", &["conv2", "4 filters", "8 filters"]);
    refuses("size = 3, pad = 1 }", "size = 3, pad = 1, stride = 2 }", &["3×3/1", "3×3/2"]);
    refuses("\"dropout\", ", "\"relu\", ", &["is softmax, where the model has relu"]);
    // Caffe's normalisation goes across groups.
    refuses("lrn = {", "towers = 2\nlrn = {", &["over 5 maps, k", "over 5 maps inside each of 2 towers"]);
}

/// Every setting of every kind of layer changes the words that are compared, or the outputs.
#[test]
fn every_setting_takes_part() {
    let image = Chw { channels: 3, height: 9, width: 8 };
    for kind in LAYERS {
        for setting in kind.settings {
            let takes_part = kind.examples.iter().any(|example| {
                let settings = settings_of(kind, example);
                let changed = settings.iter().map(|(name, value)| match value {
                    _ if name != setting.name => (name, value),
                    Value::U32(value) => (name, Value::U32(value + 1)),
                    Value::F32(bits) => (name, (f32::from_bits(bits) * 1.5).value()),
                    Value::Bool(value) => (name, Value::Bool(!value)),
                });
                let changed = Params::new(changed.collect());
                let both = [settings, changed].map(|settings| agree::compared(Some("layer"), kind, &settings, 1));
                let [Some(one), Some(other)] = both else { return true };
                one.words != other.words || agree::outputs(&[one], image) != agree::outputs(&[other], image)
            });
            assert!(takes_part, "{} {}: another value is another layer, and is not seen", kind.name, setting.name);
        }
    }
}

/// The settings of an example, as a model file has them.
fn settings_of(kind: &LayerKind, example: &str) -> Params {
    let stage = if example.starts_with('"') { example.to_owned() } else { format!("{{ {example} }}") };
    let (from, to) = if kind.is_head() { ("fc = 10", example) } else { ("\"dropout\"", &*stage) };
    let text = MODEL.replace(from, to);
    let model = Model::parse("model", &text).unwrap();
    let row = &model.layers[2];
    model.settings(if kind.is_head() { &row.head } else { &row.then[0] }).unwrap()
}

/// [`TEXT`] with a layer of data in place of its input.
fn with_data(transform: &str) -> Result<Network, CaffeError> {
    let data = format!("layer {{ name: 'data' type: 'Data' top: 'data' transform_param {{ {transform} }} }}");
    let lines = TEXT.lines().map(|line| if line.contains("type: \"Input\"") { data.as_str() } else { line });
    parse_text(&lines.collect::<Vec<_>>().join("\n"))
}

#[test]
fn a_layer_of_data_makes_inputs_of_images() {
    let prepared = |transform: &str, means: bool| {
        let (network, mut model) = (with_data(transform).unwrap(), model());
        let words = network.prepare(&mut model.input, means)?;
        Ok::<_, CaffeError>((model.input.scale, model.input.mean, words.len()))
    };
    let full = "scale: 0.25 mirror: true crop_size: 8 mean_value: 1 mean_value: 2 mean_value: 3";
    assert_eq!(prepared(full, true), Ok(([0.25; 3], Some([3.0, 2.0, 1.0]), 2)), "red, green, blue");
    assert_eq!(prepared(full, false), Ok(([0.25; 3], None, 1)), "other means were given");
    assert_eq!(prepared("mean_value: 7", true), Ok(([1.0; 3], Some([7.0; 3]), 1)));
    assert_eq!(prepared("mean_file: 'mean.binaryproto'", true), Ok(([1.0; 3], None, 0)));
    assert_eq!(prepared("crop_size: 8", true), Ok(([1.0; 3], Some([0.0; 3]), 1)), "nothing is subtracted");
    assert_eq!(prepared("force_gray: true", true), Err(CaffeError::Grey));
    assert_eq!(prepared("mean_value: 7 mean_value: 8", true), Err(CaffeError::Means(2)));
    let crop = with_data("crop_size: 9").unwrap().agrees_with(&model()).unwrap_err().to_string();
    assert!(crop.contains("images of 9 pixels, the model of 8"), "{crop}");
}

#[test]
fn names_may_differ_where_everything_else_agrees() {
    let model =
        Model::parse("model", &MODEL.replace("\"conv2\"", "\"second\"").replace("\"fc3\"", "\"conv2\"")).unwrap();
    let net = Net::new(model).unwrap();
    let network = parse(&weighted().encode_to_vec()).unwrap();
    network.agrees_with(&net.model).unwrap();
    let mut tensors = network.tensors().unwrap();
    let words = network.name_as(&net.model, &mut tensors).unwrap();
    assert_eq!(words, "names differ, so layers were taken by order: second is conv2, conv2 is fc3");
    network.ungroup(&net, &mut tensors).unwrap();
    assert_eq!(tensors["second.weight"].shape(), [4, 4, 1, 1]);
    assert_eq!(tensors["conv2.weight"].shape(), [10, 64]);
    assert_eq!(tensors.len(), 6);
}

#[test]
fn what_is_not_supported_is_named() {
    let refuses = |from: &str, to: &str, part: &str| {
        assert!(TEXT.contains(from));
        let error = parse_text(&TEXT.replace(from, to)).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    refuses(
        "type: \"LRN\"",
        "type: \"Eltwise\"",
        "layer norm1: layers of type Eltwise are not supported; known are Convolution, ",
    );
    refuses("pool: MAX", "pool: STOCHASTIC", "layer pool1: its pool is STOCHASTIC, expected MAX or AVE");
    refuses("pool: MAX", "pool: MEDIAN", "line 14: unknown value MEDIAN of pool; known are MAX, AVE, STOCHASTIC");
    refuses(
        "kernel_size: 3 pad: 1",
        "kernel_h: 3 kernel_w: 5",
        "layer conv1: its kernel_size is 3 along one axis and 5",
    );
    refuses("num_output: 10 }", "num_output: 10 axis: 2 }", "layer fc3: its axis is 2, expected 1");
    refuses("group: 2", "group: 2 dilation: 2", "layer conv2: its dilation is 2, expected 1");
    refuses("bottom: \"pool1\"", "bottom: \"conv1\"", "layer conv2: its input is conv1, expected pool1");
    refuses("num_output: 10", "num_output: ten", "line 19: num_output cannot be ten; expected a count");
    refuses("num_output: 10 }", "num_output: 10", "braces do not match");
    refuses("'gaussian'", "'gaussian", "line 10: a string does not end on its line");
    refuses("param { lr_mult: 1 }", "param 1", "line 9: found no value of param");
    assert!(parse_text(&"a{".repeat(1000)).unwrap_err().to_string().contains("nested more than 16 deep"));
    assert!(parse_text("# nothing").unwrap_err().to_string().contains("found no layers"));
}

#[test]
fn weights_that_do_not_fit_their_layer_are_refused() {
    let refuses = |change: &dyn Fn(&mut NetParameter), part: &str| {
        let mut net = weighted();
        change(&mut net);
        let error = parse(&net.encode_to_vec()).and_then(|network| network.tensors()).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    let at = |net: &NetParameter, name: &str| net.layer.iter().position(|layer| layer.name() == name).unwrap();
    let set = |name: &'static str, blobs: Vec<BlobProto>| {
        move |net: &mut NetParameter| {
            let at = at(net, name);
            net.layer[at].blobs.clone_from(&blobs);
        }
    };
    refuses(&set("conv1", Vec::new()), "layer conv1: it has no weights");
    refuses(&set("conv1", vec![blob(&[4, 1, 3, 3], 0, false)]), "layer conv1: found 1 colours, expected 3");
    refuses(&set("conv2", vec![blob(&[4, 2, 3, 1], 0, false)]), "layer conv2: its weights have shape [4, 2, 3, 1]");
    refuses(&set("fc3", vec![blob(&[9, 64], 0, false)]), "layer fc3: its weights have shape [9, 64]");
    refuses(
        &set("fc3", vec![blob(&[10, 64], 0, false), blob(&[9], 0, false)]),
        "found 9 biases, expected one for each of 10 outputs",
    );
    let mut lying = blob(&[10, 64], 0, false);
    lying.shape = Some(BlobShape { dim: vec![1 << 40, 1 << 40] });
    refuses(&set("fc3", vec![lying]), "layer fc3: found 640 numbers in a blob of shape");
    let groups = |net: &mut NetParameter| {
        let at = at(net, "conv2");
        let conv =
            ConvolutionParameter { num_output: Some(4), kernel_size: vec![1], group: Some(3), ..Default::default() };
        net.layer[at].convolution_param = Some(conv);
    };
    refuses(&groups, "with 3 groups");
    let transposed = |net: &mut NetParameter| {
        let at = at(net, "fc3");
        net.layer[at].inner_product_param = Some(InnerProductParameter { transpose: Some(true), ..Default::default() });
    };
    refuses(&transposed, "layer fc3: its transpose is true, expected false");
}

#[test]
fn a_mean_image_is_reordered_to_red_green_blue() {
    let mean = parse_mean(&blob(&[3, 1, 2], 0, true).encode_to_vec()).unwrap();
    assert_eq!(mean, Tensor::new([3, 1, 2], vec![4.0, 5.0, 2.0, 3.0, 0.0, 1.0]));
    let doubles = BlobProto { double_data: vec![0.5, 1.0, 1.5], ..blob(&[3, 1, 1], 0, false) };
    let mean = parse_mean(&BlobProto { data: Vec::new(), ..doubles }.encode_to_vec()).unwrap();
    assert_eq!(mean.values(), [1.5, 1.0, 0.5]);
    assert!(
        parse_mean(&blob(&[1, 1, 2], 0, false).encode_to_vec()).unwrap_err().to_string().contains("shape [1, 1, 2]")
    );
    assert!(parse_mean(&blob(&[6], 0, false).encode_to_vec()).unwrap_err().to_string().contains("shape [6]"));
    assert_eq!(mean_of(&Tensor::new([3], vec![1.0, 2.0, 3.0])).unwrap().values(), [3.0, 2.0, 1.0]);
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let bytes = weighted().encode_to_vec();
    let accepts = |bytes: &[u8]| {
        let network = parse(bytes).map_err(|error| error.to_string())?;
        network.tensors().map_err(|error| error.to_string())?;
        network.agrees_with(&model()).map_err(|error| error.to_string())
    };
    accepts(&bytes).unwrap();
    // Between two layers the rest is a file, too, but not of this network.
    for length in 0..bytes.len() {
        assert!(accepts(&bytes[..length]).is_err(), "{length} of {} bytes", bytes.len());
    }
}
