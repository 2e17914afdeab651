// Gradient of a convolution by its input: dx[c][h][w][n] = sum over k, r, s of w[c][r][s][k] dy[k][p][q][n] where
// p·stride + r - pad = h and q·stride + s - pad = w. The forward kernel's shape: TN images a lane, a register
// tile of TM maps by TX neighbouring input pixels; TX is a multiple of the stride, so which window column meets
// which pixel is known to the compiler.

@group(0) @binding(0) var<storage, read> w: array<Map>;
@group(0) @binding(1) var<storage, read> dy: array<Map>;
@group(0) @binding(2) var<storage, read> x: array<Map>;
@group(0) @binding(3) var<storage, read_write> dx: array<Map>;

// Output column of the first pixel's last window column, shifted by S to stay above zero.
const FIRST = (PAD_X + 1 + S * STRIDE_X - S) / STRIDE_X;
const SEGMENT = (TX - 1 + PAD_X + S * STRIDE_X) / STRIDE_X - FIRST + 1;
const TILES_X = (W + TX - 1) / TX;
const EXACT = MAPS % TM == 0;

alias Sums = array<array<array<f32, TN>, TX>, TM>;
alias Gradients = array<array<f32, TN>, SEGMENT>;

// Adds the products of column `s` of the window (a function for naga's sake: `conv.wgsl`).
fn add_products(sum: ptr<function, Sums>, gradients: ptr<function, Gradients>, weights: array<f32, TM>, s: u32) {
    @unroll for (var t = 0u; t < TX; t++) {
        let offset = t + PAD_X + S * STRIDE_X - s;
        if offset % STRIDE_X == 0 {
            let column = offset / STRIDE_X - FIRST;
            @unroll for (var j = 0u; j < TM; j++) {
                @unroll for (var u = 0u; u < TN; u++) {
                    (*sum)[j][t][u] = fma(weights[j], (*gradients)[column][u], (*sum)[j][t][u]);
                }
            }
        }
    }
}

// Puts the sums of map `c` at input pixels from (row, column0) on.
fn put(sums: array<array<f32, TN>, TX>, c: u32, row: u32, column0: u32, n: u32) {
    @unroll for (var t = 0u; t < TX; t++) {
        @unroll for (var u = 0u; u < TN; u++) {
            if column0 + t < W {
                let at = ((c * H + row) * W + column0 + t) * N + n + u * LANES;
                var total = sums[t][u];
                if ACCUMULATE {
                    total += f32(dx[at]);
                }
                if ACTIVATION != LINEAR {
                    total = through(vec4f(total), vec4f(f32(x[at]))).x;
                }
                dx[at] = Map(total);
            }
        }
    }
}

@compute @workgroup_size(LANES, ROWS)
fn backward_input(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let n = group.x * LANES * TN + local.x;
    let c0 = row_of_tiles(group.y, local.y) * TM;
    let row = group.z / TILES_X;
    let column0 = (group.z % TILES_X) * TX;
    if c0 >= MAPS {
        return;
    }
    var sum: Sums;
    for (var k = 0u; k < K; k++) {
        for (var r = 0u; r < R; r++) {
            // Below zero wraps around to a large number and fails the comparison too.
            let p = (row + PAD_Y - r) / STRIDE_Y;
            if (row + PAD_Y - r) % STRIDE_Y != 0 || p >= P {
                continue;
            }
            let line = (k * P + p) * Q * N + n;
            var gradients: Gradients;
            @unroll for (var i = 0u; i < SEGMENT; i++) {
                let q = column0 / STRIDE_X + FIRST + i - S;
                @unroll for (var u = 0u; u < TN; u++) {
                    gradients[i][u] = 0.0;
                    if q < Q {
                        gradients[i][u] = f32(dy[line + q * N + u * LANES]);
                    }
                }
            }
            @unroll for (var s = 0u; s < S; s++) {
                let weights = fetch(((c0 * R + r) * S + s) * K + k, R * S * K, MAPS - c0, local.x);
                add_products(&sum, &gradients, weights, s);
            }
        }
    }
    @unroll for (var j = 0u; j < TM; j++) {
        if EXACT || c0 + j < MAPS {
            put(sum[j], c0 + j, row, column0, n);
        }
    }
}
