//! Weights under the names and in the layout of other programs: whole layers instead of one tower's share, filters
//! outermost (`[K][C][R][S]`, `[outputs][inputs]`) instead of innermost.
//!
//! A layer's tensors are called `conv1.weight` and `conv1.bias` by our names of rows, or as torchvision numbers them:
//! `features.0.weight` is the first convolution, `classifier.1.weight` the first fully connected layer. A layer whose
//! towers see only their own maps is a grouped one, whose filters have the maps of one group; one that sees both has
//! the maps of all towers in their order.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::net::{Lowered, Net, Setup, Trained, lower};
use crate::program::Slot;
use crate::tensor::Tensor;

/// A tensor that was asked for does not fit.
#[derive(Debug, Error)]
#[error("tensor {name} has shape {found:?}, layer {row} of this network needs {wanted:?}")]
pub struct InteropError {
    name: String,
    row: String,
    found: Vec<usize>,
    wanted: Vec<usize>,
}

/// Brings the tensors of a file to the names and the layout of `net`'s own checkpoints. What is that already, or stands
/// for no layer, stays as it is; a layer of another shape is left out unless it is one of `rows`.
///
/// # Errors
/// When a layer of `rows` has another shape.
pub fn adopt(
    net: &Net,
    mut tensors: BTreeMap<String, Tensor>,
    rows: &BTreeSet<String>,
) -> Result<BTreeMap<String, Tensor>, InteropError> {
    let lowered = lower(net, &Setup::evaluation(1));
    let names = names(net, &tensors);
    let mut adopted = BTreeMap::new();
    for trained in &lowered.trained {
        let row = net.nodes[trained.node].row();
        let Some(prefix) = names.get(row) else { continue };
        let name = format!("{prefix}.{}", if trained.bias { "bias" } else { "weight" });
        let Some(tensor) = tensors.get(&name) else { continue };
        let share = Share::new(net, &lowered, trained);
        if tensor.shape() == share.whole_shape() {
            adopted.insert(trained.name.clone(), share.cut(tensor));
        } else if rows.contains(row) {
            let (row, found, wanted) = (row.to_owned(), tensor.shape().to_vec(), share.whole_shape());
            return Err(InteropError { name, row, found, wanted });
        }
    }
    tensors.extend(adopted);
    Ok(tensors)
}

/// How a file calls the rows of `net`: the part of a name before `.weight`.
fn names(net: &Net, tensors: &BTreeMap<String, Tensor>) -> BTreeMap<String, String> {
    let prefixes = || tensors.keys().filter_map(|name| name.strip_suffix(".weight"));
    // By number, which is not the order of the text.
    let numbered = |stem: &str| -> Vec<String> {
        let number = |prefix: &str| prefix.strip_prefix(stem)?.parse::<u32>().ok();
        let found: BTreeMap<u32, String> =
            prefixes().filter_map(|prefix| Some((number(prefix)?, prefix.to_owned()))).collect();
        found.into_values().collect()
    };
    let rows = |conv: bool| net.model.layers.iter().filter(move |row| row.conv.is_some() == conv);
    let by_number = [(true, "features."), (false, "classifier.")]
        .into_iter()
        .flat_map(|(conv, stem)| rows(conv).map(|row| row.name.clone()).zip(numbered(stem)));
    let by_name = net.model.layers.iter().map(|row| &row.name).filter(|row| prefixes().any(|prefix| prefix == *row));
    let by_name: Vec<_> = by_name.map(|row| (row.clone(), row.clone())).collect();
    by_number.chain(by_name).collect()
}

/// One tensor of one tower as a part of its layer.
struct Share {
    /// Extents of the layer in a file: filters, maps that each of them sees, and the window, of one number or two.
    filters: usize,
    maps: usize,
    window: Vec<usize>,
    bias: bool,
    /// The part of it: filters and maps, as ranges of (start, count).
    own_filters: (usize, usize),
    own_maps: (usize, usize),
    shape: Vec<usize>,
}

impl Share {
    fn new(net: &Net, lowered: &Lowered, trained: &Trained) -> Self {
        let node = &net.nodes[trained.node];
        let shape = shape(lowered, trained.value);
        let shared = net.towers_of(node).len() > 1;
        let (parts, part) = if shared { (net.model.towers, trained.tower) } else { (1, 0) };
        let own = node.y.maps;
        let seen: usize = node.x.iter().map(|maps| maps.maps).sum();
        // Of a fully connected layer the window is the whole map, and part of the inputs.
        let conv = shape.len() == 4;
        let pixels = if conv || trained.bias { 1 } else { node.x[0].pixels() };
        let first = if node.x.len() > 1 { trained.reads } else { 0 };
        let each = seen / node.x.len();
        Self {
            filters: parts * own,
            maps: seen * pixels,
            window: if conv { shape[1..3].to_vec() } else { Vec::new() },
            bias: trained.bias,
            own_filters: (part * own, own),
            own_maps: (first * each * pixels, each * pixels),
            shape,
        }
    }

    /// Its layer's shape in a file.
    fn whole_shape(&self) -> Vec<usize> {
        if self.bias { vec![self.filters] } else { [&[self.filters, self.maps], &self.window[..]].concat() }
    }

