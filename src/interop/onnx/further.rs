//! Operators beyond those of plain networks: functions, what moves elements, what computes sizes.

use super::attributes::Attributes;
use super::error::NodeError;
use super::external::External;
use super::operators::{CONSUMED, MANY, Operator, operator};
use super::proto::tensor_proto::DataType;
use super::resampling::{blocks, conv_transpose, resize, upsample};
use super::tensor::constant;
use crate::graph::{CastTo, Comparison, ConstantValues, Op, Operation, PadMode, Reduction, Together};
use crate::ops::unary::Function;

/// Operators of quantised networks, which are refused by that name.
pub(super) const QUANTISED: [&str; 7] = [
    "QuantizeLinear",
    "DequantizeLinear",
    "DynamicQuantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
];

pub(super) static FURTHER: [Operator; 72] = [
    operator("Abs", 1..=1, 1, |a| Ok(function(a, Function::Abs, [0.0; 2]))),
    operator("And", 2..=2, 1, |_| Ok(Op::Compare(Comparison::And))),
    operator("BatchNormalization", 5..=5, 5, batch_norm),
    operator("Cast", 1..=1, 1, cast),
    operator("Celu", 1..=1, 1, |a| alpha(a, Function::Celu, 1.0)),
    operator("Clip", 1..=3, 1, clip),
    operator("ConstantOfShape", 1..=1, 1, constant_of_shape),
    operator("ConvTranspose", 2..=3, 1, conv_transpose),
    operator("DepthToSpace", 1..=1, 1, |a| blocks(a, false)),
    operator("Elu", 1..=1, 1, |a| alpha(a, Function::Elu, 1.0)),
    operator("Equal", 2..=2, 1, |a| Ok(compare(a, Comparison::Equal))),
    operator("Erf", 1..=1, 1, |a| Ok(function(a, Function::Erf, [0.0; 2]))),
    operator("Exp", 1..=1, 1, |a| Ok(function(a, Function::Exp, [0.0; 2]))),
    operator("Expand", 2..=2, 1, |_| Ok(Op::Expand)),
    operator("Gather", 2..=2, 1, |a| Ok(Op::Gather { axis: a.int("axis")?.unwrap_or(0) })),
    operator("GatherND", 2..=2, 1, gather_places),
    operator("Gelu", 1..=1, 1, gelu),
    operator("GlobalMaxPool", 1..=1, 1, |_| Ok(Op::GlobalPool { largest: true })),
    operator("Greater", 2..=2, 1, |a| Ok(compare(a, Comparison::Greater))),
    operator("GreaterOrEqual", 2..=2, 1, |a| Ok(compare(a, Comparison::GreaterOrEqual))),
    operator("GroupNormalization", 3..=3, 1, group_normalization),
    operator("HardSigmoid", 1..=1, 1, hard_sigmoid),
    operator("HardSwish", 1..=1, 1, |a| Ok(function(a, Function::HardSwish, [0.0; 2]))),
    operator("InstanceNormalization", 3..=3, 1, instance_normalization),
    operator("LayerNormalization", 2..=3, 3, |a| normalization(a, true)),
    operator("LeakyRelu", 1..=1, 1, |a| alpha(a, Function::LeakyRelu, 0.01)),
    operator("Less", 2..=2, 1, |a| Ok(compare(a, Comparison::Less))),
    operator("LessOrEqual", 2..=2, 1, |a| Ok(compare(a, Comparison::LessOrEqual))),
    operator("Log", 1..=1, 1, |a| Ok(function(a, Function::Log, [0.0; 2]))),
    operator("Max", 1..=MANY, 1, |a| Ok(fold(a, Operation::Maximum, false))),
    operator("Mean", 1..=MANY, 1, |a| Ok(fold(a, Operation::Add, true))),
    operator("Min", 1..=MANY, 1, |a| Ok(fold(a, Operation::Minimum, false))),
    operator("Mish", 1..=1, 1, |a| Ok(function(a, Function::Mish, [0.0; 2]))),
    operator("Mod", 2..=2, 1, |a| Ok(Op::Remainder { truncated: a.switch("fmod")? })),
    operator("Neg", 1..=1, 1, |a| Ok(function(a, Function::Negate, [0.0; 2]))),
    operator("Not", 1..=1, 1, |_| Ok(Op::Not)),
    operator("Or", 2..=2, 1, |_| Ok(Op::Compare(Comparison::Or))),
    operator("PRelu", 2..=2, 1, |a| Ok(prelu(a))),
    operator("Pad", 1..=4, 1, pad),
    operator("RMSNormalization", 2..=2, 1, |a| normalization(a, false)),
    operator("Range", 3..=3, 1, |_| Ok(Op::Range)),
    operator("Reciprocal", 1..=1, 1, |a| Ok(function(a, Function::Reciprocal, [0.0; 2]))),
    operator("ReduceL1", 1..=2, 1, |a| reduce(a, Reduction::SumOfSizes, 18)),
    operator("ReduceL2", 1..=2, 1, |a| reduce(a, Reduction::Length, 18)),
    operator("ReduceLogSum", 1..=2, 1, |a| reduce(a, Reduction::LogOfSum, 18)),
    operator("ReduceLogSumExp", 1..=2, 1, |a| reduce(a, Reduction::LogOfPowers, 18)),
    operator("ReduceMax", 1..=2, 1, |a| reduce(a, Reduction::Largest, 18)),
    operator("ReduceMean", 1..=2, 1, |a| reduce(a, Reduction::Mean, 18)),
    operator("ReduceMin", 1..=2, 1, |a| reduce(a, Reduction::Smallest, 18)),
    operator("ReduceProd", 1..=2, 1, |a| reduce(a, Reduction::Product, 18)),
    operator("ReduceSum", 1..=2, 1, |a| reduce(a, Reduction::Sum, 13)),
    operator("ReduceSumSquare", 1..=2, 1, |a| reduce(a, Reduction::SumOfSquares, 18)),
    operator("Resize", 2..=4, 1, resize),
    operator("Selu", 1..=1, 1, selu),
    operator("Shape", 1..=1, 1, shape),
    operator("Sigmoid", 1..=1, 1, |a| Ok(function(a, Function::Sigmoid, [0.0; 2]))),
    operator("Sign", 1..=1, 1, |a| Ok(function(a, Function::Sign, [0.0; 2]))),
    operator("Size", 1..=1, 1, |_| Ok(Op::Size)),
    operator("Slice", 1..=5, 1, slice),
    operator("Softplus", 1..=1, 1, |a| Ok(function(a, Function::Softplus, [0.0; 2]))),
    operator("Softsign", 1..=1, 1, |a| Ok(function(a, Function::Softsign, [0.0; 2]))),
    operator("SpaceToDepth", 1..=1, 1, |a| blocks(a, true)),
    operator("Sqrt", 1..=1, 1, |a| Ok(function(a, Function::Sqrt, [0.0; 2]))),
    operator("Squeeze", 1..=2, 1, |a| Ok(Op::Squeeze { axes: listed(a, "axes", 13)?, more: false })),
    operator("Sum", 1..=MANY, 1, |a| Ok(fold(a, Operation::Add, false))),
    operator("Swish", 1..=1, 1, |a| alpha(a, Function::Swish, 1.0)),
    operator("Tile", 2..=2, 6, |_| Ok(Op::Tile)),
    operator("Transpose", 1..=1, 1, |a| Ok(Op::Transpose { order: a.ints("perm")?.map(<[i64]>::to_vec) })),
    operator("Unsqueeze", 1..=2, 1, |a| Ok(Op::Squeeze { axes: listed(a, "axes", 13)?, more: true })),
    operator("Upsample", 1..=2, 1, upsample),
    operator("Where", 3..=3, 1, |_| Ok(Op::Where)),
    operator("Xor", 2..=2, 1, |_| Ok(Op::Compare(Comparison::Differ))),
];

