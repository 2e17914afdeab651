// Convolution in groups of maps and with dilated windows, on [GROUPS · MAPS][H][W][N] with weights [MAPS][R][S][K]: a
// filter sees the maps of its group. A thread owns TM filters of one output pixel for four images.

@group(0) @binding(0) var<storage, read> x: array<vec4f>;
@group(0) @binding(1) var<storage, read> w: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<vec4f>;

const BATCH = N / 4;

@compute @workgroup_size(LANES, ROWS)
fn grouped(@builtin(global_invocation_id) id: vec3u) {
    let n = id.x;
    let k0 = id.y * TM;
    let p = id.z / Q;
    let q = id.z % Q;
    if n >= BATCH || k0 >= K {
        return;
    }
    let first = k0 / (K / GROUPS) * MAPS;
    var sum: array<vec4f, TM>;
    for (var c = 0u; c < MAPS; c++) {
        for (var r = 0u; r < R; r++) {
            // Below zero wraps around to a large number and fails the comparison too.
            let row = p * STRIDE_Y + r * DILATION_Y - PAD_Y;
            if row >= H {
                continue;
            }
            for (var s = 0u; s < S; s++) {
                let column = q * STRIDE_X + s * DILATION_X - PAD_X;
                if column >= W {
                    continue;
                }
                let value = x[(((first + c) * H + row) * W + column) * BATCH + n];
                let at = ((c * R + r) * S + s) * K + k0;
                for (var j = 0u; j < TM; j++) { // unrolled
                    sum[j] = fma(vec4f(w[at + j]), value, sum[j]);
                }
            }
        }
    }
    for (var j = 0u; j < TM; j++) { // unrolled
        var value = sum[j];
        if BIAS {
            value += b[k0 + j];
        }
        y[(((k0 + j) * P + p) * Q + q) * BATCH + n] =
            vec4f(activate(value.x), activate(value.y), activate(value.z), activate(value.w));
    }
}
