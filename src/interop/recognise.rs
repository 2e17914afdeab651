//! Tensors of a network under names that no convention has: behind prefixes and in dicts of others, as training scripts
//! save them, or by their order and shapes alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{CONVENTIONS, Convention, InteropError, Naming, WeightsFile, file_tensors};
use crate::net::{Model, Net};

/// Parts of names that wrappers of PyTorch put anywhere: `nn.DataParallel`, `torch.compile`.
const WRAPPERS: [&str; 2] = ["module", "_orig_mod"];

/// Prefixes of what is likeliest meant where several lead to a whole network, the likeliest first.
const USUAL: [&str; 8] = ["", "state_dict.", "model_state_dict.", "model.", "net.", "network.", "params.", "backbone."];

/// Most parts of a name that are tried as a prefix.
const DEEPEST: usize = 8;

/// Names of a network's tensors, each with the file's.
struct Match {
    names: Vec<(String, String)>,
    /// How many weights it has.
    weights: usize,
    prefix: String,
}

impl WeightsFile {
    /// Renames the tensors of `model` to the names of a convention, where the file has others. Gives words about that.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn recognise(&mut self, model: &Model) -> Result<Option<String>, InteropError> {
        let names = Names::new(self);
        let mut matches = names.by_prefix(model);
        let best = matches.iter().map(|found| found.weights).max().unwrap_or(0);
        matches.retain(|found| found.weights == best);
        matches.sort_by_key(|found| rank(&found.prefix));
        let by_order = if best < weights_of(model, &Naming::new(model, Convention::Caffe)).len() {
            names.by_order(model, self)
        } else {
            None
        };
        let words = match &by_order {
            Some(found) => Some(found.order_in_words()),
            None => matches.first().and_then(|found| found.prefix_in_words(&matches[1..])),
        };
        let Some(found) = by_order.or_else(|| matches.into_iter().next()) else { return Ok(None) };
        let mut renamed = Vec::new();
        for (name, from) in found.names {
            if let Some(reason) = self.unreadable.remove(&from) {
                return Err(InteropError::Unreadable { name: from, reason });
            }
            renamed.extend(self.tensors.remove(&from).map(|tensor| (name, tensor)));
        }
        self.tensors.extend(renamed);
        Ok(words)
    }
}

/// Names of the weights of `model` under a convention.
fn weights_of(model: &Model, naming: &Naming) -> BTreeSet<String> {
    let towers = || (0..model.towers).map(|tower| (model.towers > 1).then_some(tower));
    model.layers.iter().flat_map(|row| towers().map(|tower| naming.name(&row.name, tower, false))).collect()
}

/// The place of a prefix among others that lead to as many weights: averages of weights come last.
fn rank(prefix: &str) -> (bool, usize, usize) {
    let usual = USUAL.iter().position(|usual| *usual == prefix).unwrap_or(USUAL.len());
    (prefix.contains("ema"), usual, prefix.len())
}

/// Names of a file without the parts of [`WRAPPERS`], each with its number in the file's order and its whole name.
struct Names {
    by_name: BTreeMap<String, (usize, String)>,
    /// What names begin with, up to a dot; the empty text among them.
    prefixes: BTreeSet<String>,
}

impl Names {
    fn new(file: &WeightsFile) -> Self {
        let unordered = file.tensors.keys().filter(|_| file.order.is_empty());
        let (mut by_name, mut prefixes) = (BTreeMap::new(), BTreeSet::from([String::new()]));
        for (number, whole) in file.order.iter().chain(unordered).enumerate() {
            let parts: Vec<&str> = whole.split('.').filter(|part| !WRAPPERS.contains(part)).collect();
            let depth = parts.len().min(DEEPEST);
            prefixes.extend((1..depth).map(|count| parts[..count].join(".") + "."));
            by_name.entry(parts.join(".")).or_insert_with(|| (number, whole.clone()));
        }
        Self { by_name, prefixes }
    }

    /// What follows `prefix` in the names that begin with it, by name.
    fn under<'n>(&'n self, prefix: &'n str) -> impl Iterator<Item = (&'n str, &'n (usize, String))> {
        let range = self.by_name.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        range.map_while(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
    }

