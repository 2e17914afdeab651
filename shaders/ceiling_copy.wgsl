// y = x for COUNT floats: how fast memory is copied bounds every kernel.

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read_write> y: array<Numbers>;

@compute @workgroup_size(WORKGROUP)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / VECTOR; i += groups.x * WORKGROUP) {
        y[i] = x[i];
    }
}
