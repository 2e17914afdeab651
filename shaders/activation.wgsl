// Activation on its own, where it could not ride in the epilogue of a contraction, and its gradient (section 3.1).
// y = f(x), f = max(x, 0) or tanh; dx = dy f'(x) from the output y. COUNT elements.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read_write> y: array<Map>;
@group(0) @binding(2) var<storage, read> y_saved: array<Map4>;
@group(0) @binding(3) var<storage, read> dy: array<Map4>;
@group(0) @binding(4) var<storage, read_write> dx: array<Map4>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT; i += groups.x * WORKGROUP) {
        y[i] = Map(activate(f32(x[i])));
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / 4; i += groups.x * WORKGROUP) {
        dx[i] = Map4(through(vec4f(dy[i]), vec4f(y_saved[i])));
    }
}