fn function(a: &mut Attributes, function: Function, settings: [f32; 2]) -> Op {
    a.ignore(&[CONSUMED]);
    Op::Function { function, settings }
}

fn fold(a: &mut Attributes, operation: Operation, mean: bool) -> Op {
    a.ignore(&[CONSUMED]);
    Op::Fold { operation, mean }
}

fn gather_places(a: &mut Attributes) -> Result<Op, NodeError> {
    match a.int("batch_dims")? {
        None | Some(0) => Ok(Op::GatherGrid),
        Some(other) => Err(NodeError::value("batch_dims", &other, &"0")),
    }
}

fn gelu(a: &mut Attributes) -> Result<Op, NodeError> {
    let of = a.choice("approximate", &[("none", Function::Gelu), ("tanh", Function::GeluTanh)])?;
    Ok(function(a, of, [0.0; 2]))
}

fn selu(a: &mut Attributes) -> Result<Op, NodeError> {
    let [alpha, gamma] = if a.version < 6 { [1.6732, 1.0507] } else { [1.673_263_2, 1.050_701] };
    let settings = [a.number("alpha", alpha)?, a.number("gamma", gamma)?];
    Ok(function(a, Function::Selu, settings))
}

/// Normalisation by what the numbers from an axis on are themselves.
fn normalization(a: &mut Attributes, centred: bool) -> Result<Op, NodeError> {
    a.ignore(&["stash_type"]); // The type of sums: they are of 32 bits here.
    let (from, epsilon) = (a.int("axis")?.unwrap_or(-1), a.number("epsilon", 1e-5)?);
    Ok(Op::Normalise { over: Together::From(from), epsilon, centred })
}

