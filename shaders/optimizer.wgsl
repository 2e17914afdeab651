// The update by an optimiser of tensors that lie one behind the other, or of the COUNT numbers of them from FIRST on.
// What follows declares the optimiser's states, and `step`: the new weights at i from the old ones, the gradient, the
// learning rate and the weight decay. `rule` has a row of ROW numbers for each of TENSORS tensors; constants in front
// are the places of numbers in a row.

@group(0) @binding(0) var<storage, read> g: array<Numbers>;
@group(0) @binding(1) var<storage, read> rule: array<f32>;
@group(0) @binding(2) var<storage, read> health: array<f32>;
@group(0) @binding(3) var<storage, read_write> w: array<Numbers>;

// First number of the tensor of a row.
fn begin(row: u32) -> u32 {
    return u32(rule[row + BEGIN]);
}

// The tensor in which a number lies: the last one that begins before or at it.
fn tensor_of(number: u32) -> u32 {
    var first = 0u;
    var count = TENSORS;
    while count > 1 {
        let half = count / 2;
        if begin((first + half) * ROW) <= number {
            first += half;
            count -= half;
        } else {
            count = half;
        }
    }
    return first;
}

// An invocation updates TRIPS vectors, LANES apart, so that LANES neighbours walk through one piece of memory.
@compute @workgroup_size(WORKGROUP)
fn update(@builtin(global_invocation_id) id: vec3u) {
    let inverse = health[HEALTH_INVERSE];
    if health[HEALTH_ILL] != 0.0 || health[HEALTH_SKIP] != 0.0 {
        return;
    }
    let lane = id.x % LANES;
    var i = (id.x - lane) * TRIPS + lane;
    let last = min(i + LANES * TRIPS, COUNT / VECTOR);
    var tensor = tensor_of(FIRST + i * VECTOR);
    while i < last {
        let row = tensor * ROW;
        var end = last;
        tensor += 1u;
        if tensor < TENSORS {
            end = min(last, (begin(row + ROW) - FIRST) / VECTOR);
        }
        let rate = rule[row + RATE];
        let decay = rule[row + DECAY];
        for (; i < end; i += LANES) {
            if rate != 0.0 {
                w[i] = step(i, w[i], g[i] * inverse, rate, decay, row);
            }
        }
    }
}
