// Whether any gradient of a tensor is not a finite number: found[i] = 1 if one of g[i], g[i + PARTS], ... is not, else
// 0, for COUNT gradients.

@group(0) @binding(0) var<storage, read> g: array<f32>;
@group(0) @binding(1) var<storage, read_write> found: array<f32>;

const EXPONENT = 0x7f800000u;

@compute @workgroup_size(WORKGROUP)
fn watch(@builtin(global_invocation_id) id: vec3u) {
    // Compilers may assume that there are no NaN; they assume nothing about bits.
    var largest = 0u;
    for (var i = id.x; i < COUNT; i += PARTS) {
        largest = max(largest, bitcast<u32>(g[i]) & EXPONENT);
    }
    let own = select(0.0, 1.0, largest == EXPONENT);
    if ACCUMULATE {
        found[id.x] = max(found[id.x], own);
    } else {
        found[id.x] = own;
    }
}
