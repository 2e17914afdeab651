//! Restricted unpickler for state dicts: a stack machine with a memo that knows the opcodes which `torch.save` writes, and
//! three callables. Objects lie in one list and refer to each other by index, so that no nesting is too deep, and each
//! takes at least a byte of the pickle.

use std::collections::{BTreeMap, HashMap};

use thiserror::Error;

use crate::tensor::FloatFormat;

/// Most axes of a tensor; a pickle can repeat a tensor, which is therefore short.
const MOST_AXES: usize = 16;
/// Most bytes of a storage's key.
const LONGEST_KEY: usize = 64;

/// Names of the storages of [`stored`], for messages.
pub(super) const FLOATS: &str = "HalfStorage, BFloat16Storage, FloatStorage and DoubleStorage";

/// Reason why a pickle is no state dict.
#[derive(Clone, Debug, Error, PartialEq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PickleError {
    #[error("damaged pickle: it ends too early")]
    Truncated,
    #[error("damaged pickle: an opcode does not find its operands")]
    Operands,
    #[error("opcode {0:#04x} of the pickle is not supported: torch.save(model.state_dict(), FILE) writes none")]
    Opcode(u8),
    #[error(
        "found {0}, which only Python code could make, expected plain tensors: torch.save(model.state_dict(), FILE)"
    )]
    Python(String),
    #[error("found an integer of {0} bytes in the pickle, expected at most 8")]
    Integer(usize),
    #[error("a string of the pickle is not UTF-8")]
    Utf8,
    #[error("found {0} as an extent, stride or offset, expected 0 or more")]
    Extent(i64),
    #[error("no dict of tensors in the pickle: torch.save(model.state_dict(), FILE) writes one")]
    NoDict,
    #[error("no tensors, neither in the dict nor in its entry state_dict")]
    NoTensors,
    #[error("found two tensors of name {0}, expected one")]
    Duplicate(String),
}

/// Tensor as PyTorch holds it: a strided view of a storage. Offset and strides count numbers, not bytes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct StridedView {
    pub storage: Storage,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
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
}

/// Value on the stack; larger ones are indices of objects.
#[derive(Clone, Copy, Debug)]
enum Value {
    /// None, a boolean or a float, which no tensor is made of.
    Ignored,
    Int(i64),
    Object(usize),
}

/// Value that does not fit the stack.
#[derive(Debug)]
enum Object {
    Text(String),
    Global(Global),
    Tuple(Vec<Value>),
    /// List, whose items are dropped: no tensor is looked for there.
    List,
    Dict(Vec<(Value, Value)>),
    Storage(Storage),
    Tensor(StridedView),
}

/// Classes and functions of Python that a pickle may refer to.
#[derive(Clone, Debug)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// Class of a storage, such as `FloatStorage`.
    Storage(String),
}

impl Global {
    fn named(module: &str, name: &str) -> Result<Self, PickleError> {
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch", name) if name.ends_with("Storage") => Ok(Self::Storage(name.into())),
            _ => Err(PickleError::Python(format!("{module}.{name}"))),
        }
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

/// Finds the tensors in a pickled dict by their names, or those in its entry `state_dict`.
pub(super) fn state_dict(bytes: &[u8]) -> Result<BTreeMap<String, StridedView>, PickleError> {
    let mut machine =
        Machine { rest: bytes, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), objects: Vec::new() };
    let root = machine.run()?;
    let outer = machine.dict(root).ok_or(PickleError::NoDict)?;
    let inner = outer.iter().find(|(key, _)| machine.text(*key).is_ok_and(|key| key == "state_dict"));
    let inner = inner.and_then(|(_, value)| machine.dict(*value));
    let mut tensors = BTreeMap::new();
    for (key, value) in inner.unwrap_or(outer) {
        let Some(Object::Tensor(view)) = machine.object(*value) else { continue };
        let name = machine.text(*key)?.to_owned();
        if tensors.insert(name.clone(), view.clone()).is_some() {
            return Err(PickleError::Duplicate(name));
        }
    }
    if tensors.is_empty() { Err(PickleError::NoTensors) } else { Ok(tensors) }
}

struct Machine<'b> {
    /// Bytes that have not run yet.
    rest: &'b [u8],
    stack: Vec<Value>,
    /// Lengths of the stack at its marks, to which tuples and dict entries reach back.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    objects: Vec<Object>,
}

