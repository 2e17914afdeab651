//! Layers of either version of the format as one chain, with their settings checked.

use std::collections::BTreeMap;

use super::proto::lrn_parameter::NormRegion;
use super::proto::pooling_parameter::{PoolMethod, RoundMode};
use super::proto::v1_layer_parameter::LayerType;
use super::proto::{
    BlobProto, ConvolutionParameter, InnerProductParameter, LayerParameter, LrnParameter, NetParameter, Phase,
    PoolingParameter, V1LayerParameter,
};
use crate::tensor::Tensor;

/// Longest side of a window, stride or padding, and most groups.
const MOST: u32 = 16_384;

/// What a layer does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Conv(Conv),
    /// So many neurons.
    Full(usize),
    Relu,
    Tanh,
    Lrn(Lrn),
    Pool(Pool),
    Softmax,
}

/// A convolution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Conv {
    pub filters: usize,
    pub groups: usize,
    pub size: usize,
    pub stride: usize,
    pub pad: usize,
}

/// A normalisation, whose alpha multiplies the sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Lrn {
    pub within: bool,
    pub size: usize,
    pub k: f32,
    pub alpha: f32,
    pub beta: f32,
}

/// Pooling.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pool {
    pub average: bool,
    pub size: usize,
    pub stride: usize,
    pub pad: usize,
}

/// A layer in its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    pub name: String,
    pub kind: Kind,
    pub blobs: Vec<BlobProto>,
}

impl Layer {
    /// Its weights in the shape that its settings ask for, `[filters][maps][R][S]` or `[outputs][inputs]`.
    pub(super) fn weights(&self, tensor: Tensor) -> Result<Tensor, String> {
        let shape = tensor.shape().to_vec();
        let wrong = |wanted: &str| Err(format!("its weights have shape {shape:?} instead of {wanted}"));
        match (self.kind, &shape[..]) {
            (Kind::Conv(Conv { filters, groups, size, .. }), &[k, maps, height, width]) => {
                if (k, height, width) != (filters, size, size) || maps == 0 || !filters.is_multiple_of(groups) {
                    return wrong(&format!("[{filters}, maps, {size}, {size}], with {groups} groups"));
                }
                Ok(tensor)
            }
            (Kind::Full(outputs), &[.., k, inputs])
                if k == outputs && shape.iter().product::<usize>() == k * inputs =>
            {
                Ok(Tensor::new([outputs, inputs], tensor.into_values()))
            }
            (Kind::Full(outputs), _) => wrong(&format!("[{outputs}, inputs]")),
            _ => wrong("[filters, maps, height, width]"),
        }
    }
}

/// Side of the images where the file says it, in any of the three ways.
pub(super) fn size(net: &NetParameter) -> Option<usize> {
    let layer = net.layer.iter().find_map(|layer| layer.input_param.as_ref()?.shape.first());
    let dims = layer.or(net.input_shape.first()).map(|shape| shape.dim.clone());
    let dims = dims.unwrap_or_else(|| net.input_dim.iter().map(|&extent| extent.into()).collect());
    dims.get(2).and_then(|&extent| usize::try_from(extent).ok())
}

/// The layers in the order of the chain, without those that do nothing in evaluation.
pub(super) fn chain(net: NetParameter) -> Result<Vec<Layer>, String> {
    let layers = net.layers.into_iter().map(modern).collect::<Result<Vec<_>, _>>()?.into_iter().chain(net.layer);
    // By a copy's name, what it is a copy of.
    let mut copies: BTreeMap<String, String> = BTreeMap::new();
    let mut found: Vec<Layer> = Vec::new();
    let mut last: Option<String> = None;
    for layer in layers {
        if layer.include.iter().any(|rule| rule.phase.is_some() && rule.phase() == Phase::Train) {
            continue;
        }
        let (name, bottom) = (layer.name().to_owned(), layer.bottom.first().cloned().unwrap_or_default());
        let bottom = copies.get(&bottom).cloned().unwrap_or(bottom);
        let refuse = |reason: String| format!("layer {name}: {reason}");
        let kind = match layer.r#type() {
            "Data" | "ImageData" | "WindowData" | "MemoryData" | "Input" | "Accuracy" | "Silence" => continue,
            "Split" => {
                copies.extend(layer.top.iter().map(|top| (top.clone(), bottom.clone())));
                continue;
            }
            "Dropout" | "Flatten" => None,
            _ => Some(kind(&layer).map_err(refuse)?),
        };
        if last.as_ref().is_some_and(|last| *last != bottom) {
            return Err(refuse(format!("it reads {bottom}, not what comes before it; only chains of layers are read")));
        }
        last = Some(layer.top.first().cloned().unwrap_or(bottom));
        found.extend(kind.map(|kind| Layer { name, kind, blobs: layer.blobs }));
    }
    if found.is_empty() {
        return Err("holds no layers of a network".into());
    }
    Ok(found)
}

