//! What a pickle of a state dict is made of: values, objects, and the classes and functions that it names.

use super::error::PickleError;
use crate::tensor::FloatFormat;

/// Most bytes of the names of a module and of a class or function in it.
const LONGEST_NAME: usize = 256;

/// Names of the storages of [`stored`], for messages.
pub(super) const FLOATS: &str = "HalfStorage, BFloat16Storage, FloatStorage and DoubleStorage";

/// Tensor as PyTorch holds it: a strided view of a storage. Offset and strides count numbers, not bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StridedView {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
    /// Whether every number stands for its negative: the bit that `torch.Tensor.is_neg` reads.
    pub negative: bool,
}

impl StridedView {
    /// Index in the storage of element `flat`, counted with the last axis innermost.
    pub(super) fn index(&self, flat: usize) -> usize {
        let (mut rest, mut index) = (flat, self.offset);
        for (&extent, &stride) in self.shape.iter().zip(&self.strides).rev() {
            index += rest % extent * stride;
            rest /= extent;
        }
        index
    }

    /// Largest index in the storage, of a view with elements; `None` beyond the range of integers.
    pub(super) fn last(&self) -> Option<usize> {
        let mut axes = self.shape.iter().zip(&self.strides);
        axes.try_fold(self.offset, |index, (&extent, &stride)| index.checked_add((extent - 1).checked_mul(stride)?))
    }
}

/// Flat array of numbers: an entry of the archive.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// Name of the entry in the folder `data`.
    pub key: String,
    /// Class of the storage, such as `FloatStorage`.
    pub kind: String,
    /// Count of its numbers.
    pub numbers: usize,
    /// First of the numbers that are meant; others than 0 in files from before PyTorch 1.0.
    pub first: usize,
}

/// Value on the stack; larger ones are indices of objects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// None, a float, bytes or a large integer, which no tensor is made of.
    Ignored,
    Bool(bool),
    Int(i64),
    Object(usize),
}

/// Value that does not fit the stack.
#[derive(Debug)]
pub(super) enum Object {
    Text(String),
    Global(Global),
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage(Storage),
    Tensor(StridedView),
    /// What a class or function of this name would make.
    Foreign(String),
}

/// Classes and functions of Python that a pickle refers to.
#[derive(Clone, Debug)]
pub(super) enum Global {
    /// Class of a dict, which may be made of a list of its entries.
    Dict,
    RebuildTensor,
    /// As [`Global::RebuildTensor`], of bytes that a dtype among its arguments explains.
    RebuildTyped,
    RebuildParameter,
    RebuildFromType,
    /// Class of a storage, such as `FloatStorage`.
    Storage(String),
    /// Any other, by its full name.
    Foreign(String),
}

impl Global {
    pub(super) fn named(module: &str, name: &str) -> Result<Self, PickleError> {
        if module.len() + name.len() > LONGEST_NAME {
            return Err(PickleError::Operands); // a pickle can repeat it
        }
        Ok(match (module, name) {
            ("collections", "OrderedDict" | "defaultdict") => Self::Dict,
            ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_tensor_v3") => Self::RebuildTyped,
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Self::RebuildParameter,
            ("torch._tensor", "_rebuild_from_type_v2") => Self::RebuildFromType,
            ("torch" | "torch.storage" | "torch.cuda", name) if name.ends_with("Storage") => Self::Storage(name.into()),
            _ => Self::Foreign(format!("{module}.{name}")),
        })
    }
}

/// Format of the floats in a storage of class `kind`; `None` where they are no floats.
pub(super) fn stored(kind: &str) -> Option<FloatFormat> {
    match kind {
        "HalfStorage" => Some(FloatFormat::F16),
        "BFloat16Storage" => Some(FloatFormat::BF16),
        "FloatStorage" => Some(FloatFormat::F32),
        "DoubleStorage" => Some(FloatFormat::F64),
        _ => None,
    }
}

/// Bytes of one number in a storage of class `kind`, of whatever type; `None` for unknown ones.
pub(super) fn number_bytes(kind: &str) -> Option<usize> {
    match kind {
        "ComplexDoubleStorage" => Some(16),
        "LongStorage" | "ComplexFloatStorage" => Some(8),
        "IntStorage" | "QInt32Storage" => Some(4),
        "ShortStorage" => Some(2),
        "ByteStorage" | "CharStorage" | "BoolStorage" | "QInt8Storage" | "QUInt8Storage" | "UntypedStorage" => Some(1),
        _ => stored(kind).map(FloatFormat::size),
    }
}