impl Machine<'_> {
    /// Runs to STOP and returns the value on top.
    fn run(&mut self) -> Result<Value, PickleError> {
        loop {
            let [opcode] = self.take()?;
            if opcode == b'.' {
                return self.pop(); // STOP
            }
            self.execute(opcode)?;
        }
    }

    /// Executes one opcode, by the letters of Python's pickletools.
    fn execute(&mut self, opcode: u8) -> Result<(), PickleError> {
        match opcode {
            0x80 => drop(self.take::<1>()?),                       // PROTO
            0x95 => drop(self.take::<8>()?),                       // FRAME
            b'(' => self.marks.push(self.stack.len()),             // MARK
            b'N' | 0x88 | 0x89 => self.stack.push(Value::Ignored), // NONE, NEWTRUE, NEWFALSE
            b'K' | b'M' | b'J' | 0x8a | b'G' => self.number(opcode)?,
            b'X' | 0x8c | b'c' | 0x93 => self.name(opcode)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(opcode)?,
            b')' => self.push(Object::Tuple(Vec::new())), // EMPTY_TUPLE
            b']' => self.push(Object::List),              // EMPTY_LIST
            b'}' => self.push(Object::Dict(Vec::new())),  // EMPTY_DICT
            b't' => {
                let items = self.above_mark()?; // TUPLE
                self.push(Object::Tuple(items));
            }
            0x85..=0x87 => {
                let items = self.last(usize::from(opcode - 0x84))?; // TUPLE1 to TUPLE3
                self.push(Object::Tuple(items));
            }
            // APPEND to a list; BUILD, attributes of an object such as a state dict's _metadata.
            b'a' | b'b' => drop(self.pop()?),
            b'e' => drop(self.above_mark()?), // APPENDS
            b's' => {
                let entry = self.last(2)?; // SETITEM
                self.set(&entry)?;
            }
            b'u' => {
                let entries = self.above_mark()?; // SETITEMS
                self.set(&entries)?;
            }
            b'Q' => self.storage()?, // BINPERSID
            b'R' => self.reduce()?,  // REDUCE
            other => return Err(PickleError::Opcode(other)),
        }
        Ok(())
    }

    /// BININT1, BININT2, BININT, BINFLOAT or LONG1: pushes a number.
    fn number(&mut self, opcode: u8) -> Result<(), PickleError> {
        let value = match opcode {
            b'K' => Value::Int(self.take::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.take()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.take()?).into()),
            b'G' => {
                self.take::<8>()?;
                Value::Ignored
            }
            _ => {
                // LONG1: a count of bytes, and these, in two's complement.
                let [length] = self.take()?;
                let bytes = self.bytes(length.into())?;
                if bytes.len() > 8 {
                    return Err(PickleError::Integer(bytes.len()));
                }
                let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
                let mut extended = [if negative { 0xff } else { 0 }; 8];
                extended[..bytes.len()].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(extended))
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// BINUNICODE, SHORT_BINUNICODE, GLOBAL or STACK_GLOBAL: pushes a string, or a class or function of Python.
    fn name(&mut self, opcode: u8) -> Result<(), PickleError> {
        let object = match opcode {
            b'X' => {
                let length = u32::from_le_bytes(self.take()?) as usize;
                Object::Text(utf8(self.bytes(length)?)?)
            }
            0x8c => {
                let [length] = self.take()?;
                Object::Text(utf8(self.bytes(length.into())?)?)
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Object::Global(Global::named(&module, &name)?)
            }
            _ => {
                let names = self.last(2)?;
                Object::Global(Global::named(self.text(names[0])?, self.text(names[1])?)?)
            }
        };
        self.push(object);
        Ok(())
    }

    /// BINPUT, LONG_BINPUT or MEMOIZE: copies the top into the memo; BINGET or LONG_BINGET: pushes it again.
    fn memo(&mut self, opcode: u8) -> Result<(), PickleError> {
        let number = match opcode {
            b'q' | b'h' => self.take::<1>()?[0].into(),
            b'r' | b'j' => u32::from_le_bytes(self.take()?),
            _ => self.memo.len() as u32, // MEMOIZE
        };
        if matches!(opcode, b'h' | b'j') {
            self.stack.push(*self.memo.get(&number).ok_or(PickleError::Operands)?);
        } else {
            self.memo.insert(number, *self.stack.last().ok_or(PickleError::Operands)?);
        }
        Ok(())
    }

    /// Replaces the tuple `("storage", kind, key, device, numbers)` by the storage it describes.
    fn storage(&mut self) -> Result<(), PickleError> {
        let value = self.pop()?;
        let &[_, kind, key, _, numbers] = self.tuple(value)? else { return Err(PickleError::Operands) };
        let Some(Object::Global(Global::Storage(kind))) = self.object(kind) else { return Err(PickleError::Operands) };
        let key = Some(self.text(key)?).filter(|key| key.len() <= LONGEST_KEY).ok_or(PickleError::Operands)?;
        let storage = Storage { key: key.into(), kind: kind.clone(), numbers: extent(numbers)? };
        self.push(Object::Storage(storage));
        Ok(())
    }

    /// Calls a [`Global`] with the tuple of arguments on top.
    fn reduce(&mut self) -> Result<(), PickleError> {
        let (arguments, global) = (self.pop()?, self.pop()?);
        let Some(Object::Global(global)) = self.object(global) else { return Err(PickleError::Operands) };
        match (global, self.tuple(arguments)?) {
            (Global::OrderedDict, []) => self.push(Object::Dict(Vec::new())),
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let Some(Object::Storage(storage)) = self.object(storage) else { return Err(PickleError::Operands) };
                let (shape, strides) = (self.tuple(shape)?, self.tuple(strides)?);
                if shape.len() != strides.len() || shape.len() > MOST_AXES {
                    return Err(PickleError::Operands);
                }
                let (shape, strides) = (extents(shape)?, extents(strides)?);
                let view = StridedView { storage: storage.clone(), offset: extent(offset)?, shape, strides };
                self.push(Object::Tensor(view));
            }
            (Global::RebuildParameter, &[tensor, ..]) => self.stack.push(tensor),
            _ => return Err(PickleError::Operands),
        }
        Ok(())
    }

    /// Sets entries, keys and values in turn, of the dict that they lay on.
    fn set(&mut self, entries: &[Value]) -> Result<(), PickleError> {
        let Some(&Value::Object(number)) = self.stack.last() else { return Err(PickleError::Operands) };
        let (Some(Object::Dict(dict)), true) = (self.objects.get_mut(number), entries.len().is_multiple_of(2)) else {
            return Err(PickleError::Operands);
        };
        dict.extend(entries.chunks_exact(2).map(|entry| (entry[0], entry[1])));
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Value, PickleError> {
        Ok(self.last(1)?[0])
    }

    /// Takes the `count` top values; a mark hides those below it.
    fn last(&mut self, count: usize) -> Result<Vec<Value>, PickleError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let at = self.stack.len().checked_sub(count).filter(|&at| at >= floor).ok_or(PickleError::Operands)?;
        Ok(self.stack.split_off(at))
    }

    /// Takes the last mark and the values above it.
    fn above_mark(&mut self) -> Result<Vec<Value>, PickleError> {
        let mark = self.marks.pop().ok_or(PickleError::Operands)?;
        Ok(self.stack.split_off(mark))
    }

    fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(number) => self.objects.get(number),
            _ => None,
        }
    }

    fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.object(value) {
            Some(Object::Dict(entries)) => Some(entries),
            _ => None,
        }
    }

    fn text(&self, value: Value) -> Result<&str, PickleError> {
        match self.object(value) {
            Some(Object::Text(text)) => Ok(text),
            _ => Err(PickleError::Operands),
        }
    }

    fn tuple(&self, value: Value) -> Result<&[Value], PickleError> {
        match self.object(value) {
            Some(Object::Tuple(items)) => Ok(items),
            _ => Err(PickleError::Operands),
        }
    }

    fn bytes(&mut self, count: usize) -> Result<&[u8], PickleError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(PickleError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], PickleError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(PickleError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Result<String, PickleError> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or(PickleError::Truncated)?;
        let line = utf8(&self.rest[..end])?;
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }
}

fn utf8(bytes: &[u8]) -> Result<String, PickleError> {
    String::from_utf8(bytes.to_vec()).map_err(|_| PickleError::Utf8)
}

fn extents(values: &[Value]) -> Result<Vec<usize>, PickleError> {
    values.iter().map(|&value| extent(value)).collect()
}

fn extent(value: Value) -> Result<usize, PickleError> {
    match value {
        Value::Int(number) => usize::try_from(number).map_err(|_| PickleError::Extent(number)),
        _ => Err(PickleError::Operands),
    }
}
