//! Places of a network's tensors in the tensors of a file.

use std::collections::BTreeMap;

use super::{InteropError, Naming};
use crate::net::{Job, Net, NetProgram, Trained, lower};
use crate::ops::kind::Scaling;
use crate::tensor::Tensor;

/// A tensor of a file, whose parts are tensors of the network.
#[derive(Clone, Debug, PartialEq)]
pub struct FileTensor {
    /// Name in the file.
    pub name: String,
    /// Name of the row of the network.
    pub row: String,
    /// `[filters][channels][R][S]`, `[outputs][inputs]` or, of a bias, `[filters]`.
    pub shape: Vec<usize>,
    /// Tensors of the network that it consists of.
    pub parts: Vec<TensorPart>,
    /// Maps of one filter, and elements of one map's window; 1 and 1 of a bias.
    maps: usize,
    window: usize,
    /// Factor from the network's values to the file's: the share that a dropout before the layer keeps.
    kept: f32,
}

/// A tensor of the network as a part of one in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorPart {
    /// Name in the network.
    pub name: String,
    /// Shape in the network, the filters of a group innermost.
    pub shape: Vec<usize>,
    /// First filter in the file's tensor, and count of filters.
    filters: (usize, usize),
    /// First map of a filter in the file's tensor, and count of maps.
    maps: (usize, usize),
    /// Groups that filters and maps lie in; 1 of a bias.
    groups: usize,
}

/// Quantity that a tensor holds, which decides how a dropout's share scales it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Weights, or increments of them.
    Weights,
    /// Derivatives by the weights.
    Gradients,
}

/// All tensors of a file with the weights of `net`, in the order of the network.
pub fn file_tensors(net: &Net, naming: &Naming) -> Result<Vec<FileTensor>, InteropError> {
    let lowered = lower(net, &Job::evaluation(1));
    let mut file_tensors: Vec<FileTensor> = Vec::new();
    for trained in &lowered.trained {
        let (whole, part) = place(net, &lowered, naming, trained)?;
        match file_tensors.iter_mut().find(|other| other.name == whole.name) {
            Some(other) => other.parts.push(part),
            None => file_tensors.push(FileTensor { parts: vec![part], ..whole }),
        }
    }
    Ok(file_tensors)
}

/// The file's tensor that `trained` is part of, still without parts, and that part.
fn place(
    net: &Net,
    lowered: &NetProgram,
    naming: &Naming,
    trained: &Trained,
) -> Result<(FileTensor, TensorPart), InteropError> {
    let node = &net.nodes[trained.node];
    let row = node.row().to_owned();
    let shape = lowered.program.slot(trained.value).shape.clone();
    let tower = (net.model.towers > 1).then_some(trained.tower);
    let joined = net.towers_of(node).len() > 1 && !naming.apart();
    let (towers, tower_of) = if joined { (net.model.towers, trained.tower) } else { (1, 0) };
    let own = node.y.channels;
    if !matches!(shape.len(), 1 | 2 | 4) {
        return Err(InteropError::Untied { row });
    }
    if joined && trained.node + 1 == net.nodes.len() && towers * own != net.classes() {
        return Err(InteropError::Uneven { row, classes: net.classes(), towers });
    }
    let (conv, bias) = (shape.len() == 4, trained.bias);
    // Of a fully connected layer the window is the whole map, and part of the inputs.
    let pixels = if conv { 1 } else { node.x[0].pixels() };
    let groups = if bias { 1 } else { node.layer.groups() };
    let read = node.x[0].channels * pixels / groups;
    let first = if node.x.len() > 1 { trained.reads * read } else { 0 };
    let (maps, part_maps) = if bias { (1, (0, 1)) } else { (node.x.len() * read, (first, read)) };
    let window: &[usize] = if conv && !bias { &shape[1..3] } else { &[] };
    let filters = towers * own;
    let whole = FileTensor {
        name: naming.name(&row, tower, bias),
        shape: if bias { vec![filters] } else { [&[filters, maps], window].concat() },
        parts: Vec::new(),
        maps,
        window: window.iter().product(),
        kept: if bias { 1.0 } else { kept(net, &row)? },
        row,
    };
    let filters = (tower_of * own, own);
    Ok((whole, TensorPart { name: trained.name.clone(), shape, filters, maps: part_maps, groups }))
}

