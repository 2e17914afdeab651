// Gradient of a convolution by its input: dx[c][h][w][n] = sum over k, r, s of w[c][r][s][k] dy[k][p][q][n] where
// p·stride + r - pad = h and q·stride + s - pad = w. VECTOR images a lane, a subgroup a workgroup, TM maps of one input
// pixel.

@group(0) @binding(0) var<storage, read> w: array<Pair>;
@group(0) @binding(1) var<storage, read> dy: array<Quad>;
@group(0) @binding(2) var<storage, read> x: array<Map4>;
@group(0) @binding(3) var<storage, read_write> dx: array<Map4>;

// From one map to the next, in vectors.
const PLANE = P * Q * N / VECTOR;

@compute @workgroup_size(SUBGROUP)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = group.x * SUBGROUP + local.x;
    let c0 = group.y * TM;
    let row = group.z / W;
    let column = group.z % W;
    var sum: Sums;
    for (var r = 0u; r < R; r++) {
        // Below zero wraps around to a large number and fails the comparison too.
        let p = (row + PAD_Y - r) / STRIDE_Y;
        if (row + PAD_Y - r) % STRIDE_Y != 0 || p >= P {
            continue;
        }
        for (var s = 0u; s < S; s++) {
            let q = (column + PAD_X - s) / STRIDE_X;
            if (column + PAD_X - s) % STRIDE_X != 0 || q >= Q {
                continue;
            }
            let gradient = (p * Q + q) * (N / VECTOR) + n;
            for (var k = 0u; k < K; k += 2u) {
                var weights: array<vec2f, LOADS>;
                @unroll for (var l = 0u; l < LOADS; l++) {
                    let c = min(c0 + l * SUBGROUP + local.x, MAPS - 1);
                    weights[l] = pair(w[(((c * R + r) * S + s) * K + k) / 2]);
                }
                let at = gradient + k * PLANE;
                add_rows(&sum, weights, array<vec4f, 2>(quad(dy[at]), quad(dy[at + PLANE])));
            }
        }
    }
    var values: Results;
    @unroll for (var j = 0u; j < TM; j++) {
        values[j] = sum[j];
    }
    for (var c = c0; c < min(c0 + TM, MAPS); c++) {
        let at = ((c * H + row) * W + column) * (N / VECTOR) + n;
        var value = values[c - c0];
        if ACCUMULATE {
            value += vec4f(dx[at]);
        }
        if ACTIVATION != LINEAR {
            value = through(value, vec4f(x[at]));
        }
        dx[at] = Map4(value);
    }
}
