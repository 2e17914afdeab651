//! The operators that are understood, with all their settings in all versions.

use std::ops::RangeInclusive;

use super::attributes::Attributes;
use super::proto::NodeProto;
use crate::graph::{Op, Operation, Pads, Window};

/// What a node does, and how many inputs it may have.
pub(super) struct Operator {
    pub(super) op: Op,
    pub(super) inputs: RangeInclusive<usize>,
    /// The most outputs.
    pub(super) outputs: usize,
}

/// Any number.
const MANY: usize = usize::MAX;

/// The operators of [`operator`], and Constant, which becomes a value; for messages.
const KNOWN: &str = "Add, AveragePool, Concat, Constant, Conv, Div, Dropout, Flatten, Gemm, GlobalAveragePool, Identity, \
                     LRN, LogSoftmax, MatMul, MaxPool, Mul, Pow, Relu, Reshape, Softmax, Split, Sub, Tanh";

/// What `node` does in version `version` of the operators.
pub(super) fn operator(node: &NodeProto, version: i64) -> Result<Operator, String> {
    let mut attributes = Attributes::new(node)?;
    let a = &mut attributes;
    let (op, inputs, outputs) = match node.op_type() {
        "Conv" => (conv(a)?, 2..=3, 1),
        "MaxPool" => (max_pool(a)?, 1..=1, 2),
        "AveragePool" => (average_pool(a)?, 1..=1, 1),
        "GlobalAveragePool" => (Op::GlobalAveragePool, 1..=1, 1),
        "LRN" => (lrn(a)?, 1..=1, 1),
        "Relu" => (ignoring(a, &["consumed_inputs"], Op::Relu), 1..=1, 1),
        "Tanh" => (ignoring(a, &["consumed_inputs"], Op::Tanh), 1..=1, 1),
        "Gemm" => (gemm(a)?, 2..=3, 1),
        "MatMul" => (Op::MatMul, 2..=2, 1),
        "Add" => (binary(a, version, Operation::Add)?, 2..=2, 1),
        "Sub" => (binary(a, version, Operation::Subtract)?, 2..=2, 1),
        "Mul" => (binary(a, version, Operation::Multiply)?, 2..=2, 1),
        "Div" => (binary(a, version, Operation::Divide)?, 2..=2, 1),
        "Pow" => (binary(a, version, Operation::Power)?, 2..=2, 1),
        "Softmax" => (softmax(a, version, false)?, 1..=1, 1),
        "LogSoftmax" => (softmax(a, version, true)?, 1..=1, 1),
        "Concat" => (concat(a, version)?, 1..=MANY, 1),
        "Split" => (split(a, node, version)?, 1..=if version < 13 { 1 } else { 2 }, MANY),
        "Reshape" => (reshape(a, version)?, 1..=2, 1),
        "Flatten" => (Op::Flatten { axis: a.int("axis")?.unwrap_or(1) }, 1..=1, 1),
        "Dropout" => (dropout(a, version)?, 1..=3, 2),
        "Identity" => (Op::Identity, 1..=1, 1),
        _ => return Err(format!("this operator is not supported; these are: {KNOWN}")),
    };
    attributes.finish()?;
    Ok(Operator { op, inputs, outputs })
}

/// Drops settings that change nothing in evaluation.
fn ignoring(a: &mut Attributes, names: &[&str], op: Op) -> Op {
    a.ignore(names);
    op
}

fn window(a: &mut Attributes) -> Result<Window, String> {
    let given = a.counts("pads")?;
    let pads = match a.text("auto_pad")? {
        None | Some("NOTSET" | "") => Pads::Given(given),
        Some("VALID") => Pads::Valid,
        Some("SAME_UPPER") => Pads::SameUpper,
        Some("SAME_LOWER") => Pads::SameLower,
        Some(other) => return Err(format!("attribute auto_pad is {other}, which there is not")),
    };
    let (size, strides, dilations) = (a.counts("kernel_shape")?, a.counts("strides")?, a.counts("dilations")?);
    Ok(Window { size, strides, dilations, pads, ceil: false })
}

