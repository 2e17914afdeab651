//! Functions of a file, inlined where nodes call them.

use alexnet::interop::onnx::proto::attribute_proto::AttributeType;
use alexnet::interop::onnx::proto::{AttributeProto, FunctionProto, NodeProto, OperatorSetIdProto};
use alexnet::tensor::Tensor;

use super::{gives, wide};
use crate::cli::contains;
use crate::onnx::file::{File, float, floats, int, ints, random};

const DOMAIN: &str = "house";

/// A function of nodes `(operator, inputs, outputs, attributes)`; operators in lower case are functions.
fn function(name: &str, ends: [&[&str]; 2], nodes: Vec<NodeProto>) -> FunctionProto {
    let [input, output] = ends.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let opset_import = vec![OperatorSetIdProto { domain: None, version: Some(17) }];
    let (name, domain) = (Some(name.into()), Some(DOMAIN.into()));
    FunctionProto { name, input, output, node: nodes, opset_import, domain, ..FunctionProto::default() }
}

fn node(op: &str, inputs: &[&str], outputs: &[&str], attribute: Vec<AttributeProto>) -> NodeProto {
    let texts = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
    NodeProto {
        input: texts(inputs),
        output: texts(outputs),
        op_type: Some(op.into()),
        attribute,
        domain: op.starts_with(char::is_lowercase).then(|| DOMAIN.into()),
        ..NodeProto::default()
    }
}

/// The attribute `name` of a node, which is `of` of the function around it.
fn refers(name: &str, of: &str) -> AttributeProto {
    AttributeProto { ref_attr_name: Some(of.into()), f: None, ..float(name, 0.0) }
}

/// A file with functions and nodes, from `x` to `y`.
fn file(dims: &[i64], functions: Vec<FunctionProto>, nodes: Vec<NodeProto>) -> File {
    let mut file = File::new(17).input("x", dims).outputs(&["y"]);
    file.model.functions = functions;
    file.graph().node = nodes;
    file
}

/// A function in a function, attributes given and not, an input left out, names of values inside as outside.
#[test]
fn functions_are_inlined() {
    let x = random(&[2, 3], 0);
    let mut leak =
        function("leak", [&["x"], &["y"]], vec![node("LeakyRelu", &["x"], &["y"], vec![refers("alpha", "a")])]);
    leak.attribute_proto = vec![float("a", 0.25)];
    let inner = vec![
        node("leak", &["x"], &["t"], vec![refers("a", "slope")]),
        node("Relu", &["x"], &["further"], vec![]),
        node("Clip", &["t", "low"], &["y"], vec![]),
    ];
    let mut bounded = function("bounded", [&["x", "low"], &["y", "further"]], inner);
    bounded.attribute = vec!["slope".into()];
    let nodes = vec![
        node("Neg", &["x"], &["t"], vec![]),
        node("bounded", &["t", "low"], &["u"], vec![float("slope", 0.5)]),
        node("bounded", &["u"], &["v"], vec![]),
        node("Add", &["v", "t"], &["y"], vec![]),
    ];
    let low = Tensor::new([0_usize; 0], vec![-0.25]);
    let file = file(&[-1, 3], vec![leak, bounded], nodes).constant(floats("low", &low));
    let leaky = |x: f64, slope: f64| if x < 0.0 { slope * x } else { x };
    let y = wide(&x).into_iter().map(|x| leaky(leaky(-x, 0.5).max(-0.25), 0.25) - x).collect();
    gives(&file, &[("x", &x)], &[(vec![2, 3], y)]);
}

/// The branches of an If inside a function read its values, whatever the names outside stand for.
#[test]
fn branches_inside_functions() {
    let x = random(&[2, 1, 4], 0);
    let branch = |name: &str, op: &str, attributes: Vec<AttributeProto>| {
        let mut inner = File::new(17).outputs(&["z"]);
        inner.graph().node = vec![node(op, &["x"], &["z"], attributes)];
        let (g, kind) = (inner.model.graph, Some(AttributeType::Graph as i32));
        AttributeProto { name: Some(name.into()), g, r#type: kind, ..AttributeProto::default() }
    };
    let branches = vec![branch("then_branch", "turned", vec![]), branch("else_branch", "Identity", vec![])];
    let turned =
        function("turned", [&["x"], &["y"]], vec![node("Transpose", &["x"], &["y"], vec![ints("perm", &[2, 1, 0])])]);
    let inner = vec![
        node("Constant", &[], &["zero"], vec![int("value_int", 0)]),
        node("Shape", &["x"], &["shape"], vec![]),
        node("Equal", &["shape", "shape"], &["all"], vec![]),
        node("Gather", &["all", "zero"], &["on"], vec![]),
        node("If", &["on"], &["y"], branches),
    ];
    // The value z outside is read behind the call, in which a branch has another z.
    let nodes = vec![
        node("Neg", &["x"], &["z"], vec![]),
        node("chosen", &["z"], &["u"], vec![]),
        node("turned", &["u"], &["back"], vec![]),
        node("Add", &["back", "z"], &["y"], vec![]),
    ];
    let functions = vec![turned, function("chosen", [&["x"], &["y"]], inner)];
    let file = file(&[2, 1, 4], functions, nodes);
    gives(&file, &[("x", &x)], &[(vec![2, 1, 4], wide(&x).iter().map(|x| -2.0 * x).collect())]);
}

#[test]
fn functions_that_have_no_end_are_refused() {
    let one =
        |functions: Vec<FunctionProto>, call: NodeProto| file(&[1], functions, vec![call]).refused(&[("x", &[1])]);
    let call = |name: &str| node(name, &["x"], &["y"], vec![]);
    let again = function("again", [&["x"], &["y"]], vec![call("again")]);
    contains(&one(vec![again], call("again")), &["(again)", "functions call one another more than 32 deep"]);
    // Each calls the next one twice: a billion nodes.
    let twice = (0..30).map(|level| {
        let next = format!("f{}", level + 1);
        let nodes = vec![node(&next, &["x"], &["t"], vec![]), node(&next, &["t"], &["y"], vec![])];
        function(&format!("f{level}"), [&["x"], &["y"]], nodes)
    });
    let last = function("f30", [&["x"], &["y"]], vec![node("Relu", &["x"], &["y"], vec![])]);
    contains(&one(twice.chain([last]).collect(), call("f0")), &["inlined, take more than 64 MiB"]);
    let plain = function("plain", [&["x"], &["y"]], vec![node("Relu", &["x"], &["y"], vec![])]);
    let with = |call: NodeProto| one(vec![plain.clone()], call);
    contains(
        &with(node("plain", &["x", "x"], &["y"], vec![])),
        &["(plain)", "expected up to 1 inputs", "found 2 and 1"],
    );
    contains(&with(node("plain", &["x"], &["y"], vec![float("a", 1.0)])), &["(plain)", "attribute a is not supported"]);
    contains(&with(node("other", &["x"], &["y"], vec![])), &["(other)", "domain house"]);
    let missing = function("missing", [&["x"], &["y"]], vec![node("Relu", &["x"], &["z"], vec![])]);
    contains(&one(vec![missing], call("missing")), &["(missing)", "it reads y"]);
}
