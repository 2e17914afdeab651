//! Layers of either version of the format as one chain, with their settings checked.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::error::{CaffeError, ImportError};
use super::proto::lrn_parameter::NormRegion;
use super::proto::pooling_parameter::{PoolMethod, RoundMode};
use super::proto::v1_layer_parameter::LayerType;
use super::proto::{
    BlobProto, ConvolutionParameter, LayerParameter, LrnParameter, NetParameter, NetStateRule, Phase, PoolingParameter,
    TransformationParameter, V1LayerParameter,
};
use crate::kernel::{Param as _, Params};
use crate::ops::kind::LayerKind;
use crate::ops::{activation, conv, fc, lrn, lrn_spatial, pool, softmax};
use crate::tensor::Tensor;

/// Largest side of a window, stride or padding, in pixels, and most groups.
const MOST: u32 = 16_384;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layer {
    pub name: String,
    pub kind: &'static LayerKind,
    /// Settings as a row of a model file has them.
    pub settings: Params,
    /// Weights and biases; none in a `.prototxt`.
    pub blobs: Vec<BlobProto>,
}

impl Layer {
    /// Gives weights the shape that the settings ask for: `[filters][channels][R][S]` or `[outputs][inputs]`.
    pub(super) fn weights(&self, tensor: Tensor) -> Result<Tensor, ImportError> {
        let found = tensor.shape().to_vec();
        let wrong = |expected: String| Err(ImportError::Weights { found: found.clone(), expected });
        if *self.kind == fc::KIND {
            let outputs = self.settings.get("outputs");
            return match &found[..] {
                &[.., k, inputs] if k == outputs && found.iter().product::<usize>() == k * inputs => {
                    Ok(Tensor::new([outputs, inputs], tensor.into_values()))
                }
                _ => wrong(format!("[{outputs}, inputs]")),
            };
        }
        let conv::Settings { filters, size, groups, .. } = conv::Settings::from(&self.settings);
        match &found[..] {
            &[k, channels, height, width] => {
                if (k, height, width) != (filters, size, size) || channels == 0 || !filters.is_multiple_of(groups) {
                    return wrong(format!("[{filters}, channels, {size}, {size}], with {groups} groups"));
                }
                Ok(tensor)
            }
            _ => wrong("[filters, channels, height, width]".into()),
        }
    }
}

/// How the network's layer of data makes inputs of images, of that for tests where there are several; `None` without
/// one.
pub(super) fn transform(net: &NetParameter) -> Option<TransformationParameter> {
    let old = net.layers.iter().map(|layer| (&layer.include, &layer.transform_param));
    let present = net.layer.iter().map(|layer| (&layer.include, &layer.transform_param));
    let stated = old.chain(present).filter_map(|(include, transform)| Some((include, transform.as_ref()?)));
    let in_training = |include: &[NetStateRule]| include.iter().copied().any(in_training);
    stated.min_by_key(|(include, _)| in_training(include.as_slice())).map(|(_, transform)| transform.clone())
}

/// Whether a layer is part of the network in training alone.
fn in_training(rule: NetStateRule) -> bool {
    rule.phase.is_some() && rule.phase() == Phase::Train
}

/// Side of the images in pixels, where the file has it in any of four ways.
pub(super) fn size(net: &NetParameter) -> Option<usize> {
    let crop = transform(net).and_then(|transform| transform.crop_size).filter(|&size| size > 0);
    declared_size(net).or(crop.map(|size| size as usize))
}

fn declared_size(net: &NetParameter) -> Option<usize> {
    let layer = net.layer.iter().find_map(|layer| layer.input_param.as_ref()?.shape.first());
    let height = match layer.or(net.input_shape.first()) {
        Some(shape) => shape.dim.get(2).copied(),
        None => net.input_dim.get(2).map(|&extent| extent.into()),
    };
    usize::try_from(height?).ok()
}

/// Layers in the order of the chain, without those that do nothing in evaluation.
pub(super) fn chain(net: NetParameter) -> Result<Vec<Layer>, CaffeError> {
    let old = net.layers.into_iter().map(modern).collect::<Result<Vec<_>, _>>()?;
    // Names of outputs of Split layers, and the value that each copies.
    let mut copies: BTreeMap<String, String> = BTreeMap::new();
    let mut chain: Vec<Layer> = Vec::new();
    let mut last: Option<String> = None;
    for layer in old.into_iter().chain(net.layer) {
        if layer.include.iter().copied().any(in_training) {
            continue;
        }
        let name = layer.name().to_owned();
        let bottom = layer.bottom.first().cloned().unwrap_or_default();
        let bottom = copies.get(&bottom).cloned().unwrap_or(bottom);
        let kind = match layer.r#type() {
            "Data" | "ImageData" | "WindowData" | "MemoryData" | "Input" | "Accuracy" | "Silence" => continue,
            "Split" => {
                copies.extend(layer.top.iter().map(|top| (top.clone(), bottom.clone())));
                continue;
            }
            "Dropout" | "Flatten" => None,
            _ => Some(kind(&layer).map_err(CaffeError::layer(&name))?),
        };
        if let Some(expected) = last.filter(|last| *last != bottom) {
            return Err(CaffeError::layer(&name)(ImportError::Chain { found: bottom, expected }));
        }
        last = Some(layer.top.first().cloned().unwrap_or(bottom));
        chain.extend(kind.map(|(kind, settings)| Layer { name, kind, settings, blobs: layer.blobs }));
    }
    if chain.is_empty() { Err(CaffeError::NoLayers) } else { Ok(chain) }
}