fn conv(a: &mut Attributes) -> Result<Op, String> {
    let groups = a.int("group")?.unwrap_or(1);
    let groups = usize::try_from(groups).ok().filter(|&groups| groups > 0);
    let groups = groups.ok_or("attribute group is not a number of 1 or more")?;
    Ok(Op::Conv { window: window(a)?, groups })
}

fn pool(a: &mut Attributes) -> Result<Window, String> {
    Ok(Window { ceil: a.switch("ceil_mode")?, ..window(a)? })
}

fn max_pool(a: &mut Attributes) -> Result<Op, String> {
    // The order in which maxima would be numbered.
    a.ignore(&["storage_order"]);
    Ok(Op::MaxPool(pool(a)?))
}

fn average_pool(a: &mut Attributes) -> Result<Op, String> {
    Ok(Op::AveragePool { window: pool(a)?, count_padding: a.switch("count_include_pad")? })
}

fn lrn(a: &mut Attributes) -> Result<Op, String> {
    let size = a.int("size")?.ok_or("attribute size is missing")?;
    let size = usize::try_from(size).ok().filter(|&size| size > 0);
    let (alpha, beta) = (a.float("alpha")?.unwrap_or(1e-4), a.float("beta")?.unwrap_or(0.75));
    let k = a.float("bias")?.unwrap_or(1.0);
    if ![alpha, beta, k].iter().all(|number| number.is_finite()) {
        return Err("attribute alpha, beta or bias is not finite".into());
    }
    Ok(Op::Lrn { size: size.ok_or("attribute size is not a number of 1 or more")?, alpha, beta, k })
}

fn gemm(a: &mut Attributes) -> Result<Op, String> {
    a.ignore(&["broadcast"]); // Up to version 6; C is repeated where it does not fit.
    let (alpha, beta) = (a.float("alpha")?.unwrap_or(1.0), a.float("beta")?.unwrap_or(1.0));
    if !(alpha.is_finite() && beta.is_finite()) {
        return Err("attribute alpha or beta is not finite".into());
    }
    Ok(Op::Gemm { alpha, beta, transposed_a: a.switch("transA")?, transposed_b: a.switch("transB")? })
}

fn binary(a: &mut Attributes, version: i64, operation: Operation) -> Result<Op, String> {
    if version >= 7 {
        return Ok(Op::Binary { operation, axis: None });
    }
    a.ignore(&["consumed_inputs"]);
    let (axis, broadcast) = (a.int("axis")?, a.switch("broadcast")?);
    Ok(Op::Binary { operation, axis: axis.filter(|_| broadcast) })
}

fn softmax(a: &mut Attributes, version: i64, log: bool) -> Result<Op, String> {
    let flat = version < 13;
    let axis = a.int("axis")?.unwrap_or(if flat { 1 } else { -1 });
    Ok(Op::Softmax { axis, flat, log })
}

fn concat(a: &mut Attributes, version: i64) -> Result<Op, String> {
    let default = if version < 4 { Some(1) } else { None };
    Ok(Op::Concat { axis: a.int("axis")?.or(default).ok_or("attribute axis is missing")? })
}

fn split(a: &mut Attributes, node: &NodeProto, version: i64) -> Result<Op, String> {
    let axis = a.int("axis")?.unwrap_or(0);
    let sizes = if version < 13 { a.ints("split")? } else { None };
    let uneven = version >= 18;
    if uneven && a.int("num_outputs")?.is_some_and(|count| usize::try_from(count) != Ok(node.output.len())) {
        return Err(format!("attribute num_outputs is not the number of its outputs, {}", node.output.len()));
    }
    Ok(Op::Split { axis, sizes, uneven })
}

fn reshape(a: &mut Attributes, version: i64) -> Result<Op, String> {
    let dims = if version < 5 { Some(a.ints("shape")?.ok_or("attribute shape is missing")?) } else { None };
    a.ignore(&["consumed_inputs"]);
    let zero = version >= 14 && a.switch("allowzero")?;
    Ok(Op::Reshape { dims, zero })
}

fn dropout(a: &mut Attributes, version: i64) -> Result<Op, String> {
    a.ignore(&["ratio", "seed", "consumed_inputs"]);
    if version < 7 && !a.switch("is_test")? {
        return Err("attribute is_test is not 1: networks are only evaluated".into());
    }
    Ok(Op::Dropout)
}
