//! Declarations that precede a shader's text: its parameters and its tile as constants, and the types that depend on
//! its variant.

use std::fmt::Write as _;

use crate::kernel::{Elem, Params, Value, Variant};

/// The declarations that precede the sources of `variant` for `params`.
pub(super) fn declarations(variant: &Variant, params: &Params) -> String {
    let mut text = String::from(if variant.needs.matrix.is_some() { "enable wgpu_cooperative_matrix;\n" } else { "" });
    text.push_str(&constants(&params.with(&(variant.tile)(params))));
    text.push_str(&vector(variant.vector));
    // Writing to a String cannot fail.
    let _ = variant.needs.subgroup_size.map(|lanes| writeln!(text, "const SUBGROUP: u32 = {lanes}u;"));
    text
}

/// One `const` a parameter, its name in upper case, and what maps are stored as, `Map` and `Map4`. Shaders convert what
/// they load from them, and what they store.
pub fn constants(params: &Params) -> String {
    let maps = params.storage();
    let (enable, map) = (if maps == Elem::F16 { "enable f16;\n" } else { "" }, maps.name());
    let mut text = format!("{enable}alias Map = {map};\nalias Map4 = vec4<{map}>;\n");
    for (name, value) in params.iter() {
        let name = name.to_uppercase();
        // Writing to a String cannot fail.
        let _ = match value {
            Value::U32(v) => writeln!(text, "const {name}: u32 = {v}u;"),
            // All its digits: the fewest that mean this f32 may mean a number beyond all f32 to a compiler that reads
            // f64.
            Value::F32(bits) => writeln!(text, "const {name}: f32 = {:?}f;", f64::from(f32::from_bits(bits))),
            Value::Bool(v) => writeln!(text, "const {name}: bool = {v};"),
        };
    }
    text
}

/// The types of as many neighbouring numbers as an invocation takes at once.
fn vector(width: usize) -> String {
    let types = |element: &str| if width == 1 { element.to_owned() } else { format!("vec{width}<{element}>") };
    let (floats, maps) = (types("f32"), types("Map"));
    format!("const VECTOR: u32 = {width}u;\nalias Numbers = {floats};\nalias MapNumbers = {maps};\n")
}
