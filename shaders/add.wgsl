// The sum of two maps: both towers' shares of a gradient.

@group(0) @binding(0) var<storage, read> a: array<Map4>;
@group(0) @binding(1) var<storage, read> b: array<Map4>;
@group(0) @binding(2) var<storage, read_write> y: array<Map4>;

@compute @workgroup_size(WORKGROUP)
fn sum(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / 4; i += groups.x * WORKGROUP) {
        y[i] = Map4(vec4f(a[i]) + vec4f(b[i]));
    }
}
