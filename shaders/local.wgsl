// Untied local layer: a convolution whose filters differ from one output pixel to the next, in cuDNN's letters.
// x [MAPS][H][W][N], w [P][Q][MAPS][R][S][K], b [K][P][Q], y [K][P][Q][N]. An invocation takes VECTOR images, and TILE
// filters (forward, by filter) or input maps (by input): what they share is loaded once.

@group(0) @binding(0) var<storage, read> x: array<MapNumbers>;
@group(0) @binding(1) var<storage, read> w: array<Map>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<MapNumbers>;
@group(0) @binding(4) var<storage, read> dy: array<MapNumbers>;
@group(0) @binding(5) var<storage, read_write> dx: array<MapNumbers>;
@group(0) @binding(6) var<storage, read_write> dw: array<f32>;

const BATCH = N / VECTOR;
const WINDOW = MAPS * R * S;
const FORWARD_ITEMS = K / TILE * P * Q * BATCH;
const INPUT_ITEMS = MAPS / TILE * H * W * BATCH;
const FILTER_ITEMS = P * Q * WINDOW * (K / TILE);

// y[k][p][q][n] = f(sum over c, r, s of w[p][q][c][r][s][k] x[c][p*stride+r-pad][q*stride+s-pad][n] + b[k][p][q]).
@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < FORWARD_ITEMS; item += groups.x * WORKGROUP) {
        let n = item % BATCH;
        let pixel = item / BATCH % (P * Q);
        let k0 = item / BATCH / (P * Q) * TILE;
        var sum: array<Numbers, TILE>;
        @unroll for (var j = 0u; j < TILE; j++) {
            sum[j] = Numbers();
        }
        for (var c = 0u; c < MAPS; c++) {
            for (var r = 0u; r < R; r++) {
                // Below zero wraps around to a large number and fails the comparison too.
                let row = pixel / Q * STRIDE + r - PAD;
                if row >= H {
                    continue;
                }
                for (var s = 0u; s < S; s++) {
                    let column = pixel % Q * STRIDE + s - PAD;
                    if column < W {
                        let value = Numbers(x[((c * H + row) * W + column) * BATCH + n]);
                        let weights = (pixel * WINDOW + (c * R + r) * S + s) * K + k0;
                        @unroll for (var j = 0u; j < TILE; j++) {
                            sum[j] += f32(w[weights + j]) * value;
                        }
                    }
                }
            }
        }
        @unroll for (var j = 0u; j < TILE; j++) {
            let place = (k0 + j) * P * Q + pixel;
            var total = sum[j];
            if BIAS {
                total += b[place];
            }
            if ACCUMULATE {
                total += Numbers(y[place * BATCH + n]);
            }
            @unroll for (var u = 0u; u < VECTOR; u++) {
                total[u] = activate(total[u]);
            }
            y[place * BATCH + n] = MapNumbers(total);
        }
    }
}

// dx[c][h][w][n] = sum over k, r, s of w[p][q][c][r][s][k] dy[k][p][q][n], where p*stride+r-pad = h and q*stride+s-pad
// = w.
@compute @workgroup_size(WORKGROUP)
fn backward_input(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < INPUT_ITEMS; item += groups.x * WORKGROUP) {
        let n = item % BATCH;
        let pixel = item / BATCH % (H * W);
        let c0 = item / BATCH / (H * W) * TILE;
        var sum: array<Numbers, TILE>;
        @unroll for (var j = 0u; j < TILE; j++) {
            sum[j] = Numbers();
        }
        for (var r = 0u; r < R; r++) {
            let down = pixel / W + PAD - r;
            if down % STRIDE != 0 || down / STRIDE >= P {
                continue;
            }
            for (var s = 0u; s < S; s++) {
                let across = pixel % W + PAD - s;
                if across % STRIDE == 0 && across / STRIDE < Q {
                    let place = down / STRIDE * Q + across / STRIDE;
                    for (var k = 0u; k < K; k++) {
                        let value = Numbers(dy[(k * P * Q + place) * BATCH + n]);
                        @unroll for (var j = 0u; j < TILE; j++) {
                            sum[j] += f32(w[(place * WINDOW + ((c0 + j) * R + r) * S + s) * K + k]) * value;
                        }
                    }
                }
            }
        }
        @unroll for (var j = 0u; j < TILE; j++) {
            dx[((c0 + j) * H * W + pixel) * BATCH + n] = MapNumbers(sum[j]);
        }
    }
}

// dw[p][q][c][r][s][k] = sum over n of x[c][p*stride+r-pad][q*stride+s-pad][n] dy[k][p][q][n].
@compute @workgroup_size(WORKGROUP)
fn backward_filter(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < FILTER_ITEMS; item += groups.x * WORKGROUP) {
        let k0 = item % (K / TILE) * TILE;
        let weight = item / (K / TILE);
        let pixel = weight / WINDOW;
        let row = pixel / Q * STRIDE + weight / S % R - PAD;
        let column = pixel % Q * STRIDE + weight % S - PAD;
        let c = weight / (R * S) % MAPS;
        var sum: array<Numbers, TILE>;
        @unroll for (var j = 0u; j < TILE; j++) {
            sum[j] = Numbers();
        }
        if row < H && column < W {
            for (var n = 0u; n < BATCH; n++) {
                let value = Numbers(x[((c * H + row) * W + column) * BATCH + n]);
                @unroll for (var j = 0u; j < TILE; j++) {
                    sum[j] += value * Numbers(dy[((k0 + j) * P * Q + pixel) * BATCH + n]);
                }
            }
        }
        @unroll for (var j = 0u; j < TILE; j++) {
            var total = 0.0;
            @unroll for (var u = 0u; u < VECTOR; u++) {
                total += sum[j][u];
            }
            if ACCUMULATE {
                total += dw[weight * K + k0 + j];
            }
            dw[weight * K + k0 + j] = total;
        }
    }
}
