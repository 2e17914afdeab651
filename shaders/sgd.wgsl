// The update rule of section 5, as the released code applies it.

@group(0) @binding(0) var<storage, read> g: array<Numbers>;
// Learning rate, momentum, decay, unused.
@group(0) @binding(1) var<storage, read> rule: array<f32>;
@group(0) @binding(2) var<storage, read> health: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<Numbers>;
@group(0) @binding(4) var<storage, read_write> v: array<Numbers>;

@compute @workgroup_size(WORKGROUP)
fn update(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let rate = rule[0];
    let momentum = rule[1];
    let decay = rule[2];
    let inverse = health[HEALTH_INVERSE];
    if rate == 0.0 || health[HEALTH_ILL] != 0.0 || health[HEALTH_SKIP] != 0.0 {
        return;
    }
    for (var i = id.x; i < COUNT / WIDTH; i += groups.x * WORKGROUP) {
        let old = w[i];
        let velocity = momentum * v[i] - decay * rate * old - rate * (g[i] * inverse);
        v[i] = velocity;
        w[i] = old + velocity;
    }
}
