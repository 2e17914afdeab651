//! Caffe's networks: a `.caffemodel` with layers and weights, a `.prototxt` with layers alone, and mean files.
//!
//! Caffe's colours are blue, green, red: what reads images is turned round, here and nowhere else. Its normalisation
//! divides alpha by the size of the window. A grouped convolution of a network that has one tower here becomes one over
//! all maps, most of whose weights are 0.

mod agree;
mod layers;
/// The messages of the format: what prost-build makes of `assets/proto/caffe.proto`.
#[rustfmt::skip]
#[allow(clippy::pedantic, reason = "generated")]
pub mod proto;
mod prototxt;

use std::collections::BTreeMap;

use self::layers::{Kind, Layer, chain};
use self::proto::{BlobProto, NetParameter};
use crate::interop::wire::{BLOB, CAFFE, decode};
use crate::interop::{Names, Naming, wholes};
use crate::net::Net;
use crate::tensor::{Stored, Tensor};

/// A chain of layers, with weights where they come from a `.caffemodel`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    layers: Vec<Layer>,
    /// Side of the images, where it is told.
    size: Option<usize>,
}

/// The network in a `.caffemodel`.
///
/// # Errors
/// When it is damaged, is no chain of the layers of AlexNet's family, or a setting is none of ours.
pub fn parse(bytes: &[u8]) -> Result<Network, String> {
    let net = decode::<NetParameter>(bytes, &CAFFE);
    network(net.map_err(|e| format!("is damaged or not a .caffemodel ({e})"))?)
}

/// The network in a `.prototxt`, which has no weights.
///
/// # Errors
/// As [`parse`]; the message gives the line.
pub fn parse_text(text: &str) -> Result<Network, String> {
    network(prototxt::parse(text)?)
}

fn network(net: NetParameter) -> Result<Network, String> {
    let size = layers::size(&net);
    Ok(Network { layers: chain(net)?, size })
}

impl Network {
    /// Weights and biases under the names that `export --names caffe` writes, for images in red, green, blue.
    ///
    /// # Errors
    /// When numbers are missing, more than their shape says, or of another shape than the layer.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>, String> {
        let mut tensors = BTreeMap::new();
        let mut first = true;
        for layer in &self.layers {
            let (Kind::Conv(_) | Kind::Full(_)) = layer.kind else { continue };
            let bad = |reason: String| format!("layer {}: {reason}", layer.name);
            let [weights, rest @ ..] = &layer.blobs[..] else { return Err(bad("it has no weights".into())) };
            let mut weights = tensor(weights).and_then(|tensor| layer.weights(tensor)).map_err(bad)?;
            if std::mem::take(&mut first) {
                weights = turned(&weights, 1).map_err(bad)?;
            }
            let outputs = weights.shape()[0];
            let bias = match rest {
                [] => Tensor::new([outputs], vec![0.0; outputs]),
                [bias, ..] => {
                    let values = tensor(bias).map_err(bad)?.into_values();
                    let found = values.len();
                    Some(values)
                        .filter(|_| found == outputs)
                        .map(|values| Tensor::new([outputs], values))
                        .ok_or_else(|| bad(format!("it has {found} biases for {outputs} outputs")))?
                }
            };
            tensors.insert(format!("{}.weight", layer.name), weights);
            tensors.insert(format!("{}.bias", layer.name), bias);
        }
        Ok(tensors)
    }

    /// Makes grouped convolutions in `tensors` such of all maps, where that is what `net` has.
    ///
    /// # Errors
    /// When the weights of `net` have no place in a file.
    pub fn spread(
        &self,
        net: &Net,
        tensors: &mut BTreeMap<String, Tensor>,
    ) -> Result<(), crate::interop::InteropError> {
        let wholes = wholes(net, &Naming::new(&net.model, Names::Caffe))?;
        for layer in &self.layers {
            let Kind::Conv(conv) = layer.kind else { continue };
            let name = format!("{}.weight", layer.name);
            let wanted = wholes.iter().find(|whole| whole.name == name);
            if let (Some(wanted), Some(tensor)) = (wanted, tensors.get_mut(&name))
                && tensor.shape()[1].checked_mul(conv.groups) == Some(wanted.shape[1])
                && tensor.shape()[0] == wanted.shape[0]
            {
                *tensor = spread(tensor, conv.groups);
            }
        }
        Ok(())
    }
}

