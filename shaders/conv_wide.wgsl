// Convolution (formula and letters: `conv.wgsl`): VECTOR images a lane, a subgroup a workgroup, TM filters of one
// output pixel. Rows and columns of the window that lie outside are left out for all lanes at once.

@group(0) @binding(0) var<storage, read> x: array<Quad>;
@group(0) @binding(1) var<storage, read> w: array<Quad>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map4>;

// From one map to the next, in vectors.
const PLANE = H * W * N / VECTOR;

@compute @workgroup_size(SUBGROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = group.x * SUBGROUP + local.x;
    let k0 = group.y * TM;
    let p = group.z / Q;
    let q = group.z % Q;
    let own = min(k0 / 4 + min(local.x, TM / 4 - 1), K / 4 - 1);
    // The window's columns that lie inside, from `low` to below `high`.
    let low = max(PAD_X, q * STRIDE_X) - q * STRIDE_X;
    let high = min(S, max(W + PAD_X, q * STRIDE_X) - q * STRIDE_X);
    var sum: Sums;
    for (var r = 0u; r < R; r++) {
        // Below zero wraps around to a large number and fails the comparison too.
        let row = p * STRIDE_Y + r - PAD_Y;
        if row >= H {
            continue;
        }
        let pixel = (row * W + q * STRIDE_X - PAD_X) * (N / VECTOR) + n;
        // One loop over columns and maps: the longer it is, the less its beginning and end weigh.
        for (var i = low * MAPS; i < high * MAPS; i += STEPS) {
            let s = select(i / MAPS, 0u, S == 1);
            let c = select(i % MAPS, i, S == 1);
            var weights: array<vec4f, STEPS>;
            var pixels: array<vec4f, STEPS>;
            @unroll for (var t = 0u; t < STEPS; t++) {
                weights[t] = quad(w[(((c + t) * R + r) * S + s) * (K / 4) + own]);
                pixels[t] = quad(x[pixel + s * (N / VECTOR) + (c + t) * PLANE]);
            }
            add_quads(&sum, weights, pixels);
        }
    }
    var values: Results;
    @unroll for (var j = 0u; j < TM; j++) {
        values[j] = sum[j];
    }
    for (var k = k0; k < min(k0 + TM, K); k++) {
        let at = ((k * P + p) * Q + q) * (N / VECTOR) + n;
        var value = values[k - k0];
        if BIAS {
            value += b[k];
        }
        if ACCUMULATE {
            value += vec4f(y[at]);
        }
        y[at] = Map4(vec4f(activate(value.x), activate(value.y), activate(value.z), activate(value.w)));
    }
}
