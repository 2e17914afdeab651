// Convolution, y[k][p][q][n] = f(sum over c, r, s of w[c][r][s][k] x[c][p*stride+r-pad][q*stride+s-pad][n] + b[k]), in
// cuDNN's letters: MAPS input maps of H x W pixels, K filters, P x Q output pixels, R x S window, N images. Images
// along lanes, TN of a lane LANES apart; a register tile of TM filters by TQ neighbouring output pixels, each input
// pixel of the row loaded once.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read> w: array<Map>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;

// Input pixels under TQ windows of one row.
const SEGMENT = (TQ - 1) * STRIDE_X + S;
const TILES_X = (Q + TQ - 1) / TQ;
const EXACT = K % TM == 0;

alias Sums = array<array<array<f32, TN>, TQ>, TM>;
alias Pixels = array<array<f32, TN>, SEGMENT>;

// Adds the products of column `s` of the window. Functions of their own for what is written out many times: naga takes
// the square of a function's length, and every driver puts them in place.
fn add_products(sum: ptr<function, Sums>, pixels: ptr<function, Pixels>, weights: array<f32, TM>, s: u32) {
    @unroll for (var j = 0u; j < TM; j++) {
        @unroll for (var t = 0u; t < TQ; t++) {
            @unroll for (var u = 0u; u < TN; u++) {
                (*sum)[j][t][u] = fma(weights[j], (*pixels)[t * STRIDE_X + s][u], (*sum)[j][t][u]);
            }
        }
    }
}

// Puts the sums of filter `k` at output pixels from (p, q0) on.
fn put(sums: array<array<f32, TN>, TQ>, k: u32, p: u32, q0: u32, n: u32) {
    var bias = 0.0;
    if BIAS {
        bias = b[k];
    }
    @unroll for (var t = 0u; t < TQ; t++) {
        @unroll for (var u = 0u; u < TN; u++) {
            if q0 + t < Q {
                let at = ((k * P + p) * Q + q0 + t) * N + n + u * LANES;
                var value = sums[t][u] + bias;
                if ACCUMULATE {
                    value += f32(y[at]);
                }
                y[at] = Map(activate(value));
            }
        }
    }
}

@compute @workgroup_size(LANES, ROWS)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let n = group.x * LANES * TN + local.x;
    let k0 = row_of_tiles(group.y, local.y) * TM;
    let p = group.z / TILES_X;
    let q0 = (group.z % TILES_X) * TQ;
    if k0 >= K {
        return;
    }
    var sum: Sums;
    for (var c = 0u; c < MAPS; c++) {
        for (var r = 0u; r < R; r++) {
            // Below zero wraps around to a large number and fails the comparison too.
            let row = p * STRIDE_Y + r - PAD_Y;
            if row >= H {
                continue;
            }
            let line = (c * H + row) * W * N + n;
            var pixels: Pixels;
            @unroll for (var i = 0u; i < SEGMENT; i++) {
                let column = q0 * STRIDE_X + i - PAD_X;
                @unroll for (var u = 0u; u < TN; u++) {
                    pixels[i][u] = 0.0;
                    if column < W {
                        pixels[i][u] = f32(x[line + column * N + u * LANES]);
                    }
                }
            }
            @unroll for (var s = 0u; s < S; s++) {
                let weights = fetch(((c * R + r) * S + s) * K + k0, 1u, K - k0, local.x);
                add_products(&sum, &pixels, weights, s);
            }
        }
    }
    @unroll for (var j = 0u; j < TM; j++) {
        if EXACT || k0 + j < K {
            put(sum[j], k0 + j, p, q0, n);
        }
    }
}
