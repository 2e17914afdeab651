//! A network as an ONNX graph of standard operators: whole layers over all towers, maps `[N][C][H][W]`, the towers'
//! behind each other. A layer whose towers see only their own maps is a grouped convolution; normalisation inside a
//! tower stands between a split and a concatenation. Dropout is a factor of the weights behind it, as in
//! [`crate::interop::file_tensors`]. The kind of a layer gives its operators ([`crate::ops::onnx`]); here they become
//! messages.

mod messages;

use std::collections::BTreeMap;

use prost::Message as _;

use self::messages::{node, shaped, weights};
use super::metadata;
use super::proto::{GraphProto, ModelProto, OperatorSetIdProto, StringStringEntryProto};
use crate::interop::{Convention, InteropError, MEAN, Naming, file_tensors};
use crate::net::{Net, Spread, Stage};
use crate::ops::activation::Activation;
use crate::ops::onnx::{self, Attribute, Constant, Form, Operator, Shapes};
use crate::tensor::Tensor;

/// Version of the operators, and of the format that came with it.
const OPERATORS: i64 = 17;
const FORMAT: i64 = 8;

/// Name of the input, images `[N][3][size][size]`.
pub const INPUT: &str = "images";
/// Name of the output, probabilities `[N][classes]`.
pub const OUTPUT: &str = "probabilities";

/// Conversion of images to inputs, and classes of the outputs.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageMetadata {
    /// Means of red, green and blue of 0 to 255.
    pub mean: [f32; 3],
    /// Mean image `[3][stored][stored]` of stored images, where the means of all pixels are not the same, and the row
    /// and column at which the part begins that the network sees.
    pub mean_image: Option<(Tensor, [usize; 2])>,
    /// Names of the classes, a JSON list.
    pub classes: String,
}

/// Most bytes of a protobuf file.
const LARGEST: usize = i32::MAX as usize;

/// The bytes of a file with the network and weights that `part` finds by their names in `net`.
pub fn write<'t>(
    net: &Net,
    part: impl Fn(&str) -> Option<&'t Tensor>,
    facts: &ImageMetadata,
) -> Result<Vec<u8>, InteropError> {
    let mut writer = Writer { net, graph: GraphProto::default(), value: INPUT.into(), flat: false };
    for whole in file_tensors(net, &Naming::new(&net.model, Convention::Caffe))? {
        let tensor = whole.join(&part, crate::interop::Quantity::Weights)?;
        writer.graph.initializer.push(weights(&whole.name, tensor.shape(), tensor.values()));
    }
    if let Some((mean, corner)) = &facts.mean_image {
        writer.subtract(mean, *corner);
    }
    writer.layers();
    let (size, classes) = (net.model.input.size as i64, net.classes() as i64);
    writer.graph.name = Some(net.model.about.clone());
    writer.graph.input = vec![shaped(INPUT, &[3, size, size])];
    writer.graph.output = vec![shaped(OUTPUT, &[classes])];
    let model = ModelProto {
        ir_version: Some(FORMAT),
        producer_name: Some(env!("CARGO_PKG_NAME").into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(writer.graph),
        opset_import: vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(OPERATORS) }],
        metadata_props: properties(net, facts),
        ..ModelProto::default()
    };
    match model.encoded_len() {
        bytes if bytes > LARGEST => Err(InteropError::Large { bytes, most: LARGEST }),
        _ => Ok(model.encode_to_vec()),
    }
}

fn properties(net: &Net, facts: &ImageMetadata) -> Vec<StringStringEntryProto> {
    let colours = |values: [f32; 3]| values.map(|value| value.to_string()).join(",");
    let input = &net.model.input;
    let entries = BTreeMap::from([
        (metadata::MEAN, colours(facts.mean)),
        (metadata::SCALE, colours(input.scale)),
        (metadata::STORED_SIZE, input.stored().to_string()),
        (metadata::CLASSES, facts.classes.clone()),
    ]);
    let entry = |(key, value): (&str, String)| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
    entries.into_iter().map(entry).collect()
}

struct Writer<'n> {
    net: &'n Net,
    graph: GraphProto,
    /// The name of the last value, and whether it is `[N][features]` instead of maps.
    value: String,
    flat: bool,
}