fn kind(layer: &LayerParameter) -> Result<(&'static LayerKind, Params), ImportError> {
    let plain = |kind: &'static LayerKind| Ok((kind, Params::default()));
    match layer.r#type() {
        "Convolution" => Ok((&conv::KIND, conv(&layer.convolution_param.clone().unwrap_or_default())?)),
        "InnerProduct" => {
            let full = layer.inner_product_param.unwrap_or_default();
            only("axis", full.axis(), 1)?;
            only("transpose", full.transpose(), false)?;
            Ok((&fc::KIND, Params::new(vec![("outputs", (full.num_output() as usize).value())])))
        }
        "ReLU" => {
            only("negative_slope", layer.relu_param.unwrap_or_default().negative_slope(), 0.0)?;
            plain(&activation::RELU)
        }
        "TanH" => plain(&activation::TANH),
        "LRN" => lrn(&layer.lrn_param.unwrap_or_default()),
        "Pooling" => pool(&layer.pooling_param.unwrap_or_default()),
        "Softmax" | "SoftmaxWithLoss" => plain(&softmax::KIND),
        other => Err(ImportError::Type(other.into())),
    }
}

fn setting(name: &'static str, found: &dyn Display, expected: &dyn Display) -> ImportError {
    ImportError::Setting { name, found: found.to_string(), expected: expected.to_string() }
}

/// Refuses a setting with any but the one supported value.
fn only<T: Copy + PartialEq + Display>(name: &'static str, found: T, supported: T) -> Result<(), ImportError> {
    if found == supported { Ok(()) } else { Err(setting(name, &found, &supported)) }
}

/// Value of a setting for both axes, from fields `both` and fields by axis, `down` and `across`; `absent` without any.
fn square(
    name: &'static str,
    both: &[u32],
    [down, across]: [Option<u32>; 2],
    absent: u32,
) -> Result<usize, ImportError> {
    let axes: Vec<u32> = both.iter().copied().chain(down).chain(across).collect();
    let value = axes.first().copied().unwrap_or(absent);
    match axes.iter().find(|&&axis| axis != value) {
        Some(other) => Err(setting(name, &format!("{value} along one axis and {other} along the other"), &"a square")),
        None if value > MOST => Err(setting(name, &value, &format!("at most {MOST}"))),
        None => Ok(value as usize),
    }
}

fn conv(conv: &ConvolutionParameter) -> Result<Params, ImportError> {
    only("axis", conv.axis(), 1)?;
    conv.dilation.iter().try_for_each(|&dilation| only("dilation", dilation, 1))?;
    let settings = conv::Settings {
        filters: conv.num_output() as usize,
        size: square("kernel_size", &conv.kernel_size, [conv.kernel_h, conv.kernel_w], 0)?,
        stride: square("stride", &conv.stride, [conv.stride_h, conv.stride_w], 1)?,
        pad: square("pad", &conv.pad, [conv.pad_h, conv.pad_w], 0)?,
        floor: true,
        groups: square("group", &[conv.group()], [None; 2], 1)?.max(1),
    };
    Ok(settings.params())
}

fn lrn(lrn: &LrnParameter) -> Result<(&'static LayerKind, Params), ImportError> {
    let size = square("local_size", &[lrn.local_size()], [None; 2], 5)?.max(1);
    // Caffe divides alpha by the numbers in the sum; its k within channels is always 1.
    let (kind, summed, k) = match lrn.norm_region() {
        NormRegion::WithinChannel => (&lrn_spatial::KIND, size * size, 1.0),
        NormRegion::AcrossChannels => (&lrn::KIND, size, lrn.k()),
    };
    let alpha = (f64::from(lrn.alpha()) / summed as f64) as f32;
    Ok((kind, lrn::Settings { size, k, alpha, beta: lrn.beta() }.params()))
}

fn pool(pool: &PoolingParameter) -> Result<(&'static LayerKind, Params), ImportError> {
    let pad = square("pad", pool.pad.as_slice(), [pool.pad_h, pool.pad_w], 0)?;
    let kind = match pool.pool() {
        PoolMethod::Max => &pool::MAX_KIND,
        PoolMethod::Ave if pad == 0 => &pool::AVERAGE_KIND,
        PoolMethod::Ave => return Err(setting("pad", &pad, &"0 of a pool that averages")),
        PoolMethod::Stochastic => return Err(setting("pool", &"STOCHASTIC", &"MAX or AVE")),
    };
    only("global_pooling", pool.global_pooling(), false)?;
    if pool.round_mode() == RoundMode::Floor {
        return Err(setting("round_mode", &"FLOOR", &"CEIL: windows may reach beyond the edge"));
    }
    let size = square("kernel_size", pool.kernel_size.as_slice(), [pool.kernel_h, pool.kernel_w], 0)?;
    let stride = square("stride", pool.stride.as_slice(), [pool.stride_h, pool.stride_w], 1)?;
    Ok((kind, pool::Settings { size, stride, pad }.params()))
}

/// Converts a layer from the format of 2014 to the present one.
fn modern(old: V1LayerParameter) -> Result<LayerParameter, CaffeError> {
    let number = old.r#type.unwrap_or_default();
    let name = old.name.unwrap_or_default();
    let Ok(kind) = LayerType::try_from(number) else {
        return Err(CaffeError::layer(&name)(ImportError::Type(number.to_string())));
    };
    let kind = match kind {
        LayerType::Lrn => "LRN".into(),
        LayerType::Relu => "ReLU".into(),
        LayerType::Tanh => "TanH".into(),
        LayerType::SoftmaxLoss => "SoftmaxWithLoss".into(),
        // The others are named as in the present format.
        other => format!("{other:?}"),
    };
    Ok(LayerParameter {
        name: Some(name),
        r#type: Some(kind),
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
        transform_param: old.transform_param,
    })
}
