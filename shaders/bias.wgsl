// Gradient of a bias: db[k] = sum of dy[k][pixel][n] over pixels and images, for dy [K][P*Q][N] and db [K]. Two passes
// of fixed order: `partial_*` sums up each of the PARTS parts of a map into partial [K][PARTS], `sum` the parts of each
// map.

@group(0) @binding(0) var<storage, read> dy: array<Map4>;
@group(0) @binding(1) var<storage, read_write> partial: array<f32>;
@group(0) @binding(2) var<storage, read> partials: array<f32>;
@group(0) @binding(3) var<storage, read_write> db: array<f32>;

// Vectors of a map, and of each of its parts; the last parts may be shorter or empty.
const VECTORS = PIXELS * IMAGES / 4;
const PART = (VECTORS + PARTS - 1) / PARTS;

var<workgroup> sums: array<f32, WORKGROUP>;

// One workgroup a part of a map; a lane strides over it, then a tree over the lanes.
@compute @workgroup_size(WORKGROUP)
fn partial_sums(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let end = min((group.x + 1) * PART, VECTORS);
    var total = vec4f();
    for (var i = group.x * PART + lane; i < end; i += WORKGROUP) {
        total += vec4f(dy[group.y * VECTORS + i]);
    }
    sums[lane] = (total.x + total.y) + (total.z + total.w);
    workgroupBarrier();
    for (var half = WORKGROUP / 2; half > 0; half /= 2) {
        if lane < half {
            sums[lane] += sums[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0 {
        partial[group.y * PARTS + group.x] = sums[0];
    }
}

// One invocation a part: where barriers are dear.
@compute @workgroup_size(WORKGROUP)
fn partial_chains(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < MAPS * PARTS; item += groups.x * WORKGROUP) {
        let begin = item % PARTS * PART;
        let end = min(begin + PART, VECTORS);
        let map = item / PARTS * VECTORS;
        var total = vec4f();
        for (var i = begin; i < end; i++) {
            total += vec4f(dy[map + i]);
        }
        partial[item] = (total.x + total.y) + (total.z + total.w);
    }
}

@compute @workgroup_size(WORKGROUP)
fn sum(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var map = id.x; map < MAPS; map += groups.x * WORKGROUP) {
        var total = 0.0;
        for (var part = 0u; part < PARTS; part++) {
            total += partials[map * PARTS + part];
        }
        if ACCUMULATE {
            total += db[map];
        }
        db[map] = total;
    }
}
