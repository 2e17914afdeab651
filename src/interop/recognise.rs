//! Tensors of a network under names that no convention has: behind prefixes and in dicts of others, as training scripts
//! save them, or by their order and shapes alone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::{CONVENTIONS, Convention, InteropError, MEAN, Naming, WeightsFile, file_tensors};
use crate::net::{Model, Net};
use crate::tensor::Tensor;

/// Parts of names that wrappers of PyTorch put anywhere: `nn.DataParallel`, `torch.compile`, FSDP, checkpointing.
const WRAPPERS: [&str; 4] = ["module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Ends of names in the place of `weight` where PyTorch computes a weight from other tensors, and the calls that leave
/// it alone.
const COMPUTED: [(&str, &str); 4] = [
    ("parametrizations.weight.", "torch.nn.utils.parametrize.remove_parametrizations(layer, \"weight\")"),
    ("weight_g", "torch.nn.utils.remove_weight_norm(layer)"),
    ("weight_orig", "torch.nn.utils.prune.remove(layer, \"weight\"), or remove_spectral_norm(layer)"),
    ("weight_u", "torch.nn.utils.remove_spectral_norm(layer)"),
];

/// Prefixes of what is likeliest meant where several lead to a whole network, the likeliest first.
const USUAL: [&str; 8] = ["", "state_dict.", "model_state_dict.", "model.", "net.", "network.", "params.", "backbone."];

/// What occurs in the prefixes of averages of weights, and of networks that teach another.
const AVERAGES: [&str; 5] = ["ema", "swa", "averag", "shadow", "teacher"];

/// Most parts of a name that are tried as a prefix.
const DEEPEST: usize = 8;

/// Names of a network's tensors, each with the file's.
struct Match {
    names: Vec<(String, String)>,
    /// Names of weights that are not there, behind the prefix.
    lacking: Vec<String>,
    /// How many weights it has.
    weights: usize,
    prefix: String,
}

impl WeightsFile {
    /// Renames the tensors of `model` to the names of a convention, where the file has others, and reads those that
    /// were not read yet. Of several sets of weights the likeliest is taken, or one whose names begin with `under`.
    /// Gives words about that.
    ///
    /// # Errors
    /// When one of them cannot be read, or none is under that name.
    pub fn recognise(&mut self, model: &Model, under: Option<&str>) -> Result<Option<String>, InteropError> {
        let names = Names::new(self, under);
        let mut matches = names.by_prefix(model);
        let best = matches.iter().map(|found| found.weights).max().unwrap_or(0);
        matches.retain(|found| found.weights == best);
        matches.sort_by_key(|found| (rank(&found.prefix), names.first(found)));
        let by_order = if best < weights_of(model, &Naming::new(model, Convention::Caffe)).len() {
            names.by_order(model, self)
        } else {
            Vec::new()
        };
        let in_order = !by_order.is_empty();
        let matches = if in_order { by_order } else { matches };
        let Some((found, others)) = matches.split_first() else {
            if let Some(under) = under {
                let found = Names::new(self, None).by_prefix(model).into_iter().map(|found| found.prefix);
                let found = found.filter(|prefix| !prefix.is_empty()).collect::<Vec<_>>().join(", ");
                return Err(InteropError::Under { under: under.into(), found });
            }
            self.read(|_| true);
            return Ok(None);
        };
        if let Some(error) = found.lacking.iter().find_map(|name| names.computed(name).or_else(|| self.made(name))) {
            return Err(error);
        }
        let words = if in_order { Some(found.order_in_words(others)) } else { found.prefix_in_words(others) };
        let mean = names.by_name.get(&format!("{}{MEAN}", found.prefix)).map(|(_, whole)| (MEAN.into(), whole.clone()));
        let mean = mean.filter(|_| !self.tensors.contains_key(MEAN));
        let wanted: BTreeMap<String, String> =
            found.names.iter().cloned().chain(mean).map(|(name, from)| (from, name)).collect();
        self.read(|name| wanted.contains_key(name));
        let mut renamed = Vec::new();
        for (from, name) in wanted {
            if let Some(reason) = self.unreadable.remove(&from) {
                return Err(InteropError::Unreadable { name: from, reason });
            }
            renamed.extend(self.tensors.remove(&from).map(|tensor| (name, tensor)));
        }
        self.tensors.extend(renamed);
        Ok(words)
    }

    /// Reads those of the further tensors whose names are `wanted`; the others are named as unread.
    fn read(&mut self, wanted: impl Fn(&str) -> bool) {
        let Some(dict) = &mut self.unread else { return };
        self.tensors.extend(dict.read(wanted));
        self.unreadable.extend(std::mem::take(&mut dict.unreadable).into_iter().map(|(name, why)| (name, why.into())));
    }

    /// The error about a tensor that only Python code could make, such as a sparse one.
    fn made(&self, name: &str) -> Option<InteropError> {
        let (whole, class) = self.foreign.iter().find_map(|object| {
            let (key, class) = object.strip_suffix(')')?.split_once(" (")?;
            (unwrapped(key).join(".") == name).then_some((key, class))
        })?;
        Some(InteropError::Made { name: whole.into(), class: class.into() })
    }

    /// Shape of a tensor that was read or can be.
    fn shape(&self, name: &str) -> Option<&[usize]> {
        let unread = || self.unread.as_ref()?.shapes.get(name).map(Vec::as_slice);
        self.tensors.get(name).map(Tensor::shape).or_else(unread)
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
    (AVERAGES.iter().any(|average| prefix.contains(average)), usual, prefix.len())
}

/// The parts of a name without those of [`WRAPPERS`].
fn unwrapped(name: &str) -> Vec<&str> {
    name.split('.').filter(|part| !WRAPPERS.contains(part)).collect()
}

/// Names of a file without the parts of [`WRAPPERS`], each with its number in the file's order and its whole name.
struct Names {
    by_name: BTreeMap<String, (usize, String)>,
    /// What names begin with, up to a dot; the empty text among them.
    prefixes: BTreeSet<String>,
}

impl Names {
    /// The names of `file`, whose prefixes begin with `under`.
    fn new(file: &WeightsFile, under: Option<&str>) -> Self {
        let unordered = file.tensors.keys().filter(|_| file.order.is_empty());
        let (mut by_name, mut prefixes) = (BTreeMap::new(), BTreeSet::from([String::new()]));
        for (number, whole) in file.order.iter().chain(unordered).enumerate() {
            let parts = unwrapped(whole);
            let depth = parts.len().min(DEEPEST);
            prefixes.extend((1..depth).map(|count| parts[..count].join(".") + "."));
            by_name.entry(parts.join(".")).or_insert_with(|| (number, whole.clone()));
        }
        if let Some(under) = under {
            let under: String = unwrapped(under.trim_end_matches('.')).iter().flat_map(|part| [*part, "."]).collect();
            prefixes.retain(|prefix| prefix.starts_with(&under));
        }
        Self { by_name, prefixes }
    }

    /// What follows `prefix` in the names that begin with it, by name.
    fn under<'n>(&'n self, prefix: &'n str) -> impl Iterator<Item = (&'n str, &'n (usize, String))> {
        let range = self.by_name.range::<str, _>((Bound::Included(prefix), Bound::Unbounded));
        range.map_while(move |(name, value)| Some((name.strip_prefix(prefix)?, value)))
    }

    /// Place in the file of the first tensor of a match.
    fn first(&self, found: &Match) -> Option<usize> {
        self.under(&found.prefix).map(|(_, (number, _))| *number).min()
    }

    /// The error about a weight that PyTorch computes from other tensors.
    fn computed(&self, name: &str) -> Option<InteropError> {
        let stem = name.strip_suffix("weight")?;
        COMPUTED.iter().find_map(|(end, remove)| {
            let begin = format!("{stem}{end}");
            let from = self.under(&begin).next()?.1.1.clone();
            Some(InteropError::Computed { name: name.into(), from, remove })
        })
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
            let lacking = weight_names.iter().filter(|name| !names.contains_key(*name));
            let lacking = lacking.map(|name| format!("{prefix}{name}")).collect();
            let biases = weight_names.iter().filter_map(|name| Some(format!("{}bias", name.strip_suffix("weight")?)));
            let all: Vec<String> = weight_names.iter().cloned().chain(biases).collect();
            let names = all.into_iter().filter_map(|name| names.get(&name).map(|&whole| (name, whole.to_owned())));
            Some(Match { names: names.collect(), lacking, weights, prefix: prefix.clone() })
        };
        self.prefixes.iter().filter_map(found).collect()
    }

    /// All weights of `model`, in its order and with its shapes, under the likeliest prefixes; the last layer may have
    /// other outputs. Where the order is another, each shape must be there once.
    fn by_order(&self, model: &Model, file: &WeightsFile) -> Vec<Match> {
        let Ok(net) = Net::new(model.clone()) else { return Vec::new() };
        let wanted = file_tensors(&net, &Naming::new(model, Convention::Caffe)).unwrap_or_default();
        let wanted: Vec<_> = wanted.iter().filter(|whole| whole.name.ends_with(".weight")).collect();
        let Some(last) = wanted.len().checked_sub(1) else { return Vec::new() };
        let key = |at: usize, shape: &[usize]| if at == last { shape[1..].to_vec() } else { shape.to_vec() };
        let mut prefixes: Vec<&String> = self.prefixes.iter().collect();
        prefixes.sort_by_key(|prefix| rank(prefix));
        let found = |prefix: &String| {
            let named = self.under(prefix).any(|(name, _)| name.ends_with("weight"));
            let weight = |(name, (number, whole)): (&str, &(usize, String))| {
                let shape = file.shape(whole)?.to_vec();
                let is_weight = (name.ends_with("weight") || !named) && matches!(shape.len(), 2 | 4);
                is_weight.then(|| (*number, whole.clone(), shape))
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
            let bias = |name: &str| Some(format!("{}bias", name.strip_suffix("weight")?));
            let mut names = Vec::new();
            for (at, whole) in wanted.iter().enumerate() {
                let mut fitting = found.iter().filter(|other| fits(at, other));
                let other = if sorted { &found[at] } else { fitting.next().filter(|_| fitting.next().is_none())? };
                names.push((whole.name.clone(), other.1.clone()));
                // Without names a bias is what follows its weights.
                let theirs = if named { bias(&other.1) } else { file.order.get(other.0 + 1).cloned() };
                if let (Some(ours), Some(theirs)) = (bias(&whole.name), theirs) {
                    names.push((ours, theirs));
                }
            }
            let distinct: BTreeSet<&String> = names.iter().map(|(_, from)| from).collect();
            let (weights, prefix) = (wanted.len(), prefix.clone());
            (distinct.len() == names.len()).then(|| Match {
                names: names.clone(),
                lacking: Vec::new(),
                weights,
                prefix,
            })
        };
        let mut matches: Vec<Match> = prefixes.into_iter().filter_map(found).collect();
        // A longer prefix of the same tensors says nothing new.
        let mut taken = BTreeSet::new();
        matches.retain(|found| taken.insert(found.names[0].1.clone()));
        matches
    }
}

impl Match {
    /// Words where names had to be changed; `others` would have done as well.
    fn prefix_in_words(&self, others: &[Self]) -> Option<String> {
        // The one that is changed most: some wrappers stand before a part of the layers alone.
        let by = |(name, from): &&(String, String)| Reverse(from.len().saturating_sub(name.len()));
        let changed = self.names.iter().min_by_key(by).filter(|(name, from)| name != from);
        let changed = changed.map(|(name, from)| format!("{name} is {from} in the file, and so on"));
        let words: Vec<String> = changed.into_iter().chain(not_taken(others)).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    fn order_in_words(&self, others: &[Self]) -> String {
        let pairs = self.names.iter().filter_map(|(name, from)| {
            let from = from.strip_suffix("weight").map_or(from.as_str(), |from| from.trim_end_matches('.'));
            Some(format!("{} is {from}", name.strip_suffix(".weight")?))
        });
        let pairs = pairs.collect::<Vec<_>>().join(", ");
        let words = format!("names differ, so layers were taken by order and shape: {pairs}");
        [words].into_iter().chain(not_taken(others)).collect::<Vec<_>>().join("; ")
    }
}

/// Words about sets of weights that would have done as well.
fn not_taken(others: &[Match]) -> Option<String> {
    let prefixes = others.iter().map(|other| other.prefix.as_str()).filter(|prefix| !prefix.is_empty());
    let prefixes = prefixes.collect::<Vec<_>>().join(", ");
    (!prefixes.is_empty()).then(|| format!("not those under {prefixes} (import --under takes them)"))
}
