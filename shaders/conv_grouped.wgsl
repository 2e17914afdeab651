// Convolution in groups of maps and with dilated windows, f(w * x + b) with x [GROUPS * MAPS][H][W][N], w
// [GROUPS * MAPS][R][S][K / GROUPS] and y [K][P][Q][N] (letters: `conv.wgsl`): a filter sees the maps of its group. A
// thread owns TM filters of one output pixel for VECTOR images.

@group(0) @binding(0) var<storage, read> x: array<MapNumbers>;
@group(0) @binding(1) var<storage, read> w: array<Map>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<MapNumbers>;

const BATCH = N / VECTOR;
// Filters of a group.
const OWN = K / GROUPS;

@compute @workgroup_size(LANES, ROWS)
fn grouped(@builtin(global_invocation_id) id: vec3u) {
    let n = id.x % BATCH;
    let q = id.x / BATCH;
    let k0 = id.y * TM;
    let p = id.z;
    if q >= Q || k0 >= K {
        return;
    }
    let first = k0 / OWN * MAPS;
    var sum: array<Numbers, TM>;
    for (var c = first; c < first + MAPS; c++) {
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
                let value = Numbers(x[((c * H + row) * W + column) * BATCH + n]);
                let at = ((c * R + r) * S + s) * OWN + k0 % OWN;
                @unroll for (var j = 0u; j < TM; j++) {
                    sum[j] = fma(Numbers(f32(w[at + j])), value, sum[j]);
                }
            }
        }
    }
    @unroll for (var j = 0u; j < TM; j++) {
        var value = sum[j];
        if BIAS {
            value += b[k0 + j];
        }
        y[(((k0 + j) * P + p) * Q + q) * BATCH + n] =
            MapNumbers(Numbers(activate(value.x), activate(value.y), activate(value.z), activate(value.w)));
    }
}
