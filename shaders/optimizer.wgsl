// The update of one tensor by an optimiser. What follows declares the optimiser's states, and `step`: the new weights at i
// from the old ones, the gradient, the learning rate and the weight decay. Constants in front are the places of numbers
// in `rule`.

@group(0) @binding(0) var<storage, read> g: array<Numbers>;
@group(0) @binding(1) var<storage, read> rule: array<f32>;
@group(0) @binding(2) var<storage, read> health: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<Numbers>;

@compute @workgroup_size(WORKGROUP)
fn update(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let rate = rule[RATE];
    let decay = rule[DECAY];
    let inverse = health[HEALTH_INVERSE];
    if rate == 0.0 || health[HEALTH_ILL] != 0.0 || health[HEALTH_SKIP] != 0.0 {
        return;
    }
    for (var i = id.x; i < COUNT / VECTOR; i += groups.x * WORKGROUP) {
        w[i] = step(i, w[i], g[i] * inverse, rate, decay);
    }
}
