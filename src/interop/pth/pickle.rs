//! The part of Python's pickles that state dicts are written in: a machine with a stack and a memo, whose every word is
//! known here. Objects lie in one list and refer to each other by number, so that no nesting is too deep for us, and
//! each takes at least a byte of the pickle.

use std::collections::{BTreeMap, HashMap};

use crate::tensor::Stored;

/// Most axes of a tensor, and bytes of a storage's name: what a tensor repeats is short.
const MOST_AXES: usize = 16;
const LONGEST_KEY: usize = 64;

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Place {
    /// What it is part of.
    pub storage: Storage,
    /// Its first number there.
    pub offset: usize,
    /// Extents.
    pub shape: Vec<usize>,
    /// Numbers from one to the next along every axis.
    pub strides: Vec<usize>,
}

/// Numbers in an entry of the archive.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Storage {
    /// The entry's name in the folder `data`.
    pub key: String,
    /// What its numbers are, or what the pickle calls them where they are no floats.
    pub stored: Result<Stored, String>,
    /// How many.
    pub numbers: usize,
}

/// A value on the stack; the larger ones are numbers of objects.
#[derive(Clone, Copy, Debug)]
enum Value {
    None,
    Bool,
    Int(i64),
    Float,
    Object(usize),
}

/// A larger value.
#[derive(Debug)]
enum Object {
    Text(String),
    /// Something of Python by module and name.
    Global(Global),
    Tuple(Vec<Value>),
    /// Nothing that is looked for lies in a list.
    List,
    Dict(Vec<(Value, Value)>),
    Storage(Storage),
    Tensor(Place),
}

/// What a pickle may name.
#[derive(Clone, Debug)]
enum Global {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// The name of a type of storage.
    Storage(String),
}

impl Global {
    fn named(module: &str, name: &str) -> Result<Self, String> {
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Self::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Self::RebuildParameter,
            ("torch", name) if name.ends_with("Storage") => Self::Storage(name.into()),
            _ => {
                return Err(format!(
                    "holds {module}.{name}, which only Python code could make; plain tensors can be read: \
                     torch.save(model.state_dict(), FILE)"
                ));
            }
        })
    }
}

fn stored(storage: &str) -> Result<Stored, String> {
    match storage {
        "HalfStorage" => Ok(Stored::F16),
        "BFloat16Storage" => Ok(Stored::BF16),
        "FloatStorage" => Ok(Stored::F32),
        "DoubleStorage" => Ok(Stored::F64),
        other => Err(other.into()),
    }
}

/// The tensors of the pickled dict by their names, or of the one that is in it as `state_dict`.
pub(super) fn state_dict(bytes: &[u8]) -> Result<BTreeMap<String, Place>, String> {
    let mut machine =
        Machine { rest: bytes, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), objects: Vec::new() };
    let root = machine.run()?;
    let entries = |value| match machine.object(value) {
        Some(Object::Dict(entries)) => Some(entries),
        _ => None,
    };
    let outer = entries(root).ok_or("holds no dict of tensors")?;
    let inner = outer.iter().find(|(key, _)| machine.text(*key).is_ok_and(|key| key == "state_dict"));
    let inner = inner.and_then(|(_, value)| entries(*value));
    let mut tensors = BTreeMap::new();
    for (key, value) in inner.unwrap_or(outer) {
        let Some(Object::Tensor(place)) = machine.object(*value) else { continue };
        let name = machine.text(*key)?.to_owned();
        if tensors.insert(name.clone(), place.clone()).is_some() {
            return Err(format!("holds two tensors {name}"));
        }
    }
    if tensors.is_empty() {
        return Err("holds no tensors, neither as a dict of them nor under state_dict".into());
    }
    Ok(tensors)
}

const SHORT: &str = "has a damaged pickle: it ends too early";
const STRAY: &str = "has a damaged pickle: a word does not find what it works on";

struct Machine<'b> {
    rest: &'b [u8],
    stack: Vec<Value>,
    /// Lengths of the stack, to which tuples and entries reach back.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    objects: Vec<Object>,
}

