// Whether this step counts, and the scale of the next loss (Micikevicius et al. 2018): where any of found [PARTS] is
// not 0 the step is left out and the scale halved; after INTERVAL good steps the scale doubles, up to LARGEST.

@group(0) @binding(0) var<storage, read> found: array<f32>;
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> health: array<f32>;

@compute @workgroup_size(1)
fn decide() {
    var bad = 0.0;
    for (var i = 0u; i < PARTS; i++) {
        bad = max(bad, found[i]);
    }
    let scale = health[HEALTH_SCALE];
    if bad == 0.0 {
        let good = health[HEALTH_GOOD] + 1.0;
        let grows = good >= f32(INTERVAL);
        health[HEALTH_INVERSE] = 1.0 / scale;
        health[HEALTH_SCALE] = select(scale, min(2.0 * scale, LARGEST), grows);
        health[HEALTH_GOOD] = select(good, 0.0, grows);
        health[HEALTH_SKIP] = 0.0;
        return;
    }
    health[HEALTH_SKIP] = 1.0;
    health[HEALTH_GOOD] = 0.0;
    if scale > 1.0 {
        health[HEALTH_SCALE] = scale / 2.0;
    } else if health[HEALTH_ILL] == 0.0 {
        // Gradients that are too large as they are: training has gone astray.
        health[HEALTH_ILL] = 1.0;
        health[HEALTH_STEP] = f32(step[STEP_STEP]);
    }
}