    /// Under each prefix the convention by which it has most weights of `model`.
    fn by_prefix(&self, model: &Model) -> Vec<Match> {
        let found = |prefix: &String| {
            let names: BTreeMap<String, &str> =
                self.under(prefix).map(|(name, (_, whole))| (name.to_owned(), whole.as_str())).collect();
            let hits =
                |naming: &Naming| weights_of(model, naming).iter().filter(|name| names.contains_key(*name)).count();
            let namings = CONVENTIONS.map(|convention| Naming::found(model, convention, &names));
            let (weights, naming) =
                namings.iter().map(|naming| (hits(naming), naming)).rev().max_by_key(|(hits, _)| *hits)?;
            if weights == 0 {
                return None;
            }
            let weight_names = weights_of(model, naming);
            let biases = weight_names.iter().filter_map(|name| Some(format!("{}bias", name.strip_suffix("weight")?)));
            let all: Vec<String> = weight_names.iter().cloned().chain(biases).collect();
            let names = all.into_iter().filter_map(|name| names.get(&name).map(|&whole| (name, whole.to_owned())));
            Some(Match { names: names.collect(), weights, prefix: prefix.clone() })
        };
        self.prefixes.iter().filter_map(found).collect()
    }

    /// All weights of `model`, in its order and with its shapes, under the likeliest prefix; the last layer may have
    /// other outputs. Where the order is another, each shape must be there once.
    fn by_order(&self, model: &Model, file: &WeightsFile) -> Option<Match> {
        let net = Net::new(model.clone()).ok()?;
        let wanted = file_tensors(&net, &Naming::new(model, Convention::Caffe)).ok()?;
        let wanted: Vec<_> = wanted.iter().filter(|whole| whole.name.ends_with(".weight")).collect();
        let last = wanted.len().checked_sub(1)?;
        let key = |at: usize, shape: &[usize]| if at == last { shape[1..].to_vec() } else { shape.to_vec() };
        let mut prefixes: Vec<&String> = self.prefixes.iter().collect();
        prefixes.sort_by_key(|prefix| rank(prefix));
        prefixes.into_iter().find_map(|prefix| {
            let weight = |(name, (number, whole)): (&str, &(usize, String))| {
                let shape = file.tensors.get(whole)?.shape().to_vec();
                (name.ends_with("weight") && matches!(shape.len(), 2 | 4)).then(|| (*number, whole.clone(), shape))
            };
            let mut found: Vec<_> = self.under(prefix).filter_map(weight).take(wanted.len() + 1).collect();
            if found.len() != wanted.len() {
                return None;
            }
            found.sort_unstable();
            let fits = |at: usize, (_, _, shape): &(usize, String, Vec<usize>)| {
                shape.len() == wanted[at].shape.len() && key(at, shape) == key(at, &wanted[at].shape)
            };
            let sorted = (0..wanted.len()).all(|at| fits(at, &found[at]));
            let mut names = Vec::new();
            for (at, whole) in wanted.iter().enumerate() {
                let mut fitting = found.iter().filter(|other| fits(at, other));
                let other = if sorted { &found[at] } else { fitting.next().filter(|_| fitting.next().is_none())? };
                names.push((whole.name.clone(), other.1.clone()));
                let bias = |name: &str| Some(format!("{}bias", name.strip_suffix("weight")?));
                if let (Some(ours), Some(theirs)) = (bias(&whole.name), bias(&other.1)) {
                    names.push((ours, theirs));
                }
            }
            let distinct: BTreeSet<&String> = names.iter().map(|(_, from)| from).collect();
            (distinct.len() == names.len()).then(|| Match {
                weights: wanted.len(),
                prefix: prefix.clone(),
                names: names.clone(),
            })
        })
    }
}

impl Match {
    /// Words where names had to be changed; `others` would have done as well.
    fn prefix_in_words(&self, others: &[Self]) -> Option<String> {
        let changed = self
            .names
            .iter()
            .find(|(name, from)| name != from)
            .map(|(name, from)| format!("{name} is {from} in the file, and so on"));
        let others: Vec<&str> =
            others.iter().map(|other| other.prefix.as_str()).filter(|prefix| !prefix.is_empty()).collect();
        let others = (!others.is_empty()).then(|| format!("not those under {}", others.join(", ")));
        let words: Vec<String> = changed.into_iter().chain(others).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn order_in_words(&self) -> String {
        let pairs = self.names.iter().filter_map(|(name, from)| {
            Some(format!("{} is {}", name.strip_suffix(".weight")?, from.strip_suffix("weight")?.trim_end_matches('.')))
        });
        format!("names differ, so layers were taken by order and shape: {}", pairs.collect::<Vec<_>>().join(", "))
    }
}