fn instance_normalization(a: &mut Attributes) -> Result<Op, NodeError> {
    a.ignore(&[CONSUMED]);
    Ok(Op::Normalise { over: Together::Groups(None), epsilon: a.number("epsilon", 1e-5)?, centred: true })
}

fn group_normalization(a: &mut Attributes) -> Result<Op, NodeError> {
    a.ignore(&["stash_type"]);
    let groups = a.count("num_groups")?.ok_or(NodeError::Missing("num_groups"))?;
    Ok(Op::Normalise { over: Together::Groups(Some(groups)), epsilon: a.number("epsilon", 1e-5)?, centred: true })
}

/// A function with the setting `alpha`.
fn alpha(a: &mut Attributes, of: Function, default: f32) -> Result<Op, NodeError> {
    let alpha = a.number("alpha", default)?;
    Ok(function(a, of, [alpha, 0.0]))
}

fn hard_sigmoid(a: &mut Attributes) -> Result<Op, NodeError> {
    let settings = [a.number("alpha", 0.2)?, a.number("beta", 0.5)?];
    Ok(function(a, Function::HardSigmoid, settings))
}

fn compare(a: &mut Attributes, comparison: Comparison) -> Op {
    a.ignore(&["axis", "broadcast"]);
    Op::Compare(comparison)
}

fn prelu(a: &mut Attributes) -> Op {
    a.ignore(&[CONSUMED]);
    Op::Binary { operation: Operation::Leak, axis: if a.version < 7 { Some(1) } else { None } }
}

/// A list of whole numbers that is an attribute up to version `input`, from which on it is an input.
fn listed(a: &mut Attributes, name: &'static str, input: i64) -> Result<Option<Vec<i64>>, NodeError> {
    if a.version < input { Ok(a.ints(name)?.map(<[i64]>::to_vec)) } else { Ok(None) }
}