/// The share that dropouts before a row keep. Other programs divide by it in training and do nothing in evaluation; in
/// 2012 it was multiplied with in evaluation. So it is a factor of the weights that come next.
fn kept(net: &Net, row: &str) -> Result<f32, InteropError> {
    let rows = &net.model.layers;
    let Some(before) = rows.iter().position(|other| other.name == row).and_then(|index| index.checked_sub(1)) else {
        return Ok(1.0);
    };
    let mut kept = 1.0;
    for stage in &rows[before].then {
        match stage.kind.scaling {
            // The network was built, so the settings are there.
            Scaling::Factor(share) => kept *= net.model.settings(stage).map_or(1.0, |settings| share(&settings)),
            Scaling::Other if kept != 1.0 => {
                return Err(InteropError::Dropout { row: rows[before].name.clone(), stage: stage.name() });
            }
            Scaling::Homogeneous | Scaling::Other => (),
        }
    }
    Ok(kept)
}

impl TensorPart {
    /// First element in the network of filter `k`, which has as many as `rows`, and the distance to the next. Groups
    /// lie behind each other.
    fn column(&self, k: usize, rows: usize) -> (usize, usize) {
        let own = self.filters.1 / self.groups;
        (k / own * rows * own + k % own, own)
    }
}

impl FileTensor {
    /// Checks that `tensor` has its shape.
    pub fn fits(&self, tensor: &Tensor) -> Result<(), InteropError> {
        if tensor.shape() == self.shape {
            return Ok(());
        }
        Err(self.wrong_shape(&self.name, tensor.shape(), &self.shape))
    }

    fn wrong_shape(&self, name: &str, found: &[usize], wanted: &[usize]) -> InteropError {
        InteropError::Shape { name: name.into(), row: self.row.clone(), found: found.into(), wanted: wanted.into() }
    }

    /// The network's tensors, with their names, from the file's, which [`FileTensor::fits`].
    pub fn cut(&self, whole: &Tensor) -> Vec<(String, Tensor)> {
        let cut = |part: &TensorPart| {
            let (filters, maps) = (part.filters.1, part.maps.1 * self.window);
            let mut values = vec![0.0; filters * maps];
            for k in 0..filters {
                let from = &whole.values()[self.start(part, k)..][..maps];
                let (first, step) = part.column(k, maps);
                let to = values[first..].iter_mut().step_by(step);
                to.zip(from).for_each(|(to, &value)| *to = self.unfold(value));
            }
            (part.name.clone(), Tensor::new(part.shape.clone(), values))
        };
        self.parts.iter().map(cut).collect()
    }

    /// The file's tensor from the network's, which `part` finds by their names.
    pub fn join<'t>(
        &self,
        part: impl Fn(&str) -> Option<&'t Tensor>,
        quantity: Quantity,
    ) -> Result<Tensor, InteropError> {
        let mut values = vec![0.0; self.shape.iter().product()];
        for place in &self.parts {
            let Some(tensor) = part(&place.name) else {
                return Err(InteropError::Missing { names: place.name.clone() });
            };
            if tensor.shape() != place.shape {
                return Err(self.wrong_shape(&place.name, tensor.shape(), &place.shape));
            }
            let (filters, maps) = (place.filters.1, place.maps.1 * self.window);
            for k in 0..filters {
                let (first, step) = place.column(k, maps);
                let from = tensor.values()[first..].iter().step_by(step);
                let to = &mut values[self.start(place, k)..][..maps];
                to.iter_mut().zip(from).for_each(|(to, &value)| {
                    *to = match quantity {
                        Quantity::Weights => self.fold(value),
                        Quantity::Gradients => self.unfold(value),
                    };
                });
            }
        }
        Ok(Tensor::new(self.shape.clone(), values))
    }

    /// Index of the first element of filter `k` of a part.
    fn start(&self, part: &TensorPart, k: usize) -> usize {
        ((part.filters.0 + k) * self.maps + part.maps.0) * self.window
    }

    fn fold(&self, value: f32) -> f32 {
        (f64::from(value) * f64::from(self.kept)) as f32
    }

    fn unfold(&self, value: f32) -> f32 {
        (f64::from(value) / f64::from(self.kept)) as f32
    }
}

