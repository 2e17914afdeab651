//! Networks of Caffe: a `.caffemodel` with layers and weights, a `.prototxt` with layers alone, and mean files.
//!
//! Caffe's colours are blue, green, red: first layers and means are reordered to red, green, blue here and nowhere
//! else. Its normalisation divides alpha by the size of the window. A grouped convolution is one of the network, in
//! groups or over towers; where that has fewer groups, it becomes one over more channels, most of whose weights are 0.

mod agree;
mod error;
mod layers;
/// Messages of the format, as prost-build generates them from `assets/proto/caffe.proto`.
#[rustfmt::skip]
#[allow(missing_docs, clippy::pedantic, reason = "generated; the text in assets/proto has the comments")]
pub mod proto;
mod prototxt;

use std::collections::BTreeMap;

pub use self::error::{BlobError, CaffeError, ImportError, ModelMismatch, TextError};
use self::layers::{Layer, chain};
use self::proto::{BlobProto, NetParameter, TransformationParameter};
use crate::interop::wire::{BLOB, CAFFE, decode};
use crate::interop::{Convention, InteropError, Naming, file_tensors};
use crate::net::model::Input;
use crate::net::{Model, Net};
use crate::ops::conv;
use crate::tensor::{FloatFormat, Tensor};

/// Chain of layers, with weights where it comes from a `.caffemodel`.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    layers: Vec<Layer>,
    /// Side of the images in pixels, where the file has it.
    size: Option<usize>,
    /// How a layer of data makes inputs of images, where there is one.
    transform: Option<TransformationParameter>,
}

/// Parses the network in a `.caffemodel`.
pub fn parse(bytes: &[u8]) -> Result<Network, CaffeError> {
    network(decode(bytes, &CAFFE).map_err(|reason| CaffeError::File { format: ".caffemodel", reason })?)
}

/// Parses the network in a `.prototxt`, which has no weights.
///
/// # Errors
/// As [`parse`]; the message gives the line.
pub fn parse_text(text: &str) -> Result<Network, CaffeError> {
    network(prototxt::parse(text)?)
}

fn network(net: NetParameter) -> Result<Network, CaffeError> {
    let (size, transform) = (layers::size(&net), layers::transform(&net));
    Ok(Network { layers: chain(net)?, size, transform })
}

impl Network {
    /// Weights and biases under the names of `export --names caffe`, for images in red, green, blue.
    pub fn tensors(&self) -> Result<BTreeMap<String, Tensor>, CaffeError> {
        let mut tensors = BTreeMap::new();
        for layer in &self.layers {
            if !layer.kind.is_head() {
                continue;
            }
            let name = &layer.name;
            let [weights, bias] = weights_and_bias(layer, tensors.is_empty()).map_err(CaffeError::layer(name))?;
            tensors.insert(format!("{name}.weight"), weights);
            tensors.insert(format!("{name}.bias"), bias);
        }
        Ok(tensors)
    }

    /// Names of the layers with weights, each with that of the row of `model` in its place; none where these are more
    /// or fewer.
    fn rows<'m>(&'m self, model: &'m Model) -> Vec<(&'m str, &'m str)> {
        let layers = self.layers.iter().filter(|layer| layer.kind.is_head());
        let (layers, rows): (Vec<_>, _) = (layers.collect(), &model.layers);
        if layers.len() != rows.len() {
            return Vec::new();
        }
        layers.iter().zip(rows).map(|(layer, row)| (layer.name.as_str(), row.name.as_str())).collect()
    }

    /// Renames `tensors` of this network's layers to the rows of `model` in their places. Gives words where one
    /// differs.
    pub fn name_as(&self, model: &Model, tensors: &mut BTreeMap<String, Tensor>) -> Option<String> {
        let rows: Vec<_> = self.rows(model).into_iter().filter(|(layer, row)| layer != row).collect();
        let mut renamed = Vec::new();
        for (layer, row) in &rows {
            for end in ["weight", "bias"] {
                renamed
                    .extend(tensors.remove(&format!("{layer}.{end}")).map(|tensor| (format!("{row}.{end}"), tensor)));
            }
        }
        tensors.extend(renamed);
        let pairs: Vec<String> = rows.iter().map(|(layer, row)| format!("{row} is {layer}")).collect();
        (!pairs.is_empty()).then(|| format!("names differ, so layers were taken by order: {}", pairs.join(", ")))
    }

    /// Sets scale and means of `input` to those of this network's layer of data, the means only where `means` says so.
    /// Gives words about what changed.
    pub fn prepare(&self, input: &mut Input, means: bool) -> Result<Vec<String>, CaffeError> {
        let Some(transform) = &self.transform else { return Ok(Vec::new()) };
        if transform.force_gray() {
            return Err(CaffeError::Grey);
        }
        let mut words = Vec::new();
        let scale = [transform.scale(); 3];
        if input.scale != scale {
            words
                .push(format!("scale {} of the file's data layer in place of the model's {:?}", scale[0], input.scale));
            input.scale = scale;
        }
        let mean = match transform.mean_value[..] {
            [] if transform.mean_file.is_some() => None, // the caller has to bring it
            [] => Some([0.0; 3]),
            [one] => Some([one; 3]),
            [blue, green, red] => Some([red, green, blue]),
            _ => return Err(CaffeError::Means(transform.mean_value.len())),
        };
        if let Some(mean) = mean.filter(|mean| means && input.mean != Some(*mean)) {
            words.push(format!("means {mean:?} of red, green and blue from the file's data layer"));
            input.mean = Some(mean);
        }
        Ok(words)
    }

    /// Replaces grouped convolutions in `tensors` by those over more channels, where `net` has fewer groups or none.
    /// Gives words about that.
    pub fn ungroup(&self, net: &Net, tensors: &mut BTreeMap<String, Tensor>) -> Result<Option<String>, InteropError> {
        let file_tensors = file_tensors(net, &Naming::new(&net.model, Convention::Caffe))?;
        let rows: BTreeMap<&str, &str> = self.rows(&net.model).into_iter().collect();
        let mut widened = Vec::new();
        for layer in self.layers.iter().filter(|layer| *layer.kind == conv::KIND) {
            let row = rows.get(layer.name.as_str()).copied().unwrap_or(&layer.name);
            let name = format!("{row}.weight");
            let Some(wanted) = file_tensors.iter().find(|whole| whole.name == name) else { continue };
            let Some(tensor) = tensors.get_mut(&name) else { continue };
            let (groups, (filters, channels)) = (layer.settings.get("groups"), (tensor.shape()[0], tensor.shape()[1]));
            let together = wanted.shape[1] / channels.max(1);
            let fits = filters == wanted.shape[0] && channels.checked_mul(together) == Some(wanted.shape[1]);
            if together > 1 && fits && filters.is_multiple_of(groups) && groups.is_multiple_of(together) {
                *tensor = ungroup(tensor, filters / groups, together);
                widened.push(row);
            }
        }
        let words =
            "the model has fewer groups than the file, so that weights between groups are 0 and would be trained";
        Ok((!widened.is_empty()).then(|| format!("{}: {words}", widened.join(", "))))
    }
}

