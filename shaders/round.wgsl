// Weights rounded for the contractions of mixed precision: y = x for COUNT trained 32-bit floats, stored as maps are
// and made anew in every pass.

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read_write> y: array<MapNumbers>;

@compute @workgroup_size(WORKGROUP)
fn weights(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / VECTOR; i += groups.x * WORKGROUP) {
        y[i] = MapNumbers(x[i]);
    }
}
