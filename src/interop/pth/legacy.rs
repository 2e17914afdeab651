//! The format of `torch.save` before PyTorch 1.6, which later ones write on request: pickles of a magic number, a
//! version, facts of the machine, the object, and the keys of its storages; then these, each a count of 8 bytes and the
//! numbers.

use std::collections::BTreeMap;
use std::ops::Range;

use super::error::{EntryError, PickleError};
use super::objects::{Storage, Value, number_bytes};
use super::pickle::Machine;
use super::{OLD_MAGIC, PthError, StateDict, state_dict};

/// Reads the tensors of a file that begins with [`OLD_MAGIC`].
pub(super) fn parse<'s>(file: impl AsRef<[u8]> + 's) -> Result<StateDict<'s>, PthError> {
    let bytes = file.as_ref();
    let mut machine = Machine::new(&bytes[OLD_MAGIC.len()..]);
    machine.run()?; // the version
    let facts = machine.run()?;
    if machine.entry(facts, "little_endian") == Some(Value::Bool(false)) {
        return Err(PthError::BigEndian);
    }
    let root = machine.run()?;
    let found = state_dict::find(&machine, root)?;
    let storages: BTreeMap<String, Storage> =
        machine.storages().map(|storage| (storage.key.clone(), storage.clone())).collect();
    let keys = machine.run()?;
    let mut parts: BTreeMap<String, Range<usize>> = BTreeMap::new();
    let mut rest = machine.rest;
    for &key in machine.items(keys).ok_or(PickleError::Operands)? {
        let key = machine.text(key)?;
        let storage = storages.get(key).ok_or(PickleError::Operands)?;
        let size = number_bytes(&storage.kind).ok_or_else(|| PthError::Storage(storage.kind.clone()))?;
        let (count, behind) = rest.split_first_chunk().ok_or(PickleError::Truncated)?;
        let length = usize::try_from(u64::from_le_bytes(*count)).ok().and_then(|count| count.checked_mul(size));
        let split = length.and_then(|length| behind.split_at_checked(length)).ok_or(PickleError::Truncated)?;
        let begin = bytes.len() - behind.len();
        parts.insert(key.to_owned(), begin..begin + split.0.len());
        rest = split.1;
    }
    let missing = |key: &str| PthError::Entry { name: key.into(), reason: EntryError::NotListed };
    let length = bytes.len();
    let storage =
        move |key: &str| parts.get(key).map(|part| file.as_ref()[part.clone()].to_vec()).ok_or_else(|| missing(key));
    StateDict::new(found, length, Box::new(storage))
}