/// Brings the tensors of a file to the names and the layout of `net`'s own checkpoints. What is that already, or stands
/// for no layer, stays as it is; a layer of another shape is left out unless `wanted` says that it must fit.
///
/// # Errors
/// When a layer that must fit has another shape, or a dropout's share cannot go into the weights behind it.
pub fn adopt(
    net: &Net,
    mut tensors: BTreeMap<String, Tensor>,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Tensor>, InteropError> {
    let Some(naming) = Naming::of(net, &tensors) else { return Ok(tensors) };
    let mut adopted = Vec::new();
    for whole in file_tensors(net, &naming)? {
        let Some(tensor) = tensors.get(&whole.name) else { continue };
        match whole.fits(tensor) {
            Ok(()) => adopted.extend(whole.cut(tensor)),
            Err(error) if wanted(&whole.row) => return Err(error),
            Err(_) => (),
        }
    }
    tensors.extend(adopted);
    Ok(tensors)
}

#[cfg(test)]
mod tests {
    use super::super::Convention;
    use super::*;
    use crate::net::Model;

    fn net(name: &str) -> Net {
        Net::new(Model::open(name).unwrap()).unwrap()
    }

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
        let got = adopt(&net, whole.clone(), |_| false).unwrap();
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
        // All on tower A, behind a dropout that keeps four of five.
        let folded = got["fc8.a.weights.b"].values()[7 * 10 + 9];
        assert_eq!(folded, (f64::from(9 * 128 + 64 + 7_u16) / f64::from(0.8_f32)) as f32);
        let wanted = adopt(&net, whole, |row| row == "fc6").unwrap_err().to_string();
        assert_eq!(wanted, "tensor fc6.weight has shape [128, 512], layer fc6 of this network needs [128, 288]");
    }

    #[test]
    fn groups_lie_behind_each_other() {
        let got = adopt(&net("bvlc-alexnet"), file(&[("conv2.weight", &[256, 48, 5, 5])]), |_| true).unwrap();
        let ours = &got["conv2.weights"];
        assert_eq!(ours.shape(), [96, 5, 5, 128]);
        // Map 3 of the second group, filter 7 of it.
        let (c, r, s, k) = (3, 1, 4, 7);
        let at = (((48 + c) * 5 + r) * 5 + s) * 128 + k;
        assert_eq!(ours.values()[at] as usize, (((128 + k) * 48 + c) * 5 + r) * 5 + s);
    }

    #[test]
    fn of_a_file_s_tensors_those_that_fit_are_taken() {
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
        let got = adopt(&net("torchvision"), whole.clone(), |_| false).unwrap();
        let ours: Vec<&String> = got.keys().filter(|name| !whole.contains_key(*name)).collect();
        assert_eq!(ours.len(), 6, "{ours:?}");
        assert_eq!(got["conv4.weights"].shape(), [384, 3, 3, 256]);
    }

    #[test]
    fn our_own_tensors_stay_as_they_are() {
        let tensors = file(&[("conv1.a.weights", &[3, 5, 5, 8]), ("mean", &[2])]);
        assert_eq!(adopt(&net("mini"), tensors.clone(), |_| false).unwrap(), tensors);
    }

    #[test]
    fn what_is_cut_is_joined_again() {
        for (name, names) in
            [("mini", Convention::Caffe), ("mini", Convention::Tower), ("alexnet-four-towers", Convention::Torchvision)]
        {
            let net = net(name);
            for whole in file_tensors(&net, &Naming::new(&net.model, names)).unwrap() {
                if whole.shape.iter().product::<usize>() > 1 << 20 {
                    continue;
                }
                let tensor = counting(&whole.shape);
                let parts: BTreeMap<_, _> = whole.cut(&tensor).into_iter().collect();
                let joined = whole.join(|name| parts.get(name), Quantity::Weights).unwrap();
                assert_eq!(joined, tensor, "{name}: {}", whole.name);
                let missing = whole.join(|_| None, Quantity::Weights).unwrap_err().to_string();
                assert!(missing.contains(&whole.parts[0].name), "{missing}");
            }
        }
    }

    #[test]
    fn gradients_are_divided_by_what_weights_are_multiplied_with() {
        let net = net("alexnet-2012");
        let file_tensors = file_tensors(&net, &Naming::new(&net.model, Convention::Caffe)).unwrap();
        let whole = file_tensors.iter().find(|whole| whole.name == "fc8.weight").unwrap();
        let ours = Tensor::new([2048, 1000], vec![3.0; 2_048_000]);
        let join = |quantity| whole.join(|_| Some(&ours), quantity).unwrap().values()[5];
        assert_eq!((join(Quantity::Weights), join(Quantity::Gradients)), (1.5, 6.0));
    }

    #[test]
    fn a_dropout_before_normalisation_cannot_be_written() {
        let mut model = Model::open("mini").unwrap();
        model.layers[0].then.insert(0, crate::net::Stage::named("dropout").unwrap());
        let net = Net::new(model).unwrap();
        let refused = file_tensors(&net, &Naming::new(&net.model, Convention::Caffe)).unwrap_err().to_string();
        assert!(refused.contains("layer conv1: lrn after dropout"), "{refused}");
        let ours = file(&[("conv1.a.weights", &[3, 5, 5, 8])]);
        assert_eq!(adopt(&net, ours.clone(), |_| false).unwrap(), ours, "its own tensors need no factor");
    }
}
