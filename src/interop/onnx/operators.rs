//! Operators that are supported, with all their attributes in all versions.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::error::NodeError;
use super::further::{FURTHER, QUANTISED};
use super::proto::NodeProto;
use crate::graph::{Op, Operation, Pads, WindowSpec};

pub(super) struct Operator {
    name: &'static str,
    /// Counts of inputs that a node may have.
    inputs: RangeInclusive<usize>,
    /// Most outputs that a node may have.
    outputs: usize,
    read: fn(&mut Attributes) -> Result<Op, NodeError>,
}

/// Bound of a count without bounds.
pub(super) const MANY: usize = usize::MAX;

/// Operators of plain networks. Nodes of Constant become values, those of If choices.
static OPERATORS: [Operator; 22] = [
    operator("Add", 2..=2, 1, |a| binary(a, Operation::Add)),
    operator("AveragePool", 1..=1, 1, average_pool),
    operator("Concat", 1..=MANY, 1, concat),
    operator("Conv", 2..=3, 1, conv),
    operator("Div", 2..=2, 1, |a| binary(a, Operation::Divide)),
    operator("Dropout", 1..=3, 2, dropout),
    operator("Flatten", 1..=1, 1, |a| Ok(Op::Flatten { axis: a.int("axis")?.unwrap_or(1) })),
    operator("Gemm", 2..=3, 1, gemm),
    operator("GlobalAveragePool", 1..=1, 1, |_| Ok(Op::GlobalPool { largest: false })),
    operator("Identity", 1..=1, 1, |_| Ok(Op::Identity)),
    operator("LRN", 1..=1, 1, lrn),
    operator("LogSoftmax", 1..=1, 1, |a| softmax(a, true)),
    operator("MatMul", 2..=2, 1, |_| Ok(Op::MatMul)),
    operator("MaxPool", 1..=1, 2, max_pool),
    operator("Mul", 2..=2, 1, |a| binary(a, Operation::Multiply)),
    operator("Pow", 2..=2, 1, |a| binary(a, Operation::Power)),
    operator("Relu", 1..=1, 1, |a| Ok(elementwise(a, Op::Relu))),
    operator("Reshape", 1..=2, 1, reshape),
    operator("Softmax", 1..=1, 1, |a| softmax(a, false)),
    operator("Split", 1..=2, MANY, split),
    operator("Sub", 2..=2, 1, |a| binary(a, Operation::Subtract)),
    operator("Tanh", 1..=1, 1, |a| Ok(elementwise(a, Op::Tanh))),
];

pub(super) const fn operator(
    name: &'static str,
    inputs: RangeInclusive<usize>,
    outputs: usize,
    read: fn(&mut Attributes) -> Result<Op, NodeError>,
) -> Operator {
    Operator { name, inputs, outputs, read }
}

/// Attribute of elementwise operators up to version 5, a hint for where to write outputs.
pub(super) const CONSUMED: &str = "consumed_inputs";

/// Operation of `node` in version `version` of the operators.
pub(super) fn operation(node: &NodeProto, version: i64) -> Result<Op, NodeError> {
    let all = || OPERATORS.iter().chain(&FURTHER);
    let Some(operator) = all().find(|operator| operator.name == node.op_type()) else {
        if QUANTISED.contains(&node.op_type()) {
            return Err(NodeError::Quantised);
        }
        let mut names: Vec<&str> = all().map(|operator| operator.name).chain(["Constant", "If"]).collect();
        names.sort_unstable();
        return Err(NodeError::Operator(names.join(", ")));
    };
    let mut attributes = Attributes::new(node, version)?;
    let op = (operator.read)(&mut attributes)?;
    attributes.finish()?;
    expect_arity(node, &operator.inputs, operator.outputs)?;
    Ok(op)
}

/// Refuses a node with other counts of inputs, or more outputs.
fn expect_arity(node: &NodeProto, inputs: &RangeInclusive<usize>, outputs: usize) -> Result<(), NodeError> {
    let found = [node.input.len(), node.output.len()];
    if inputs.contains(&found[0]) && found[1] <= outputs {
        return Ok(());
    }
    let inputs = match (*inputs.start(), *inputs.end()) {
        (1, 1) => "1 input".into(),
        (fewest, MANY) => format!("{fewest} or more inputs"),
        (fewest, most) if fewest == most => format!("{most} inputs"),
        (fewest, most) => format!("{fewest} to {most} inputs"),
    };
    let outputs = match outputs {
        1 => "1 output".into(),
        MANY => "1 or more outputs".into(),
        most => format!("1 to {most} outputs"),
    };
    Err(NodeError::Arity { inputs, outputs, found })
}

