// Convolution on [C][H][W][N] maps with weights [C][R][S][K]: four images a lane, 32 a workgroup, TM filters of one
// output pixel. Rows and columns of the window that lie outside are left out for all lanes at once.

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> w: array<vec4f>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

// From one map to the next, in vectors.
const PLANE = H * W * N / 4;
const WINDOW = R * S * K / 4;

@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = group.x * 8 + local.x;
    let k0 = group.y * TM;
    let p = group.z / Q;
    let q = group.z % Q;
    let own = min(k0 / 4 + min(local.x, TM / 4 - 1), K / 4 - 1);
    var sum: Sums;
    for (var r = 0u; r < R; r++) {
        // Below zero wraps around to a large number and fails the comparison too.
        let row = p * STRIDE_Y + r - PAD_Y;
        if row >= H {
            continue;
        }
        for (var s = 0u; s < S; s++) {
            let column = q * STRIDE_X + s - PAD_X;
            if column >= W {
                continue;
            }
            let pixel = (row * W + column) * (N / 4) + n;
            let weights = (r * S + s) * (K / 4) + own;
            for (var c = 0u; c < C; c++) {
                add_quads(&sum, w[weights + c * WINDOW], x[pixel + c * PLANE]);
            }
        }
    }
    for (var j = 0u; j < TM; j++) { // unrolled
        if K % TM == 0 || k0 + j < K {
            let at = (((k0 + j) * P + p) * Q + q) * (N / 4) + n;
            var value = sum[j];
            if BIAS {
                value += b[k0 + j];
            }
            if ACCUMULATE {
                value += y[at];
            }
            y[at] = vec4f(activate(value.x), activate(value.y), activate(value.z), activate(value.w));
        }
    }
}
