// Gradient of a bias: db[k] = sum of dy[k][pixel][n] over pixels and images, for dy [K][P*Q][N] and db [K], each in a
// fixed order.

@group(0) @binding(0) var<storage, read> dy: array<Map4>;
@group(0) @binding(1) var<storage, read_write> db: array<f32>;

// Vectors of a map.
const VECTORS = PIXELS * IMAGES / 4;

var<workgroup> lanes: array<f32, WORKGROUP>;

fn put(map: u32, total: f32) {
    if ACCUMULATE {
        db[map] += total;
    } else {
        db[map] = total;
    }
}

// A workgroup a map; each lane strides over it with LOADS sums, so that as many loads are on their way, then a tree
// over the lanes.
@compute @workgroup_size(WORKGROUP)
fn sums(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let map = group.x * VECTORS;
    var own: array<vec4f, LOADS>;
    for (var i = lane; i < VECTORS; i += WORKGROUP * LOADS) {
        @unroll for (var l = 0u; l < LOADS; l++) {
            let at = i + l * WORKGROUP;
            own[l] += select(vec4f(), vec4f(dy[map + min(at, VECTORS - 1)]), at < VECTORS);
        }
    }
    var total = vec4f();
    @unroll for (var l = 0u; l < LOADS; l++) {
        total += own[l];
    }
    lanes[lane] = (total.x + total.y) + (total.z + total.w);
    workgroupBarrier();
    for (var half = WORKGROUP / 2; half > 0; half /= 2) {
        if lane < half {
            lanes[lane] += lanes[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0 {
        put(group.x, lanes[0]);
    }
}

// Vectors of a part of a map; the last parts may be shorter or empty.
const PART = (VECTORS + PARTS - 1) / PARTS;

// A lane a part, of MAPS_AT_ONCE maps in a workgroup; then the first lane of each map adds its parts up in their order.
@compute @workgroup_size(WORKGROUP)
fn chains(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let map = group.x * MAPS_AT_ONCE + lane / PARTS;
    let is_part = lane / PARTS < MAPS_AT_ONCE && map < MAPS;
    if is_part {
        let begin = lane % PARTS * PART;
        let end = min(begin + PART, VECTORS);
        var total = vec4f();
        for (var i = begin; i < end; i++) {
            total += vec4f(dy[map * VECTORS + i]);
        }
        lanes[lane] = (total.x + total.y) + (total.z + total.w);
    }
    workgroupBarrier();
    if is_part && lane % PARTS == 0 {
        var total = 0.0;
        for (var part = 0u; part < PARTS; part++) {
            total += lanes[lane + part];
        }
        put(map, total);
    }
}