pub(super) fn window(a: &mut Attributes) -> Result<WindowSpec, NodeError> {
    let given = a.counts("pads")?;
    let pads = match a.text("auto_pad")? {
        None | Some("NOTSET" | "") => Pads::Given(given),
        Some("VALID") => Pads::Valid,
        Some("SAME_UPPER") => Pads::SameUpper,
        Some("SAME_LOWER") => Pads::SameLower,
        Some(other) => {
            let known = "NOTSET, SAME_UPPER, SAME_LOWER, VALID".into();
            return Err(NodeError::Choice { name: "auto_pad", found: other.into(), known });
        }
    };
    let (size, strides, dilations) = (a.counts("kernel_shape")?, a.counts("strides")?, a.counts("dilations")?);
    Ok(WindowSpec { size, strides, dilations, pads, ceil: false })
}

fn conv(a: &mut Attributes) -> Result<Op, NodeError> {
    Ok(Op::Conv { groups: a.count("group")?.unwrap_or(1), window: window(a)? })
}

fn pool(a: &mut Attributes) -> Result<WindowSpec, NodeError> {
    Ok(WindowSpec { ceil: a.switch("ceil_mode")?, ..window(a)? })
}

fn max_pool(a: &mut Attributes) -> Result<Op, NodeError> {
    // Order in which the second output would number the maxima.
    a.ignore(&["storage_order"]);
    Ok(Op::MaxPool(pool(a)?))
}

fn average_pool(a: &mut Attributes) -> Result<Op, NodeError> {
    Ok(Op::AveragePool { window: pool(a)?, count_padding: a.switch("count_include_pad")? })
}

fn lrn(a: &mut Attributes) -> Result<Op, NodeError> {
    let size = a.count("size")?.ok_or(NodeError::Missing("size"))?;
    Ok(Op::Lrn { size, alpha: a.number("alpha", 1e-4)?, beta: a.number("beta", 0.75)?, k: a.number("bias", 1.0)? })
}

fn gemm(a: &mut Attributes) -> Result<Op, NodeError> {
    a.ignore(&["broadcast"]); // Up to version 6; C is broadcast where its shape differs.
    Ok(Op::Gemm {
        alpha: a.number("alpha", 1.0)?,
        beta: a.number("beta", 1.0)?,
        transposed_a: a.switch("transA")?,
        transposed_b: a.switch("transB")?,
    })
}

fn elementwise(a: &mut Attributes, op: Op) -> Op {
    a.ignore(&[CONSUMED]);
    op
}

fn binary(a: &mut Attributes, operation: Operation) -> Result<Op, NodeError> {
    if a.version >= 7 {
        return Ok(Op::Binary { operation, axis: None });
    }
    a.ignore(&[CONSUMED]);
    let (axis, broadcast) = (a.int("axis")?, a.switch("broadcast")?);
    Ok(Op::Binary { operation, axis: axis.filter(|_| broadcast) })
}

fn softmax(a: &mut Attributes, log: bool) -> Result<Op, NodeError> {
    let flat = a.version < 13;
    let axis = a.int("axis")?.unwrap_or(if flat { 1 } else { -1 });
    Ok(Op::Softmax { axis, flat, log })
}

fn concat(a: &mut Attributes) -> Result<Op, NodeError> {
    let default = if a.version < 4 { Some(1) } else { None };
    Ok(Op::Concat { axis: a.int("axis")?.or(default).ok_or(NodeError::Missing("axis"))? })
}

fn split(a: &mut Attributes) -> Result<Op, NodeError> {
    let axis = a.int("axis")?.unwrap_or(0);
    let sizes = if a.version < 13 { a.ints("split")?.map(<[i64]>::to_vec) } else { None };
    if a.version < 13 {
        // Sizes were an attribute, not an input.
        expect_arity(a.node, &(1..=1), MANY)?;
    }
    let (uneven, outputs) = (a.version >= 18, a.node.output.len());
    match if uneven { a.int("num_outputs")? } else { None } {
        Some(count) if usize::try_from(count) != Ok(outputs) => Err(NodeError::value("num_outputs", &count, &outputs)),
        _ => Ok(Op::Split { axis, sizes, uneven }),
    }
}

fn reshape(a: &mut Attributes) -> Result<Op, NodeError> {
    let dims = match a.version {
        ..5 => Some(a.ints("shape")?.ok_or(NodeError::Missing("shape"))?.to_vec()),
        _ => None,
    };
    a.ignore(&[CONSUMED]);
    let zero = a.version >= 14 && a.switch("allowzero")?;
    Ok(Op::Reshape { dims, zero })
}

fn dropout(a: &mut Attributes) -> Result<Op, NodeError> {
    a.ignore(&["ratio", "seed", CONSUMED]);
    if a.version < 7 && !a.switch("is_test")? {
        return Err(NodeError::value("is_test", &0, &"1: networks are only evaluated"));
    }
    Ok(Op::Dropout)
}
