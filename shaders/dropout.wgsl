// Dropout as in 2012: half of the units are silent in training, all of them speak softly otherwise.
// The mask is a pure function of unit, image, step and seed; nothing stores it, backward makes it again.

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<Map4>;

const QUADS = IMAGES / 4;

// An invocation has the four images of one Philox block.
@compute @workgroup_size(WORKGROUP)
fn mask(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let key = vec2u(step[STEP_SEED_LOW], step[STEP_SEED_HIGH]);
    let first = step[STEP_FIRST_IMAGE] / 4;
    for (var i = id.x; i < UNITS * QUADS; i += groups.x * WORKGROUP) {
        let words = philox(vec4u(FIRST_UNIT + i / QUADS, first + i % QUADS, step[STEP_STEP], STREAM), key);
        y[i] = Map4(select(vec4f(), vec4f(x[i]), unit(words) < vec4f(KEEP)));
    }
}

@compute @workgroup_size(WORKGROUP)
fn scale(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < UNITS * QUADS; i += groups.x * WORKGROUP) {
        y[i] = Map4(KEEP * vec4f(x[i]));
    }
}