    /// Its part of the layer's tensor, filters innermost.
    fn cut(&self, whole: &Tensor) -> Tensor {
        let (first, count) = self.own_filters;
        let values = if self.bias {
            whole.values()[first..first + count].to_vec()
        } else {
            let window: usize = self.window.iter().product();
            let (first_map, maps) = self.own_maps;
            let from = |filter: usize| &whole.values()[(filter * self.maps + first_map) * window..][..maps * window];
            let rows: Vec<&[f32]> = (first..first + count).map(from).collect();
            (0..maps * window).flat_map(|i| rows.iter().map(move |row| row[i])).collect()
        };
        Tensor::new(self.shape.clone(), values)
    }
}

fn shape(lowered: &Lowered, slot: Slot) -> Vec<usize> {
    lowered.program.slot(slot).shape.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Model;

    fn net(name: &str) -> Net {
        Net::new(Model::open(name).unwrap()).unwrap()
    }

    /// A tensor that counts up.
    fn counting(shape: &[usize]) -> Tensor {
        Tensor::new(shape, (0..shape.iter().product::<usize>()).map(|i| i as f32).collect())
    }

    fn file(tensors: &[(&str, &[usize])]) -> BTreeMap<String, Tensor> {
        tensors.iter().map(|(name, shape)| ((*name).to_owned(), counting(shape))).collect()
    }

    #[test]
    fn a_layer_is_cut_into_the_towers_parts() {
        let net = net("mini");
        let whole = file(&[
            ("conv2.weight", &[32, 8, 5, 5]),
            ("conv2.bias", &[32]),
            ("conv3.weight", &[48, 32, 3, 3]),
            ("fc6.weight", &[128, 32 * 4 * 4]),
            ("fc8.weight", &[10, 128]),
        ]);
        let got = adopt(&net, whole.clone(), &BTreeSet::new()).unwrap();
        let at = |name: &str, index: &[usize]| {
            let tensor = &got[name];
            let flat = index.iter().zip(tensor.shape()).fold(0, |flat, (&i, &extent)| flat * extent + i);
            tensor.values()[flat] as usize
        };
        let (c, r, s, k) = (3, 1, 4, 5);
        // Grouped: tower B's filters follow tower A's, over the maps of their own tower.
        assert_eq!(at("conv2.b.weights", &[c, r, s, k]), (((16 + k) * 8 + c) * 5 + r) * 5 + s);
        assert_eq!(at("conv2.b.bias", &[k]), 16 + k);
        // Over both towers' maps, in their order.
        let s = 2;
        assert_eq!(at("conv3.b.weights.a", &[c, r, s, k]), (((24 + k) * 32 + c) * 3 + r) * 3 + s);
        assert_eq!(at("conv3.b.weights.b", &[c, r, s, k]), (((24 + k) * 32 + 16 + c) * 3 + r) * 3 + s);
        let pixels = net.nodes.iter().find(|node| node.name == "fc6").unwrap().x[0].pixels();
        assert_eq!(pixels, 9, "the file above has maps of 16 pixels, and is passed over");
        assert!(!got.contains_key("fc6.a.weights.a"));
        // All on tower A.
        assert_eq!(at("fc8.a.weights.b", &[7, 9]), 9 * 128 + 64 + 7);
        let wanted = adopt(&net, whole, &["fc6".to_owned()].into()).unwrap_err().to_string();
        assert_eq!(wanted, "tensor fc6.weight has shape [128, 512], layer fc6 of this network needs [128, 288]");
    }

    #[test]
    fn torchvision_counts_its_layers() {
        let whole = file(&[
            ("features.0.weight", &[64, 3, 11, 11]),
            ("features.3.weight", &[192, 64, 5, 5]),
            ("features.10.weight", &[256, 256, 3, 3]),
            ("features.6.weight", &[384, 192, 3, 3]),
            ("features.8.weight", &[256, 384, 3, 3]),
            ("features.8.bias", &[256]),
            ("classifier.6.weight", &[1000, 8]),
            ("lpips.lin0.weight", &[64]),
        ]);
        let net = net("torchvision");
        let names = names(&net, &whole);
        let of = |row: &str| names.get(row).map(String::as_str);
        let rows = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"].map(of);
        let features = [0, 3, 6, 8, 10].map(|i| format!("features.{i}"));
        assert_eq!(rows[..5], features.each_ref().map(|name| Some(name.as_str())));
        assert_eq!(rows[5..], [Some("classifier.6"), None]);
        let got = adopt(&net, whole.clone(), &BTreeSet::new()).unwrap();
        let ours: Vec<&String> = got.keys().filter(|name| !whole.contains_key(*name)).collect();
        assert_eq!(ours.len(), 6, "{ours:?}");
        assert_eq!(got["conv4.weights"].shape(), [384, 3, 3, 256]);
    }

    #[test]
    fn our_own_tensors_stay_as_they_are() {
        let tensors = file(&[("conv1.a.weights", &[3, 5, 5, 8]), ("mean", &[2])]);
        assert_eq!(adopt(&net("mini"), tensors.clone(), &BTreeSet::new()).unwrap(), tensors);
    }
}
