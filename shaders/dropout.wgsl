// Dropout as in 2012 (section 4.2; released code, layer.cu), on x, y [UNITS][IMAGES]. In training, `mask`: y = x where
// unit(philox(unit, image, step, stream)) < KEEP, else 0, not rescaled; elsewhere, `scale`: y = KEEP x.
// The mask is a pure function of unit, image, step and seed; nothing stores it, backward makes it again.

@group(0) @binding(0) var<storage, read> x: array<MapNumbers>;
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<MapNumbers>;

const BATCH = IMAGES / VECTOR;

// An invocation has the four images of one Philox block.
@compute @workgroup_size(WORKGROUP)
fn mask(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let key = vec2u(step[STEP_SEED_LOW], step[STEP_SEED_HIGH]);
    let first = step[STEP_FIRST_IMAGE] / 4;
    for (var i = id.x; i < UNITS * BATCH; i += groups.x * WORKGROUP) {
        let words = philox(vec4u(FIRST_UNIT + i / BATCH, first + i % BATCH, step[STEP_STEP], STREAM), key);
        y[i] = MapNumbers(select(Numbers(), Numbers(x[i]), unit(words) < Numbers(KEEP)));
    }
}

@compute @workgroup_size(WORKGROUP)
fn scale(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < UNITS * BATCH; i += groups.x * WORKGROUP) {
        y[i] = MapNumbers(KEEP * Numbers(x[i]));
    }
}