fn batch_norm(a: &mut Attributes) -> Result<Op, NodeError> {
    a.ignore(&["momentum", CONSUMED]);
    if a.version < 7 && !a.switch("is_test")? {
        return Err(NodeError::value("is_test", &0, &"1: networks are only evaluated"));
    }
    if a.switch("training_mode")? {
        return Err(NodeError::value("training_mode", &1, &"0: networks are only evaluated"));
    }
    if a.version < 9 && a.int("spatial")?.unwrap_or(1) != 1 {
        return Err(NodeError::value("spatial", &0, &"1: statistics of whole maps"));
    }
    Ok(Op::BatchNorm { epsilon: a.number("epsilon", 1e-5)? })
}

fn cast(a: &mut Attributes) -> Result<Op, NodeError> {
    a.ignore(&["saturate", "round_mode"]);
    let to = a.int("to")?.ok_or(NodeError::Missing("to"))?;
    let kind = i32::try_from(to).ok().and_then(|to| DataType::try_from(to).ok());
    Ok(Op::Cast(match kind {
        Some(DataType::Float | DataType::Float16 | DataType::Bfloat16) => CastTo::Float,
        Some(DataType::Int64 | DataType::Int32) => CastTo::Integer,
        Some(DataType::Bool) => CastTo::Truth,
        _ => return Err(NodeError::value("to", &to, &"FLOAT, FLOAT16, BFLOAT16, INT32, INT64 or BOOL")),
    }))
}

fn clip(a: &mut Attributes) -> Result<Op, NodeError> {
    a.ignore(&[CONSUMED]);
    Ok(Op::Clip(if a.version < 11 { [a.float("min")?, a.float("max")?] } else { [None; 2] }))
}

fn constant_of_shape(a: &mut Attributes) -> Result<Op, NodeError> {
    let fill = match a.tensor("value")? {
        None => ConstantValues::Floats([0.0].into()),
        Some(tensor) => constant(tensor.clone(), &mut External::default())?.values,
    };
    match &fill {
        ConstantValues::Floats(values) if values.len() != 1 => {
            Err(NodeError::value("value", &values.len(), &"1 number"))
        }
        ConstantValues::Integers(values) if values.len() != 1 => {
            Err(NodeError::value("value", &values.len(), &"1 number"))
        }
        _ => Ok(Op::ConstantOfShape(fill)),
    }
}

fn pad(a: &mut Attributes) -> Result<Op, NodeError> {
    let modes = [
        ("constant", PadMode::Constant),
        ("reflect", PadMode::Reflect),
        ("edge", PadMode::Edge),
        ("wrap", PadMode::Wrap),
    ];
    let mode = a.choice("mode", &modes)?;
    if a.version >= 11 {
        return Ok(Op::Pad { pads: None, mode, value: None });
    }
    let pads = if a.version < 2 { a.ints("paddings")? } else { a.ints("pads")? };
    let pads = pads.ok_or(NodeError::Missing("pads"))?.to_vec();
    Ok(Op::Pad { pads: Some(pads), mode, value: Some(a.float("value")?.unwrap_or(0.0)) })
}

/// Reduction whose axes are an attribute up to version `input`, from which on they are an input.
fn reduce(a: &mut Attributes, to: Reduction, input: i64) -> Result<Op, NodeError> {
    let keep = a.int("keepdims")?.unwrap_or(1) != 0;
    let nothing = a.version >= input && a.switch("noop_with_empty_axes")?;
    Ok(Op::Reduce { to, axes: listed(a, "axes", input)?, keep, nothing })
}

fn shape(a: &mut Attributes) -> Result<Op, NodeError> {
    Ok(Op::Shape([a.int("start")?.unwrap_or(0), a.int("end")?.unwrap_or(i64::MAX)]))
}

fn slice(a: &mut Attributes) -> Result<Op, NodeError> {
    if a.version >= 10 {
        return Ok(Op::Slice(None));
    }
    let starts = a.ints("starts")?.ok_or(NodeError::Missing("starts"))?.to_vec();
    let ends = a.ints("ends")?.ok_or(NodeError::Missing("ends"))?.to_vec();
    Ok(Op::Slice(Some([starts, ends, a.ints("axes")?.unwrap_or_default().to_vec()])))
}