/// Weights of a layer and its biases, 0 without any; those of the `first` layer read colours.
fn weights_and_bias(layer: &Layer, first: bool) -> Result<[Tensor; 2], ImportError> {
    let weights = layer.blobs.first().ok_or(ImportError::NoWeights)?;
    let mut weights = layer.weights(tensor(weights)?)?;
    if first {
        weights = bgr_to_rgb(&weights, 1)?;
    }
    let outputs = weights.shape()[0];
    let biases = match layer.blobs.get(1) {
        Some(blob) => tensor(blob)?.into_values(),
        None => vec![0.0; outputs],
    };
    if biases.len() != outputs {
        return Err(ImportError::Biases { found: biases.len(), outputs });
    }
    Ok([weights, Tensor::new([outputs], biases)])
}

/// Weights `[filters][together · channels][R][S]` of a convolution in groups of `own` filters,
/// `[filters][channels][R][S]`: the filters of each of `together` groups have weights of 0 for the channels of the
/// others.
fn ungroup(grouped: &Tensor, own: usize, together: usize) -> Tensor {
    let [filters, channels, height, width] = grouped.shape()[..] else { return grouped.clone() };
    let window = channels * height * width;
    let mut values = vec![0.0; filters * together * window];
    for (k, filter) in grouped.values().chunks_exact(window).enumerate() {
        values[(k * together + k / own % together) * window..][..window].copy_from_slice(filter);
    }
    Tensor::new([filters, together * channels, height, width], values)
}

/// Parses the mean image of a `.binaryproto`, `[3][height][width]` in red, green, blue.
pub fn parse_mean(bytes: &[u8]) -> Result<Tensor, CaffeError> {
    let blob: BlobProto = decode(bytes, &BLOB).map_err(|reason| CaffeError::File { format: ".binaryproto", reason })?;
    let tensor = tensor(&blob)?;
    match tensor.shape() {
        &[1, colours, height, width] | &[colours, height, width] => {
            mean_of(&Tensor::new([colours, height, width], tensor.into_values()))
        }
        other => Err(CaffeError::MeanShape { found: other.into() }),
    }
}

/// Reorders a mean image `[3][height][width]`, or means by colour `[3]`, from blue, green, red to red, green, blue.
pub fn mean_of(mean: &Tensor) -> Result<Tensor, CaffeError> {
    match mean.shape() {
        [3, _, _] | [3] => Ok(bgr_to_rgb(mean, 0)?),
        other => Err(CaffeError::MeanShape { found: other.into() }),
    }
}

/// Reorders colours, which lie along `axis`.
fn bgr_to_rgb(tensor: &Tensor, axis: usize) -> Result<Tensor, BlobError> {
    let shape = tensor.shape();
    let colours = shape.get(axis).copied().unwrap_or(0);
    if colours != 3 {
        return Err(BlobError::Colours(colours));
    }
    let plane = shape[axis + 1..].iter().product::<usize>();
    let rgb = |image: &[f32]| [2, 1, 0].map(|colour| image[colour * plane..][..plane].to_vec()).concat();
    let values = tensor.values().chunks_exact((3 * plane).max(1)).flat_map(rgb).collect();
    Ok(Tensor::new(shape, values))
}

/// Numbers of a blob in their shape.
fn tensor(blob: &BlobProto) -> Result<Tensor, BlobError> {
    let old = [blob.num(), blob.channels(), blob.height(), blob.width()].map(i64::from);
    let dims = blob.shape.as_ref().map_or(&old[..], |shape| &shape.dim);
    let shape: Result<Vec<usize>, _> = dims.iter().map(|&extent| usize::try_from(extent)).collect();
    let shape = shape.map_err(|_| BlobError::Extents(dims.into()))?;
    let values = if blob.double_data.is_empty() {
        blob.data.clone()
    } else {
        let bytes: Vec<u8> = blob.double_data.iter().flat_map(|value| value.to_le_bytes()).collect();
        FloatFormat::F64.read(&bytes).ok_or(BlobError::Range)?
    };
    let count = shape.iter().try_fold(1_usize, |count, &extent| count.checked_mul(extent));
    if count != Some(values.len()) {
        return Err(BlobError::Count { found: values.len(), shape });
    }
    Ok(Tensor::new(shape, values))
}

#[cfg(test)]
mod tests;
