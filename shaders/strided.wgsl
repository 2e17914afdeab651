// Copy between layouts: y[Y_FIRST + i · (B0 … B5)] = FACTOR · x[X_FIRST + i · (A0 … A5)] for all six indices i below
// E0 … E5.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read_write> y: array<Map>;

const COUNT = E0 * E1 * E2 * E3 * E4 * E5;

@compute @workgroup_size(WORKGROUP)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < COUNT; item += groups.x * WORKGROUP) {
        let i5 = item % E5;
        let i4 = item / E5 % E4;
        let i3 = item / (E5 * E4) % E3;
        let i2 = item / (E5 * E4 * E3) % E2;
        let i1 = item / (E5 * E4 * E3 * E2) % E1;
        let i0 = item / (E5 * E4 * E3 * E2 * E1);
        let to = Y_FIRST + i0 * B0 + i1 * B1 + i2 * B2 + i3 * B3 + i4 * B4 + i5 * B5;
        y[to] = Map(FACTOR * f32(x[X_FIRST + i0 * A0 + i1 * A1 + i2 * A2 + i3 * A3 + i4 * A4 + i5 * A5]));
    }
}
