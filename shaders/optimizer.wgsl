// The update by an optimiser of tensors that lie one behind the other, or of the COUNT numbers of them from FIRST on.
// What follows declares the optimiser's states, and `step`: the new weights at i from the old ones, the gradient, the
// learning rate and the weight decay. `rule` has a row of ROW numbers for each of TENSORS tensors; constants in front
// are the places of numbers in a row.

@group(0) @binding(0) var<storage, read> g: array<Numbers>;
@group(0) @binding(1) var<storage, read> rule: array<f32>;
@group(0) @binding(2) var<storage, read> health: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<Numbers>;

// Vector of the piece at which the tensor of a row begins.
fn begin(row: u32) -> u32 {
    return (clamp(u32(rule[row + BEGIN]), FIRST, FIRST + COUNT) - FIRST) / VECTOR;
}

@compute @workgroup_size(WORKGROUP)
fn update(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let row = id.y * ROW;
    let rate = rule[row + RATE];
    let decay = rule[row + DECAY];
    let inverse = health[HEALTH_INVERSE];
    if rate == 0.0 || health[HEALTH_ILL] != 0.0 || health[HEALTH_SKIP] != 0.0 {
        return;
    }
    var end = COUNT / VECTOR;
    if id.y + 1 < TENSORS {
        end = begin(row + ROW);
    }
    for (var i = begin(row) + id.x; i < end; i += groups.x * WORKGROUP) {
        w[i] = step(i, w[i], g[i] * inverse, rate, decay, row);
    }
}
