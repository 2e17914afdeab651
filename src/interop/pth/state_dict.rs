//! Tensors in a pickled checkpoint, by the keys that lead to them: those of a state dict alone, of the entry
//! `state_dict` of another dict, or of dicts, lists and tuples in one another, whose keys a dot separates.

use std::collections::BTreeSet;

use super::error::PickleError;
use super::objects::{Object, StridedView, Value};
use super::pickle::Machine;

/// Most dicts in one another that are searched.
const DEEPEST: usize = 12;

/// Most bytes of the keys that lead to a dict; one with longer ones is passed over.
const LONGEST_PATH: usize = 512;

/// Most bytes of a key, which a pickle can repeat; entries with longer ones are passed over.
const LONGEST_KEY: usize = 256;

/// Tensors and what else was found beside them.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Found {
    /// Names and views, in the file's order.
    pub tensors: Vec<(String, StridedView)>,
    /// Keys and classes of what only Python code could make.
    pub foreign: Vec<(String, String)>,
}

/// Finds the tensors of the pickle in `bytes`.
#[cfg(test)]
pub(super) fn state_dict(bytes: &[u8]) -> Result<Found, PickleError> {
    let mut machine = Machine::new(bytes);
    let root = machine.run()?;
    find(&machine, root)
}

/// Finds the tensors in what a pickle made.
pub(super) fn find(machine: &Machine, root: Value) -> Result<Found, PickleError> {
    let mut search = Search { machine, visited: BTreeSet::new(), names: BTreeSet::new(), found: Found::default() };
    if let Some(Object::Foreign(class)) = machine.object(root) {
        return Err(PickleError::Whole { class: class.clone(), entry: String::new() });
    }
    let inner = machine.entry(root, "state_dict").filter(|&inner| machine.dict(inner).is_some());
    if search.children(inner.unwrap_or(root)).is_none() {
        return Err(PickleError::NoDict);
    }
    search.visit("", inner.unwrap_or(root), 0)?;
    let Found { tensors, foreign } = &search.found;
    match foreign.first() {
        _ if !tensors.is_empty() => Ok(search.found),
        // An entry of the dict itself, as torch.save({"model": model}, FILE) writes it.
        Some((key, class)) if ["model", "net", "module"].contains(&key.as_str()) => {
            Err(PickleError::Whole { class: class.clone(), entry: format!("[{key:?}]") })
        }
        Some((_, class)) => Err(PickleError::Python(class.clone())),
        None => Err(PickleError::NoTensors),
    }
}

struct Search<'m, 'b> {
    machine: &'m Machine<'b>,
    /// Objects that were searched: each is once, so that those that hold themselves end.
    visited: BTreeSet<usize>,
    names: BTreeSet<String>,
    found: Found,
}

impl Search<'_, '_> {
    /// Searches `value`, to which the keys in `path` lead.
    fn visit(&mut self, path: &str, value: Value, depth: usize) -> Result<(), PickleError> {
        let Value::Object(number) = value else { return Ok(()) };
        if depth > DEEPEST || path.len() > LONGEST_PATH || !self.visited.insert(number) {
            return Ok(());
        }
        for (key, value) in self.children(value).unwrap_or_default() {
            let name = if path.is_empty() { key } else { format!("{path}.{key}") };
            match self.machine.object(value) {
                Some(Object::Tensor(view)) if self.names.insert(name.clone()) => {
                    self.found.tensors.push((name, view.clone()));
                }
                Some(Object::Tensor(_)) => return Err(PickleError::Duplicate(name)),
                Some(Object::Foreign(class)) => self.found.foreign.push((name, class.clone())),
                _ => self.visit(&name, value, depth + 1)?,
            }
        }
        Ok(())
    }

    /// Keys and values of a dict, or numbers and items of a list or tuple.
    fn children(&self, value: Value) -> Option<Vec<(String, Value)>> {
        if let Some(entries) = self.machine.dict(value) {
            return Some(entries.iter().filter_map(|&(key, value)| Some((self.key(key)?, value))).collect());
        }
        let items = self.machine.items(value)?;
        Some(items.iter().enumerate().map(|(number, &item)| (number.to_string(), item)).collect())
    }

    /// A key as text; `None` of any but short texts and numbers.
    fn key(&self, key: Value) -> Option<String> {
        match key {
            Value::Int(number) => Some(number.to_string()),
            key => self.machine.text(key).ok().filter(|key| key.len() <= LONGEST_KEY).map(str::to_owned),
        }
    }
}