/// A convolution over all maps that is a grouped one's: filters of group g see the maps of group g.
fn spread(grouped: &Tensor, groups: usize) -> Tensor {
    let [filters, maps, height, width] = grouped.shape()[..] else { return grouped.clone() };
    let window = maps * height * width;
    let mut values = vec![0.0; filters * groups * window];
    for (k, filter) in grouped.values().chunks_exact(window).enumerate() {
        let group = k / (filters / groups);
        values[(k * groups + group) * window..][..window].copy_from_slice(filter);
    }
    Tensor::new([filters, groups * maps, height, width], values)
}

/// The mean image of a `.binaryproto`, `[3][height][width]` in red, green, blue.
///
/// # Errors
/// When it is damaged or has other extents.
pub fn parse_mean(bytes: &[u8]) -> Result<Tensor, String> {
    let blob = decode::<BlobProto>(bytes, &BLOB).map_err(|e| format!("is damaged or not a .binaryproto ({e})"))?;
    let tensor = tensor(&blob)?;
    let shape = match tensor.shape() {
        &[1, colours, height, width] | &[colours, height, width] => [colours, height, width],
        other => return Err(format!("has shape {other:?}, a mean image [1, 3, height, width]")),
    };
    mean_of(&Tensor::new(shape, tensor.into_values()))
}

/// A mean image, or means by colour, in the order of Caffe, as red, green, blue.
///
/// # Errors
/// When it has other extents than `[3][height][width]` or `[3]`.
pub fn mean_of(mean: &Tensor) -> Result<Tensor, String> {
    match mean.shape() {
        [3, _, _] | [3] => turned(mean, 0),
        other => Err(format!("has shape {other:?}, a mean image [3, height, width] and means by colour [3]")),
    }
}

/// Blue, green, red along `axis` as red, green, blue.
fn turned(tensor: &Tensor, axis: usize) -> Result<Tensor, String> {
    let shape = tensor.shape();
    if shape.get(axis) != Some(&3) {
        return Err(format!("it reads images of {} colours instead of 3", shape.get(axis).unwrap_or(&0)));
    }
    let plane = shape[axis + 1..].iter().product::<usize>();
    let colours = |image: &[f32]| [2, 1, 0].map(|colour| image[colour * plane..][..plane].to_vec()).concat();
    let values = tensor.values().chunks_exact((3 * plane).max(1)).flat_map(colours).collect();
    Ok(Tensor::new(shape, values))
}

/// The numbers of a blob in their shape.
fn tensor(blob: &BlobProto) -> Result<Tensor, String> {
    let old = [blob.num(), blob.channels(), blob.height(), blob.width()].map(i64::from);
    let dims = blob.shape.as_ref().map_or(&old[..], |shape| &shape.dim);
    let shape: Result<Vec<usize>, _> = dims.iter().map(|&extent| usize::try_from(extent)).collect();
    let shape = shape.map_err(|_| format!("it has numbers of shape {dims:?}"))?;
    let values = if blob.double_data.is_empty() {
        blob.data.clone()
    } else {
        let bytes: Vec<u8> = blob.double_data.iter().flat_map(|value| value.to_le_bytes()).collect();
        Stored::F64.read(&bytes).ok_or("it has a number beyond the range of 32-bit floats")?
    };
    let count = shape.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent));
    if count != Some(values.len()) {
        return Err(format!("it has {} numbers of shape {shape:?}", values.len()));
    }
    Ok(Tensor::new(shape, values))
}

#[cfg(test)]
mod tests;
