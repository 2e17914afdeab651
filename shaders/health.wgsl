// The first step whose loss was not a finite number: health[ILL, STEP] = [1, step] at the first of the losses
// [IMAGES] that is not, and never again.

@group(0) @binding(0) var<storage, read> loss: array<f32>;
@group(0) @binding(1) var<storage, read> step: array<u32>;
@group(0) @binding(2) var<storage, read_write> health: array<f32>;

const EXPONENT = 0x7f800000u;

@compute @workgroup_size(1)
fn watch() {
    // Compilers may assume that there are no NaN; they assume nothing about bits.
    var largest = 0u;
    for (var i = 0u; i < IMAGES; i++) {
        largest = max(largest, bitcast<u32>(loss[i]) & EXPONENT);
    }
    if largest == EXPONENT && health[HEALTH_ILL] == 0.0 {
        health[HEALTH_ILL] = 1.0;
        health[HEALTH_STEP] = f32(step[STEP_STEP]);
    }
}
