// Activation on its own, where it could not ride in the epilogue of a contraction, and its gradient (section 3.1).
// y = f(x), f = max(x, 0) or tanh; dx = dy f'(x) from the output y: relu' = [y > 0], tanh' = 1 - y^2. COUNT elements.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read_write> y: array<Map>;
@group(0) @binding(2) var<storage, read> y_saved: array<MapNumbers>;
@group(0) @binding(3) var<storage, read> dy: array<MapNumbers>;
@group(0) @binding(4) var<storage, read_write> dx: array<MapNumbers>;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT; i += groups.x * WORKGROUP) {
        y[i] = Map(activate(f32(x[i])));
    }
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / VECTOR; i += groups.x * WORKGROUP) {
        let v = Numbers(y_saved[i]);
        if ACTIVATION == RELU {
            dx[i] = MapNumbers(select(Numbers(dy[i]), Numbers(), v <= Numbers()));
        } else {
            dx[i] = MapNumbers(Numbers(dy[i]) * (1.0 - v * v));
        }
    }
}
