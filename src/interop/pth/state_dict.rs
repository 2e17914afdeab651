//! Tensors in a pickled checkpoint, by the keys that lead to them: those of a state dict alone, or of dicts, lists and
//! tuples in one another, whose keys a dot separates.

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

/// Entries of checkpoints that hold networks, as dicts of tensors or as whole objects.
const WHOLE: [&str; 7] = ["model", "net", "network", "module", "ema", "model_ema", "state_dict"];

/// What entries of checkpoints begin with that hold tensors of the training, none of a network.
const OF_TRAINING: [&str; 4] = ["optim", "scheduler", "lr_sched", "scaler"];

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
    let mut search = Search { machine, visited: BTreeSet::new(), found: Found::default() };
    if let Some(Object::Foreign(class)) = machine.object(root) {
        return Err(PickleError::Whole { class: class.clone(), entry: String::new() });
    }
    if search.children(root).is_none() {
        return Err(PickleError::NoDict);
    }
    search.visit("", root, 0);
    let Found { tensors, foreign } = &search.found;
    if tensors.iter().any(|(name, _)| !OF_TRAINING.iter().any(|entry| name.starts_with(entry))) {
        return Ok(search.found);
    }
    // An entry of the dict itself, as torch.save({"model": model}, FILE) writes it.
    match foreign.iter().find(|(key, _)| WHOLE.contains(&key.as_str())) {
        Some((key, class)) => Err(PickleError::Whole { class: class.clone(), entry: format!("[{key:?}]") }),
        None if !tensors.is_empty() => Ok(search.found),
        None => Err(foreign.first().map_or(PickleError::NoTensors, |(_, class)| PickleError::Python(class.clone()))),
    }
}

struct Search<'m, 'b> {
    machine: &'m Machine<'b>,
    /// Objects that were searched: each is once, so that those that hold themselves end.
    visited: BTreeSet<usize>,
    found: Found,
}

impl Search<'_, '_> {
    /// Searches `value`, to which the keys in `path` lead.
    fn visit(&mut self, path: &str, value: Value, depth: usize) {
        let Value::Object(number) = value else { return };
        if depth > DEEPEST || path.len() > LONGEST_PATH || !self.visited.insert(number) {
            return;
        }
        for (key, value) in self.children(value).unwrap_or_default() {
            let name = if path.is_empty() { key } else { format!("{path}.{key}") };
            match self.machine.object(value) {
                Some(Object::Tensor(view)) => self.found.tensors.push((name, view.clone())),
                Some(Object::Foreign(class)) => self.found.foreign.push((name, class.clone())),
                _ => self.visit(&name, value, depth + 1),
            }
        }
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