impl Writer<'_> {
    /// Subtracts from the input what it sees of the mean image, scaled as it is; the constant stays as checkpoints have
    /// it. The part begins at `row` and `column`.
    fn subtract(&mut self, mean: &Tensor, [row, column]: [usize; 2]) {
        let input = &self.net.model.input;
        self.graph.initializer.push(weights(MEAN, mean.shape(), mean.values()));
        let images = std::mem::replace(&mut self.value, MEAN.into());
        if mean.shape()[1..] != [input.size; 2] {
            let ends = [row + input.size, column + input.size];
            let corners = [("starts", [row, column]), ("ends", ends), ("axes", [1, 2])];
            let names = corners.map(|(name, _)| format!("{MEAN}.{name}"));
            for (name, (_, numbers)) in names.iter().zip(corners) {
                self.graph.initializer.push(messages::whole_numbers(name, &numbers.map(|number| number as i64)));
            }
            self.push("Slice", format!("{MEAN}.seen"), &names, Vec::new());
        }
        if input.scale != [1.0; 3] {
            let scale = format!("{MEAN}.scale");
            self.graph.initializer.push(weights(&scale, &[3, 1, 1], &input.scale));
            self.push("Mul", format!("{MEAN}.scaled"), &[scale], Vec::new());
        }
        let seen = std::mem::replace(&mut self.value, images);
        self.push("Sub", format!("{INPUT}.centred"), &[seen], Vec::new());
    }

    fn layers(&mut self) {
        let net = self.net;
        let mut nodes = net.nodes.iter();
        for row in &net.model.layers {
            let Some(head) = nodes.next() else { return };
            let shared = head.input.is_some_and(|input| net.nodes[input].spread == Spread::Shared);
            let towers = net.towers_of(head).len();
            let groups = head.layer.groups() * if shared && head.x.len() == 1 { towers } else { 1 };
            self.layer(&row.head, &head.name, &Shapes { x: head.x[0], y: head.y, towers, groups });
            for (place, stage) in row.then.iter().enumerate() {
                // An activation that is part of the node, or the softmax, has no node of its own.
                let epilogue = place == 0 && stage.epilogue() != Activation::Linear;
                let node = if epilogue || stage.is_loss() { None } else { nodes.next() };
                let (name, x, y) = match node {
                    Some(node) => (node.name.clone(), node.x[0], node.y),
                    None if stage.is_loss() => (OUTPUT.into(), head.y, head.y),
                    None => (format!("{}.{}", head.name, stage.name()), head.y, head.y),
                };
                self.layer(stage, &name, &Shapes { x, y, towers, groups: 1 });
            }
        }
    }

    /// Adds a layer that reads the last value; its own is the next one's.
    fn layer(&mut self, stage: &Stage, name: &str, shapes: &Shapes) {
        // The network was built, so the settings are there.
        let Ok(settings) = self.net.model.settings(stage) else { return };
        let subgraph = (stage.kind.onnx)(&settings, shapes);
        match subgraph.form {
            Form::Maps => self.maps(name),
            Form::Features => self.features(name),
            Form::Any => (),
        }
        let x = self.value.clone();
        let value = |inside: &str| match inside {
            onnx::X => x.clone(),
            onnx::Y => name.to_owned(),
            inside => format!("{name}.{inside}"),
        };
        if let Some(shape) = subgraph.weights {
            let weights = value(onnx::WEIGHTS[0]);
            if let Some(tensor) = self.graph.initializer.iter_mut().find(|tensor| tensor.name() == weights) {
                tensor.dims.splice(1.., shape.into_iter().map(|extent| extent as i64));
            }
        }
        for Constant { name, shape, values } in subgraph.constants {
            self.graph.initializer.push(weights(&value(&name), &shape, &values));
        }
        for Operator { op, inputs, outputs, attributes } in subgraph.operators {
            let [inputs, outputs] = [inputs, outputs].map(|names| names.iter().map(|name| value(name)).collect());
            self.graph.node.push(node(op, inputs, outputs, attributes));
            self.value = name.into();
        }
    }

    /// Adds a node that changes the form of the last value.
    fn push(&mut self, op: &str, name: String, further: &[String], attributes: Vec<(&str, Attribute)>) {
        let inputs = std::iter::once(&self.value).chain(further).cloned().collect();
        self.graph.node.push(node(op, inputs, vec![name.clone()], attributes));
        self.value = name;
    }

    /// Makes features maps of one pixel.
    fn maps(&mut self, before: &str) {
        if self.flat {
            let shape = format!("{before}.maps.shape");
            self.graph.initializer.push(messages::whole_numbers(&shape, &[0, -1, 1, 1]));
            self.push("Reshape", format!("{before}.maps"), &[shape], Vec::new());
        }
        self.flat = false;
    }

    /// Makes maps features, in the order C·H·W.
    fn features(&mut self, before: &str) {
        if !self.flat {
            self.push("Flatten", format!("{before}.features"), &[], vec![("axis", Attribute::Int(1))]);
        }
        self.flat = true;
    }
}
