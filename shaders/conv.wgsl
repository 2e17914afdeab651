// Convolution on [C][H][W][N] maps with weights [C][R][S][K]: images along lanes, a register tile of TM filters by
// TQ neighbouring output pixels (by input: TM maps by TQ input pixels), each input pixel of the row loaded once.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read> w: array<Map>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;

// Input pixels under TQ windows of one row.
const SEGMENT = (TQ - 1) * STRIDE_X + S;
const TILES_X = (Q + TQ - 1) / TQ;
const EXACT = K % TM == 0;

@compute @workgroup_size(LANES, ROWS)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = id.x;
    let k0 = id.y * TM;
    let p = id.z / TILES_X;
    let q0 = (id.z % TILES_X) * TQ;
    if k0 >= K {
        return;
    }
    var sum: array<array<f32, TQ>, TM>;
    for (var c = 0u; c < MAPS; c++) {
        for (var r = 0u; r < R; r++) {
            // Below zero wraps around to a large number and fails the comparison too.
            let row = p * STRIDE_Y + r - PAD_Y;
            if row >= H {
                continue;
            }
            let line = (c * H + row) * W * N + n;
            var pixels: array<f32, SEGMENT>;
            for (var i = 0u; i < SEGMENT; i++) { // unrolled
                let column = q0 * STRIDE_X + i - PAD_X;
                pixels[i] = 0.0;
                if column < W {
                    pixels[i] = f32(x[line + column * N]);
                }
            }
            for (var s = 0u; s < S; s++) { // unrolled
                let weights = fetch(((c * R + r) * S + s) * K + k0, 1u, K - k0, local.x);
                for (var j = 0u; j < TM; j++) { // unrolled
                    for (var t = 0u; t < TQ; t++) { // unrolled
                        sum[j][t] = fma(weights[j], pixels[t * STRIDE_X + s], sum[j][t]);
                    }
                }
            }
        }
    }
    for (var j = 0u; j < TM; j++) { // unrolled
        if EXACT || k0 + j < K {
            var bias = 0.0;
            if BIAS {
                bias = b[k0 + j];
            }
            for (var t = 0u; t < TQ; t++) { // unrolled
                if q0 + t < Q {
                    let at = (((k0 + j) * P + p) * Q + q0 + t) * N + n;
                    var value = sum[j][t] + bias;
                    if ACCUMULATE {
                        value += f32(y[at]);
                    }
                    y[at] = Map(activate(value));
                }
            }
        }
    }
}
