//! Names of a network's tensors in files.

use std::collections::BTreeMap;

use crate::net::{Model, named};
use crate::ops::{conv, fc};
use crate::program::{Tower, letter};

/// A convention for the names of tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Convention {
    /// Numbers, as `nn.Sequential` counts layers, neurons, pools and dropouts: `features.0.weight` is the first
    /// convolution, `classifier.1.weight` a fully connected layer with a dropout before it.
    Torchvision,
    /// The rows of the model file: `conv1.weight`.
    Caffe,
    /// The rows, one tensor for each tower's filters: `conv1.a.weight`.
    Tower,
}

named! {
    Convention:
    Torchvision "torchvision" "features.0.weight, classifier.1.weight: by the places of layers in a sequence",
    Caffe "caffe" "conv1.weight, fc6.weight: by the model's rows",
    Tower "tower" "conv1.a.weight, fc6.b.weight: by rows, each tower's filters by themselves"
}

/// A convention, applied to one network.
#[derive(Clone, Debug)]
pub struct Naming {
    names: Convention,
    /// Text before `.weight`, by row.
    prefixes: BTreeMap<String, String>,
}

const CONVOLUTIONS: &str = "features.";
const FULL: &str = "classifier.";

impl Naming {
    /// The names that `model` is written with.
    pub fn new(model: &Model, names: Convention) -> Self {
        let by_row = || model.layers.iter().map(|row| (row.name.clone(), row.name.clone())).collect();
        let prefixes = if names == Convention::Torchvision { counted(model) } else { by_row() };
        Self { names, prefixes }
    }

    /// The names that `tensors` have: where they number as many layers of a kind as the network has, these are its
    /// layers in their order, whatever else was counted between them.
    pub fn found<T>(model: &Model, names: Convention, tensors: &BTreeMap<String, T>) -> Self {
        let mut naming = Self::new(model, names);
        if names != Convention::Torchvision {
            return naming;
        }
        for (stem, convolves) in [(CONVOLUTIONS, true), (FULL, false)] {
            let rows: Vec<_> = model.layers.iter().filter(|row| (*row.head.kind == conv::KIND) == convolves).collect();
            let numbers = numbers(tensors, stem);
            if numbers.len() == rows.len() {
                let named = rows.into_iter().zip(numbers);
                naming.prefixes.extend(named.map(|(row, number)| (row.name.clone(), format!("{stem}{number}"))));
            }
        }
        naming
    }

    /// Whether each tower's filters are a tensor of their own.
    pub fn apart(&self) -> bool {
        self.names == Convention::Tower
    }

    /// The name of a tensor of a row; `tower` is `None` in a network of one.
    pub fn name(&self, row: &str, tower: Option<Tower>, bias: bool) -> String {
        let prefix = self.prefixes.get(row).map_or(row, String::as_str);
        let tower = tower.filter(|_| self.apart()).map_or(String::new(), |tower| format!(".{}", letter(tower)));
        format!("{prefix}{tower}.{}", if bias { "bias" } else { "weight" })
    }
}

/// The numbers of all `STEM<number>.weight`, ascending.
fn numbers<T>(tensors: &BTreeMap<String, T>, stem: &str) -> Vec<u32> {
    let number = |name: &String| name.strip_prefix(stem)?.strip_suffix(".weight")?.parse().ok();
    let mut numbers: Vec<u32> = tensors.keys().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// The rows of `model` by the places of their layers: convolutions and what follows them are `features`, the others
/// `classifier`, which begins with a dropout that stands before its first layer.
fn counted(model: &Model) -> BTreeMap<String, String> {
    let (mut features, mut classifier) = (0, 0);
    let mut prefixes = BTreeMap::new();
    for (index, row) in model.layers.iter().enumerate() {
        let before_full = model.layers.get(index + 1).is_some_and(|next| *next.head.kind == fc::KIND);
        let convolves = *row.head.kind == conv::KIND;
        let (stem, count) = if convolves { (CONVOLUTIONS, &mut features) } else { (FULL, &mut classifier) };
        prefixes.insert(row.name.clone(), format!("{stem}{count}"));
        *count += 1;
        for stage in &row.then {
            match stage {
                stage if stage.is_loss() => (),
                stage if stage.is_dropout() && before_full => classifier += 1,
                _ if convolves => features += 1,
                _ => classifier += 1,
            }
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::Tensor;

    fn named(naming: &Naming, model: &Model) -> Vec<String> {
        model.layers.iter().map(|row| naming.name(&row.name, Some(1), false)).collect()
    }

    #[test]
    fn torchvision_counts_its_layers() {
        let model = Model::open("torchvision").unwrap();
        let published = ["features.0", "features.3", "features.6", "features.8", "features.10"]
            .into_iter()
            .chain(["classifier.1", "classifier.4", "classifier.6"])
            .map(|prefix| format!("{prefix}.weight"));
        assert_eq!(named(&Naming::new(&model, Convention::Torchvision), &model), published.collect::<Vec<_>>());
    }

    #[test]
    fn rows_keep_their_names() {
        let model = Model::open("mini").unwrap();
        assert_eq!(named(&Naming::new(&model, Convention::Caffe), &model)[..2], ["conv1.weight", "conv2.weight"]);
        assert_eq!(named(&Naming::new(&model, Convention::Tower), &model)[..2], ["conv1.b.weight", "conv2.b.weight"]);
    }

    /// Sequences without normalisation, or with a flattening, count otherwise.
    #[test]
    fn other_numbers_in_the_same_order_will_do() {
        let model = Model::open("mini").unwrap();
        let numbered = ["features.0", "features.2", "features.10", "features.4", "features.6", "classifier.6"];
        let tensors = numbered.map(|prefix| (format!("{prefix}.weight"), Tensor::new([0], Vec::new()))).into();
        let got = named(&Naming::found(&model, Convention::Torchvision, &tensors), &model);
        let convolutions = [0, 2, 4, 6, 10].map(|number| format!("features.{number}.weight"));
        assert_eq!(got[..5], convolutions);
        // One of three: it stands for the layer of this number.
        assert_eq!(got[5..], ["classifier.0.weight", "classifier.3.weight", "classifier.6.weight"]);
    }
}
