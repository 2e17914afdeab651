//! Restricted unpickler for state dicts: a stack machine with a memo that knows the opcodes of Python's pickles and the
//! few callables that rebuild tensors. It calls nothing else: what another class or function makes is an
//! [`Object::Foreign`], which no tensor is made of. Objects lie in one list and refer to each other by index, so that
//! no nesting is too deep, and each takes at least a byte of the pickle.

use std::collections::HashMap;

use super::error::PickleError;
use super::objects::{Global, Object, Storage, StridedView, Value};

/// Most axes of a tensor; a pickle can repeat a tensor, which is therefore short.
const MOST_AXES: usize = 16;
/// Most bytes of a storage's key.
const LONGEST_KEY: usize = 64;

/// Stack machine over one or several pickles in a row.
pub(super) struct Machine<'b> {
    /// Bytes that have not run yet.
    pub rest: &'b [u8],
    stack: Vec<Value>,
    /// Lengths of the stack at its marks, to which tuples and dict entries reach back.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
    objects: Vec<Object>,
}

impl<'b> Machine<'b> {
    pub(super) fn new(rest: &'b [u8]) -> Self {
        Self { rest, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), objects: Vec::new() }
    }
}

impl<'b> Machine<'b> {
    /// Runs one pickle to its STOP and returns the value on top.
    pub(super) fn run(&mut self) -> Result<Value, PickleError> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
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
            0x80 => drop(self.take::<1>()?),                             // PROTO
            0x95 => drop(self.take::<8>()?),                             // FRAME
            b'(' => self.marks.push(self.stack.len()),                   // MARK
            b'N' => self.stack.push(Value::Ignored),                     // NONE
            0x88 | 0x89 => self.stack.push(Value::Bool(opcode == 0x88)), // NEWTRUE, NEWFALSE
            b'K' | b'M' | b'J' | 0x8a | 0x8b | b'G' => self.number(opcode)?,
            b'X' | b'T' | b'U' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => self.string(opcode)?,
            b'c' | 0x93 => self.global(opcode)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.memo(opcode)?,
            b')' => self.push(Object::Tuple(Vec::new())), // EMPTY_TUPLE
            b']' | 0x8f => self.push(Object::List(Vec::new())), // EMPTY_LIST, EMPTY_SET
            b'}' => self.push(Object::Dict(Vec::new())),  // EMPTY_DICT
            b't' => {
                let items = self.above_mark()?; // TUPLE
                self.push(Object::Tuple(items));
            }
            b'l' | 0x91 => {
                let items = self.above_mark()?; // LIST, FROZENSET
                self.push(Object::List(items));
            }
            b'd' => {
                let entries = self.above_mark()?; // DICT
                self.push(Object::Dict(Vec::new()));
                self.set(&entries)?;
            }
            0x85..=0x87 => {
                let items = self.last(usize::from(opcode - 0x84))?; // TUPLE1 to TUPLE3
                self.push(Object::Tuple(items));
            }
            // POP; BUILD, attributes of an object such as a state dict's _metadata.
            b'0' | b'b' => drop(self.pop()?),
            b'1' => drop(self.above_mark()?), // POP_MARK
            b'2' => {
                let top = self.pop()?; // DUP
                self.stack.extend([top, top]);
            }
            b'a' => {
                let item = self.pop()?; // APPEND
                self.append(&[item])?;
            }
            b'e' | 0x90 => {
                let items = self.above_mark()?; // APPENDS, ADDITEMS
                self.append(&items)?;
            }
            b's' => {
                let entry = self.last(2)?; // SETITEM
                self.set(&entry)?;
            }
            b'u' => {
                let entries = self.above_mark()?; // SETITEMS
                self.set(&entries)?;
            }
            b'Q' => self.storage()?, // BINPERSID
            b'R' | 0x81 => {
                let (arguments, callee) = (self.pop()?, self.pop()?); // REDUCE, NEWOBJ
                let made = self.call(callee, arguments)?;
                self.stack.push(made);
            }
            0x92 => {
                let (_, arguments, callee) = (self.pop()?, self.pop()?, self.pop()?); // NEWOBJ_EX
                let made = self.call(callee, arguments)?;
                self.stack.push(made);
            }
            other => return Err(PickleError::Opcode(other)),
        }
        Ok(())
    }

    /// BININT1, BININT2, BININT, BINFLOAT, LONG1 or LONG4: pushes a number.
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
                // A count of bytes, and these, in two's complement; no tensor has numbers of more than 8.
                let length = if opcode == 0x8a {
                    self.take::<1>()?[0].into()
                } else {
                    u32::from_le_bytes(self.take()?) as usize
                };
                let bytes = self.bytes(length)?;
                let negative = bytes.last().is_some_and(|&byte| byte >= 0x80);
                let mut extended = [if negative { 0xff } else { 0 }; 8];
                match extended.get_mut(..bytes.len()) {
                    Some(low) => {
                        low.copy_from_slice(bytes);
                        Value::Int(i64::from_le_bytes(extended))
                    }
                    None => Value::Ignored,
                }
            }
        };
        self.stack.push(value);
        Ok(())
    }

    /// Strings by their counts of bytes: BINUNICODE, SHORT_BINUNICODE, BINUNICODE8 and those of Python 2, BINSTRING and
    /// SHORT_BINSTRING, are pushed; BINBYTES, SHORT_BINBYTES, BINBYTES8 and BYTEARRAY8 are passed over.
    fn string(&mut self, opcode: u8) -> Result<(), PickleError> {
        let length = match opcode {
            b'U' | b'C' | 0x8c => self.take::<1>()?[0].into(),
            b'X' | b'T' | b'B' => u32::from_le_bytes(self.take()?) as usize,
            _ => usize::try_from(u64::from_le_bytes(self.take()?)).map_err(|_| PickleError::Truncated)?,
        };
        let bytes = self.bytes(length)?;
        if matches!(opcode, b'B' | b'C' | 0x8e | 0x96) {
            self.stack.push(Value::Ignored);
        } else {
            let text = String::from_utf8_lossy(bytes).into_owned();
            self.push(Object::Text(text));
        }
        Ok(())
    }

    /// GLOBAL or STACK_GLOBAL: pushes a class or function of Python.
    fn global(&mut self, opcode: u8) -> Result<(), PickleError> {
        let global = if opcode == b'c' {
            let (module, name) = (self.line()?, self.line()?);
            Global::named(&module, &name)?
        } else {
            let names = self.last(2)?;
            Global::named(self.text(names[0])?, self.text(names[1])?)?
        };
        self.push(Object::Global(global));
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

    /// Replaces the tuple `("storage", kind, key, device, numbers)` by the storage it describes; that of a module, as
    /// PyTorch wrote them before 1.6, by its class.
    fn storage(&mut self) -> Result<(), PickleError> {
        let value = self.pop()?;
        let (kind, key, numbers, view) = match *self.tuple(value)? {
            [_, class, _, _] => {
                self.stack.push(class);
                return Ok(());
            }
            [_, kind, key, _, numbers] => (kind, key, numbers, Value::Ignored),
            [_, kind, key, _, numbers, view] => (kind, key, numbers, view),
            _ => return Err(PickleError::Operands),
        };
        let Some(Object::Global(Global::Storage(kind))) = self.object(kind) else { return Err(PickleError::Operands) };
        let key = Some(self.text(key)?).filter(|key| key.len() <= LONGEST_KEY).ok_or(PickleError::Operands)?;
        // Of a part of another storage: a key of its own, its first number and their count.
        let first = match view {
            Value::Object(_) => match *self.tuple(view)? {
                [_, first, _] => extent(first)?,
                _ => return Err(PickleError::Operands),
            },
            _ => 0,
        };
        let storage = Storage { key: key.into(), kind: kind.clone(), numbers: extent(numbers)?, first };
        self.push(Object::Storage(storage));
        Ok(())
    }

    /// What `callee` makes of the tuple `arguments`; nothing of Python runs.
    fn call(&mut self, callee: Value, arguments: Value) -> Result<Value, PickleError> {
        if let (Some(Object::Global(Global::Dict)), &[list, ..]) = (self.object(callee), self.tuple(arguments)?) {
            let entries = self.take_entries(list);
            self.push(Object::Dict(entries));
            return self.pop();
        }
        let global = match self.object(callee) {
            Some(Object::Global(global)) => global.clone(),
            Some(Object::Foreign(name)) => Global::Foreign(name.clone()),
            _ => return Err(PickleError::Operands),
        };
        let made = match (global, self.tuple(arguments)?) {
            (Global::Dict, _) => Object::Dict(Vec::new()),
            (Global::RebuildTensor, &[storage, offset, shape, strides, ref more @ ..]) => {
                Object::Tensor(self.view(storage, offset, [shape, strides], more.get(2))?)
            }
            (Global::RebuildTyped, &[storage, offset, shape, strides, _, _, dtype, ref more @ ..]) => {
                let mut view = self.view(storage, offset, [shape, strides], more.first())?;
                if let Some(Object::Global(Global::Foreign(dtype))) = self.object(dtype) {
                    view.storage.kind.clone_from(dtype);
                }
                Object::Tensor(view)
            }
            (Global::RebuildParameter, &[tensor, ..]) => return Ok(tensor),
            // Function, subclass of Tensor, and the function's arguments; never another of its kind.
            (Global::RebuildFromType, &[function, _, arguments, ..]) => match self.object(function) {
                Some(Object::Global(Global::RebuildFromType)) => return Err(PickleError::Operands),
                _ => return self.call(function, arguments),
            },
            (Global::Storage(kind), _) => Object::Foreign(kind),
            (Global::Foreign(name), _) => Object::Foreign(name),
            _ => return Err(PickleError::Operands),
        };
        self.push(made);
        self.pop()
    }

    /// Takes the pairs out of a list, of which Python 2 makes an ordered dict; of other values nothing.
    fn take_entries(&mut self, list: Value) -> Vec<(Value, Value)> {
        let Value::Object(number) = list else { return Vec::new() };
        let Some(Object::List(items)) = self.objects.get_mut(number) else { return Vec::new() };
        let items = std::mem::take(items);
        let pair = |item| match *self.items(item)? {
            [key, value] => Some((key, value)),
            _ => None,
        };
        items.into_iter().filter_map(pair).collect()
    }

    /// The view of `storage` from `offset` with `[shape, strides]`; `metadata` has the bits of lazy negation and
    /// conjugation, the second of which changes no real number.
    fn view(
        &self,
        storage: Value,
        offset: Value,
        [shape, strides]: [Value; 2],
        metadata: Option<&Value>,
    ) -> Result<StridedView, PickleError> {
        let Some(Object::Storage(storage)) = self.object(storage) else { return Err(PickleError::Operands) };
        let (shape, strides) = (self.tuple(shape)?, self.tuple(strides)?);
        if shape.len() != strides.len() || shape.len() > MOST_AXES {
            return Err(PickleError::Operands);
        }
        let offset = storage.first.checked_add(extent(offset)?).ok_or(PickleError::Operands)?;
        let negative = metadata.and_then(|&metadata| self.entry(metadata, "neg")) == Some(Value::Bool(true));
        Ok(StridedView {
            storage: storage.clone(),
            offset,
            shape: extents(shape)?,
            strides: extents(strides)?,
            negative,
        })
    }

    /// Sets entries, keys and values in turn, of the dict that they lay on.
    fn set(&mut self, entries: &[Value]) -> Result<(), PickleError> {
        let top = self.top()?;
        match top {
            Object::Foreign(_) => Ok(()),
            Object::Dict(dict) if entries.len().is_multiple_of(2) => {
                dict.extend(entries.chunks_exact(2).map(|entry| (entry[0], entry[1])));
                Ok(())
            }
            _ => Err(PickleError::Operands),
        }
    }

    /// Appends items to the list that they lay on.
    fn append(&mut self, items: &[Value]) -> Result<(), PickleError> {
        match self.top()? {
            Object::Foreign(_) => (),
            Object::List(list) => list.extend(items),
            _ => return Err(PickleError::Operands),
        }
        Ok(())
    }

    fn top(&mut self) -> Result<&mut Object, PickleError> {
        let Some(&Value::Object(number)) = self.stack.last() else { return Err(PickleError::Operands) };
        self.objects.get_mut(number).ok_or(PickleError::Operands)
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

    pub(super) fn object(&self, value: Value) -> Option<&Object> {
        match value {
            Value::Object(number) => self.objects.get(number),
            _ => None,
        }
    }

    /// Storages of all pickles that ran, in their order.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.objects
            .iter()
            .filter_map(|object| if let Object::Storage(storage) = object { Some(storage) } else { None })
    }

    /// The value of the entry `key` of a dict.
    pub(super) fn entry(&self, dict: Value, key: &str) -> Option<Value> {
        self.dict(dict)?.iter().find(|(other, _)| self.text(*other) == Ok(key)).map(|&(_, value)| value)
    }

    pub(super) fn dict(&self, value: Value) -> Option<&[(Value, Value)]> {
        match self.object(value) {
            Some(Object::Dict(entries)) => Some(entries),
            _ => None,
        }
    }

    /// Items of a list or a tuple.
    pub(super) fn items(&self, value: Value) -> Option<&[Value]> {
        match self.object(value) {
            Some(Object::List(items) | Object::Tuple(items)) => Some(items),
            _ => None,
        }
    }

    pub(super) fn text(&self, value: Value) -> Result<&str, PickleError> {
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

    fn bytes(&mut self, count: usize) -> Result<&'b [u8], PickleError> {
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
        let line = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }
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
