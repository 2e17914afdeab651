// Gradient of a convolution by its filters: dw[c][r][s][k] = sum over p, q, n of x[c][h][w][n] dy[k][p][q][n].
// Lanes are images. A workgroup holds TC maps by S window columns by TK filters of one window row in registers,
// slides along the rows (STRIDE_X new input pixels and TK gradients a step) and sums over its lanes at the end.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read> dy: array<Map>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;

// Window columns that stay when the window moves on.
const KEPT = u32(max(i32(S) - i32(STRIDE_X), 0));
// Those that come in.
const FRESH = S - KEPT;

fn pixel(c: u32, row: u32, column: u32, n: u32) -> f32 {
    if c < MAPS && column < W {
        return f32(x[((c * H + row) * W + column) * N + n]);
    }
    return 0.0;
}

// Writes (or adds) one sum over all pixels and images, if it is one.
fn put(c: u32, r: u32, s: u32, k: u32, total: f32) {
    if c < MAPS && k < K {
        let at = ((c * R + r) * S + s) * K + k;
        dw[at] = select(total, total + dw[at], ACCUMULATE);
    }
}

const SUMS = TC * S * TK;

var<workgroup> lane_sums: array<f32, SUMS * LANES>;

// Sums over the lanes of a workgroup by way of its memory, in the order of the lanes; each lane finishes some of them.
// One barrier for all sums: software drivers compile a kernel with many in minutes.
fn reduce(sums: array<array<array<f32, TK>, S>, TC>, lane: u32, c0: u32, r: u32, k0: u32) {
    @unroll for (var i = 0u; i < TC; i++) {
        @unroll for (var s = 0u; s < S; s++) {
            @unroll for (var j = 0u; j < TK; j++) {
                lane_sums[((i * S + s) * TK + j) * LANES + lane] = sums[i][s][j];
            }
        }
    }
    workgroupBarrier();
    for (var a = lane; a < SUMS; a += LANES) {
        var total = 0.0;
        for (var other = 0u; other < LANES; other++) {
            total += lane_sums[a * LANES + other];
        }
        put(c0 + a / (S * TK), r, a / TK % S, k0 + a % TK, total);
    }
}

@compute @workgroup_size(LANES)
fn backward_filter(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c0 = group.x * TC;
    let r = group.y;
    let k0 = group.z * TK;
    var sum: array<array<array<f32, TK>, S>, TC>;
    for (var block = 0u; block < N; block += LANES) {
        let n = block + local.x;
        for (var p = 0u; p < P; p++) {
            // Below zero wraps around to a large number and fails the comparison too.
            let row = p * STRIDE_Y + r - PAD_Y;
            if row >= H {
                continue;
            }
            var window: array<array<f32, S>, TC>;
            @unroll for (var i = 0u; i < TC; i++) {
                @unroll for (var s = 0u; s < KEPT; s++) {
                    window[i][s + S - KEPT] = pixel(c0 + i, row, s - PAD_X, n);
                }
            }
            for (var q = 0u; q < Q; q++) {
                @unroll for (var i = 0u; i < TC; i++) {
                    @unroll for (var s = 0u; s < KEPT; s++) {
                        window[i][s] = window[i][s + S - KEPT];
                    }
                    @unroll for (var s = 0u; s < FRESH; s++) {
                        window[i][KEPT + s] = pixel(c0 + i, row, q * STRIDE_X + KEPT + s - PAD_X, n);
                    }
                }
                @unroll for (var j = 0u; j < TK; j++) {
                    var gradient = 0.0;
                    if K % TK == 0 || k0 + j < K {
                        gradient = f32(dy[(((k0 + j) * P + p) * Q + q) * N + n]);
                    }
                    @unroll for (var i = 0u; i < TC; i++) {
                        @unroll for (var s = 0u; s < S; s++) {
                            sum[i][s][j] = fma(window[i][s], gradient, sum[i][s][j]);
                        }
                    }
                }
            }
        }
    }
    reduce(sum, local.x, c0, r, k0);
}
