// The neuron on its own, where it could not ride in the epilogue of a contraction, and its gradient.
// Both gradients are functions of the output: relu' = [y > 0], tanh' = 1 - y^2.

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
        let v = vec4f(y_saved[i]);
        if ACTIVATION == RELU {
            dx[i] = Map4(select(vec4f(dy[i]), vec4f(), v <= vec4f()));
        } else {
            dx[i] = Map4(vec4f(dy[i]) * (1.0 - v * v));
        }
    }
}