fn kind(layer: &LayerParameter) -> Result<Kind, String> {
    Ok(match layer.r#type() {
        "Convolution" => Kind::Conv(conv(&layer.convolution_param.clone().unwrap_or_default())?),
        "InnerProduct" => full(&layer.inner_product_param.unwrap_or_default())?,
        "ReLU" if layer.relu_param.is_some_and(|relu| relu.negative_slope() != 0.0) => {
            return Err("its negative_slope is not 0".into());
        }
        "ReLU" => Kind::Relu,
        "TanH" => Kind::Tanh,
        "LRN" => Kind::Lrn(lrn(&layer.lrn_param.unwrap_or_default())?),
        "Pooling" => Kind::Pool(pool(&layer.pooling_param.unwrap_or_default())?),
        "Softmax" | "SoftmaxWithLoss" => Kind::Softmax,
        other => return Err(format!("layers of type {other} are not read; those of AlexNet's family are")),
    })
}

/// A setting that is told once, or once for each axis and then the same for both.
fn square(what: &str, both: &[u32], [down, across]: [Option<u32>; 2], absent: u32) -> Result<usize, String> {
    let axes: Vec<u32> = both.iter().copied().chain(down).chain(across).collect();
    let value = axes.first().copied().unwrap_or(absent);
    match axes.iter().find(|&&axis| axis != value) {
        Some(other) => Err(format!("its {what} is {value} along one axis and {other} along the other")),
        None if value > MOST => Err(format!("its {what} of {value} is larger than {MOST}")),
        None => Ok(value as usize),
    }
}

fn conv(conv: &ConvolutionParameter) -> Result<Conv, String> {
    if conv.dilation.iter().any(|&dilation| dilation != 1) {
        return Err("its dilation is not 1".into());
    }
    Ok(Conv {
        filters: conv.num_output() as usize,
        groups: square("group", &[conv.group()], [None; 2], 1)?.max(1),
        size: square("kernel_size", &conv.kernel_size, [conv.kernel_h, conv.kernel_w], 0)?,
        stride: square("stride", &conv.stride, [conv.stride_h, conv.stride_w], 1)?,
        pad: square("pad", &conv.pad, [conv.pad_h, conv.pad_w], 0)?,
    })
}

fn full(full: &InnerProductParameter) -> Result<Kind, String> {
    if full.transpose() {
        return Err("its weights are transposed".into());
    }
    Ok(Kind::Full(full.num_output() as usize))
}

fn lrn(lrn: &LrnParameter) -> Result<Lrn, String> {
    let size = square("local_size", &[lrn.local_size()], [None; 2], 5)?.max(1);
    let within = lrn.norm_region() == NormRegion::WithinChannel;
    // Within maps Caffe's k is always 1.
    let (summed, k) = if within { (size * size, 1.0) } else { (size, lrn.k()) };
    let alpha = (f64::from(lrn.alpha()) / summed as f64) as f32;
    Ok(Lrn { within, size, k, alpha, beta: lrn.beta() })
}

fn pool(pool: &PoolingParameter) -> Result<Pool, String> {
    let each = |value: Option<u32>| value.into_iter().collect::<Vec<_>>();
    let pad = square("pad", &each(pool.pad), [pool.pad_h, pool.pad_w], 0)?;
    let average = match pool.pool() {
        PoolMethod::Max => false,
        PoolMethod::Ave if pad == 0 => true,
        PoolMethod::Ave => return Err("it averages over padding".into()),
        PoolMethod::Stochastic => return Err("its pooling is at random".into()),
    };
    if pool.global_pooling() || pool.round_mode() == RoundMode::Floor {
        return Err("its windows do not hang over the edge (global_pooling, round_mode FLOOR)".into());
    }
    let size = square("kernel_size", &each(pool.kernel_size), [pool.kernel_h, pool.kernel_w], 0)?;
    let stride = square("stride", &each(pool.stride), [pool.stride_h, pool.stride_w], 1)?;
    Ok(Pool { average, size, stride, pad })
}

/// A layer of 2014 as one of today.
fn modern(old: V1LayerParameter) -> Result<LayerParameter, String> {
    let number = old.r#type.unwrap_or_default();
    let kind = LayerType::try_from(number)
        .map_err(|_| format!("layer {}: layers of type {number} are not read", old.name.clone().unwrap_or_default()))?;
    let kind = match kind {
        LayerType::None => "None",
        LayerType::Accuracy => "Accuracy",
        LayerType::Concat => "Concat",
        LayerType::Convolution => "Convolution",
        LayerType::Data => "Data",
        LayerType::Dropout => "Dropout",
        LayerType::Flatten => "Flatten",
        LayerType::ImageData => "ImageData",
        LayerType::InnerProduct => "InnerProduct",
        LayerType::Lrn => "LRN",
        LayerType::Pooling => "Pooling",
        LayerType::Relu => "ReLU",
        LayerType::Softmax => "Softmax",
        LayerType::SoftmaxLoss => "SoftmaxWithLoss",
        LayerType::Split => "Split",
        LayerType::Tanh => "TanH",
        LayerType::WindowData => "WindowData",
        LayerType::MemoryData => "MemoryData",
        LayerType::Silence => "Silence",
    };
    Ok(LayerParameter {
        name: old.name,
        r#type: Some(kind.into()),
        bottom: old.bottom,
        top: old.top,
        blobs: old.blobs,
        include: old.include,
        convolution_param: old.convolution_param,
        inner_product_param: old.inner_product_param,
        lrn_param: old.lrn_param,
        pooling_param: old.pooling_param,
        relu_param: old.relu_param,
        input_param: None,
    })
}
