// Maps half as large for the way between devices: packed[i] holds f16(SCALE x[2i]) and f16(SCALE x[2i+1]), `unpack`
// divides by SCALE again. COUNT numbers; a power of two as the scale costs no digits.

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read_write> packed: array<vec2u>;
@group(0) @binding(2) var<storage, read> packed_saved: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> y: array<Numbers>;

const EXPONENT = 0x7f800000u;

// What pack2x16float makes of values beyond the range of f16 is up to the driver.
const MOST = vec2f(65504.0 / SCALE);

// Infinities become NaN: clamped to the range, a network that diverges would look healthy. Compilers may assume that
// there are neither; they assume nothing about bits.
fn pair(v: vec2f) -> u32 {
    let finite = (bitcast<vec2u>(v) & vec2u(EXPONENT)) != vec2u(EXPONENT);
    let nan = select(vec2u(0x7e00u, 0x7e000000u), vec2u(), finite);
    return pack2x16float(clamp(v, -MOST, MOST) * SCALE) | nan.x | nan.y;
}

@compute @workgroup_size(WORKGROUP)
fn pack(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / VECTOR; i += groups.x * WORKGROUP) {
        let v = x[i];
        packed[i] = vec2u(pair(v.xy), pair(v.zw));
    }
}

@compute @workgroup_size(WORKGROUP)
fn unpack(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / VECTOR; i += groups.x * WORKGROUP) {
        let words = packed_saved[i];
        y[i] = vec4f(unpack2x16float(words.x), unpack2x16float(words.y)) * (1.0 / SCALE);
    }
}