impl Machine<'_> {
    /// Runs to the end and gives the last value.
    fn run(&mut self) -> Result<Value, String> {
        loop {
            let [word] = self.take()?;
            match word {
                b'.' => return self.pop(),
                0x80 => drop(self.take::<1>()?), // PROTO
                0x95 => drop(self.take::<8>()?), // FRAME
                b'(' => self.marks.push(self.stack.len()),
                _ => self.word(word)?,
            }
        }
    }

    fn word(&mut self, word: u8) -> Result<(), String> {
        match word {
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool), // NEWTRUE, NEWFALSE
            b'K' | b'M' | b'J' | 0x8a | b'G' => self.number(word)?,
            b'X' | 0x8c | b'c' | 0x93 => self.name(word)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.remember(word)?,
            b')' => self.push(Object::Tuple(Vec::new())),
            b']' => self.push(Object::List),
            b'}' => self.push(Object::Dict(Vec::new())),
            b't' => {
                let items = self.above_mark()?;
                self.push(Object::Tuple(items));
            }
            0x85..=0x87 => {
                let items = self.last(usize::from(word - 0x84))?; // TUPLE1 to TUPLE3
                self.push(Object::Tuple(items));
            }
            // To a list; attributes of an object, such as a state dict's _metadata.
            b'a' | b'b' => drop(self.pop()?),
            b'e' => drop(self.above_mark()?), // APPENDS
            b's' => {
                let entry = self.last(2)?;
                self.set(&entry)?;
            }
            b'u' => {
                let entries = self.above_mark()?;
                self.set(&entries)?;
            }
            b'Q' => self.storage()?,
            b'R' => self.reduce()?,
            other => return Err(format!("has a pickle with the word {other:#04x}, which state dicts do without")),
        }
        Ok(())
    }

    fn number(&mut self, word: u8) -> Result<(), String> {
        let value = match word {
            b'K' => Value::Int(self.take::<1>()?[0].into()),
            b'M' => Value::Int(u16::from_le_bytes(self.take()?).into()),
            b'J' => Value::Int(i32::from_le_bytes(self.take()?).into()),
            b'G' => {
                self.take::<8>()?;
                Value::Float
            }
            _ => {
                // LONG1: as many bytes as it takes, the sign in the highest.
                let [length] = self.take()?;
                let bytes = self.bytes(length.into())?;
                if bytes.len() > 8 {
                    return Err("has a number of more than 64 bits in its pickle".into());
                }
                let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
                let mut whole = [if negative { 0xff } else { 0 }; 8];
                whole[..bytes.len()].copy_from_slice(bytes);
                Value::Int(i64::from_le_bytes(whole))
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// Text, or something of Python.
    fn name(&mut self, word: u8) -> Result<(), String> {
        let object = match word {
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
                // STACK_GLOBAL
                let names = self.last(2)?;
                Object::Global(Global::named(self.text(names[0])?, self.text(names[1])?)?)
            }
        };
        self.push(object);
        Ok(())
    }

    /// Into the memo, or out of it.
    fn remember(&mut self, word: u8) -> Result<(), String> {
        let number = match word {
            b'q' | b'h' => self.take::<1>()?[0].into(),
            b'r' | b'j' => u32::from_le_bytes(self.take()?),
            _ => self.memo.len() as u32, // MEMOIZE
        };
        if matches!(word, b'h' | b'j') {
            self.stack.push(*self.memo.get(&number).ok_or(STRAY)?);
        } else {
            self.memo.insert(number, *self.stack.last().ok_or(STRAY)?);
        }
        Ok(())
    }

    /// BINPERSID: `("storage", kind, key, device, numbers)`.
    fn storage(&mut self) -> Result<(), String> {
        let value = self.pop()?;
        let &[_, kind, key, _, numbers] = self.tuple(value)? else { return Err(STRAY.into()) };
        let Some(Object::Global(Global::Storage(kind))) = self.object(kind) else { return Err(STRAY.into()) };
        let key = Some(self.text(key)?).filter(|key| key.len() <= LONGEST_KEY).ok_or(STRAY)?;
        let storage = Storage { key: key.into(), stored: stored(kind), numbers: extent(numbers)? };
        self.push(Object::Storage(storage));
        Ok(())
    }

    /// A call of one of the things in [`Global`].
    fn reduce(&mut self) -> Result<(), String> {
        let (arguments, global) = (self.pop()?, self.pop()?);
        let Some(Object::Global(global)) = self.object(global) else { return Err(STRAY.into()) };
        match (global, self.tuple(arguments)?) {
            (Global::OrderedDict, []) => self.push(Object::Dict(Vec::new())),
            (Global::RebuildTensor, &[storage, offset, shape, strides, ..]) => {
                let Some(Object::Storage(storage)) = self.object(storage) else { return Err(STRAY.into()) };
                let (shape, strides) = (self.tuple(shape)?, self.tuple(strides)?);
                if shape.len() != strides.len() || shape.len() > MOST_AXES {
                    return Err(STRAY.into());
                }
                let extents =
                    |values: &[Value]| values.iter().map(|&value| extent(value)).collect::<Result<Vec<_>, _>>();
                let (shape, strides) = (extents(shape)?, extents(strides)?);
                let place = Place { storage: storage.clone(), offset: extent(offset)?, shape, strides };
                self.push(Object::Tensor(place));
            }
            (Global::RebuildParameter, &[tensor, ..]) => self.stack.push(tensor),
            _ => return Err(STRAY.into()),
        }
        Ok(())
    }

    /// Sets entries, keys and values in turn, in the dict that lies under them.
    fn set(&mut self, entries: &[Value]) -> Result<(), String> {
        let Some(&Value::Object(number)) = self.stack.last() else { return Err(STRAY.into()) };
        let (Some(Object::Dict(dict)), true) = (self.objects.get_mut(number), entries.len().is_multiple_of(2)) else {
            return Err(STRAY.into());
        };
        dict.extend(entries.chunks_exact(2).map(|entry| (entry[0], entry[1])));
        Ok(())
    }

    fn push(&mut self, object: Object) {
        self.stack.push(Value::Object(self.objects.len()));
        self.objects.push(object);
    }

    /// A mark hides what lies below it.
    fn pop(&mut self) -> Result<Value, String> {
        Ok(self.last(1)?[0])
    }

    fn last(&mut self, count: usize) -> Result<Vec<Value>, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let at = self.stack.len().checked_sub(count).filter(|&at| at >= floor).ok_or(STRAY)?;
        Ok(self.stack.split_off(at))
    }

    fn above_mark(&mut self) -> Result<Vec<Value>, String> {
        let mark = self.marks.pop().ok_or(STRAY)?;
        Ok(self.stack.split_off(mark))
    }

    fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(number) => self.objects.get(number),
            _ => None,
        }
    }

    fn text(&self, value: Value) -> Result<&str, String> {
        match self.object(value) {
            Some(Object::Text(text)) => Ok(text),
            _ => Err(STRAY.into()),
        }
    }

    fn tuple(&self, value: Value) -> Result<&[Value], String> {
        match self.object(value) {
            Some(Object::Tuple(items)) => Ok(items),
            _ => Err(STRAY.into()),
        }
    }

    fn bytes(&mut self, count: usize) -> Result<&[u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(SHORT)?;
        self.rest = rest;
        Ok(taken)
    }

    fn take<const COUNT: usize>(&mut self) -> Result<[u8; COUNT], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(SHORT)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn line(&mut self) -> Result<String, String> {
        let end = self.rest.iter().position(|&byte| byte == b'\n').ok_or(SHORT)?;
        let line = utf8(&self.rest[..end])?;
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }
}

fn utf8(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "has a pickle whose text is not UTF-8".into())
}

fn extent(value: Value) -> Result<usize, String> {
    match value {
        Value::Int(number) => usize::try_from(number).map_err(|_| format!("has {number} where an extent belongs")),
        _ => Err(STRAY.into()),
    }
}
