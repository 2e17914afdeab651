// The neuron on its own, where it could not ride in the epilogue of a contraction, and its gradient.
// Both gradients are functions of the output: relu' = [y > 0], tanh' = 1 - y^2.

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read> y_saved: array<vec4f>;
@group(0) @binding(3) var<storage, read> dy: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> dx: array<vec4f>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT; i += groups.x * WORKGROUP) {
        y[i] = activate(x[i]);
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / 4; i += groups.x * WORKGROUP) {
        let v = y_saved[i];
        if ACTIVATION == RELU {
            dx[i] = select(dy[i], vec4f(), v <= vec4f());
        } else {
            dx[i] = dy[i] * (1.0 - v * v);
        }
    }
}
