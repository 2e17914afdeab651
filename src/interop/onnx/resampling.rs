//! Operators that stretch maps, and their attributes in all versions.

use super::attributes::Attributes;
use super::error::NodeError;
use super::operators::window;
use crate::graph::{Coordinates, Op, Rounding, Stretch};

pub(super) fn resize(a: &mut Attributes) -> Result<Op, NodeError> {
    if a.version < 11 {
        let stretch = match plain(a)? {
            Stretch::Nearest(_) => Stretch::Nearest(Rounding::Outwards),
            other => other,
        };
        return Ok(Op::Resize { stretch, from: Coordinates::Asymmetric, axes: None, scales: None, given: 1 });
    }
    let from = match a.text("coordinate_transformation_mode")? {
        None | Some("half_pixel") => Coordinates::HalfPixel,
        Some("pytorch_half_pixel") => Coordinates::HalfPixelOrFirst,
        Some("half_pixel_symmetric") => Coordinates::HalfPixelSymmetric,
        Some("asymmetric") => Coordinates::Asymmetric,
        Some("align_corners") => Coordinates::Corners,
        Some(found) => {
            let known = "half_pixel, pytorch_half_pixel, half_pixel_symmetric, asymmetric, align_corners";
            return Err(NodeError::Choice { name: "coordinate_transformation_mode", found: found.into(), known });
        }
    };
    let rounding = match a.text("nearest_mode")? {
        None | Some("round_prefer_floor") => Rounding::HalfDown,
        Some("round_prefer_ceil") => Rounding::HalfUp,
        Some("floor") => Rounding::Down,
        Some("ceil") => Rounding::Up,
        Some(found) => {
            let known = "round_prefer_floor, round_prefer_ceil, floor, ceil";
            return Err(NodeError::Choice { name: "nearest_mode", found: found.into(), known });
        }
    };
    let (slope, inside) = (a.number("cubic_coeff_a", -0.75)?, a.switch("exclude_outside")?);
    a.ignore(&["extrapolation_value"]); // Of tf_crop_and_resize alone.
    if a.switch("antialias")? {
        return Err(NodeError::value("antialias", &1, &"0"));
    }
    match a.text("keep_aspect_ratio_policy")? {
        None | Some("stretch") => {}
        Some(found) => return Err(NodeError::value("keep_aspect_ratio_policy", &found, &"stretch")),
    }
    let axes = a.ints("axes")?.map(<[i64]>::to_vec);
    let stretch = match a.text("mode")? {
        None | Some("nearest") => Stretch::Nearest(rounding),
        Some("linear") => Stretch::Linear,
        Some("cubic") => Stretch::Cubic { a: slope, inside },
        Some(found) => return Err(unknown_mode(found, "nearest, linear, cubic")),
    };
    Ok(Op::Resize { stretch, from, axes, scales: None, given: 2 })
}

/// Resampling as it was before its coordinates could be said.
pub(super) fn upsample(a: &mut Attributes) -> Result<Op, NodeError> {
    let scales = match a.version {
        ..7 => return Err(NodeError::value("opset", &a.version, &"7 or later for this operator")),
        7..9 => Some(a.floats("scales")?.ok_or(NodeError::Missing("scales"))?.to_vec()),
        _ => None,
    };
    let stretch = plain(a)?;
    Ok(Op::Resize { stretch, from: Coordinates::Asymmetric, axes: None, scales, given: 1 })
}

fn plain(a: &mut Attributes) -> Result<Stretch, NodeError> {
    match a.text("mode")? {
        None | Some("nearest") => Ok(Stretch::Nearest(Rounding::Down)),
        Some("linear" | "bilinear") => Ok(Stretch::Linear),
        Some(found) => Err(unknown_mode(found, "nearest, linear")),
    }
}

fn unknown_mode(found: &str, known: &'static str) -> NodeError {
    NodeError::Choice { name: "mode", found: found.into(), known }
}

/// Pixels of blocks as channels (`deeper`), or the reverse.
pub(super) fn blocks(a: &mut Attributes, deeper: bool) -> Result<Op, NodeError> {
    let block = a.count("blocksize")?.ok_or(NodeError::Missing("blocksize"))?;
    let inner = match if deeper { None } else { a.text("mode")? } {
        None | Some("DCR") => false,
        Some("CRD") => true,
        Some(found) => return Err(unknown_mode(found, "DCR, CRD")),
    };
    Ok(Op::Blocks { block, deeper, inner })
}

pub(super) fn conv_transpose(a: &mut Attributes) -> Result<Op, NodeError> {
    let (groups, further, extents) =
        (a.count("group")?.unwrap_or(1), a.counts("output_padding")?, a.counts("output_shape")?);
    Ok(Op::ConvTranspose { window: window(a)?, groups, further, extents })
}
