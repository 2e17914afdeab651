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
    let coordinates = [
        ("half_pixel", Coordinates::HalfPixel),
        ("pytorch_half_pixel", Coordinates::HalfPixelOrFirst),
        ("half_pixel_symmetric", Coordinates::HalfPixelSymmetric),
        ("asymmetric", Coordinates::Asymmetric),
        ("align_corners", Coordinates::Corners),
    ];
    let from = a.choice("coordinate_transformation_mode", &coordinates)?;
    let roundings = [
        ("round_prefer_floor", Rounding::HalfDown),
        ("round_prefer_ceil", Rounding::HalfUp),
        ("floor", Rounding::Down),
        ("ceil", Rounding::Up),
    ];
    let rounding = a.choice("nearest_mode", &roundings)?;
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
    let cubic = Stretch::Cubic { a: slope, inside };
    let modes = [("nearest", Stretch::Nearest(rounding)), ("linear", Stretch::Linear), ("cubic", cubic)];
    let stretch = a.choice("mode", &modes)?;
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
    let nearest = Stretch::Nearest(Rounding::Down);
    a.choice("mode", &[("nearest", nearest), ("linear", Stretch::Linear), ("bilinear", Stretch::Linear)])
}

/// Pixels of blocks as channels (`deeper`), or the reverse.
pub(super) fn blocks(a: &mut Attributes, deeper: bool) -> Result<Op, NodeError> {
    let block = a.count("blocksize")?.ok_or(NodeError::Missing("blocksize"))?;
    let inner = !deeper && a.choice("mode", &[("DCR", false), ("CRD", true)])?;
    Ok(Op::Blocks { block, deeper, inner })
}

pub(super) fn conv_transpose(a: &mut Attributes) -> Result<Op, NodeError> {
    let (groups, further, extents) =
        (a.count("group")?.unwrap_or(1), a.counts("output_padding")?, a.counts("output_shape")?);
    Ok(Op::ConvTranspose { window: window(a)?, groups, further, extents })
}
