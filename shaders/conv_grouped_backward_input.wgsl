// Gradient of a convolution in groups by its input: dx[c][h][w][n] = sum over k of c's group, r, s of w[c][r][s][k]
// dy[k][p][q][n] where p·stride + r·dilation - pad = h and so along columns (shapes: `conv_grouped.wgsl`). A thread
// owns TM maps of one input pixel for VECTOR images.

@group(0) @binding(0) var<storage, read> w: array<Map>;
@group(0) @binding(1) var<storage, read> dy: array<MapNumbers>;
@group(0) @binding(2) var<storage, read> x: array<MapNumbers>;
@group(0) @binding(3) var<storage, read_write> dx: array<MapNumbers>;

const BATCH = N / VECTOR;
// Filters of a group.
const OWN = K / GROUPS;

@compute @workgroup_size(LANES, ROWS)
fn grouped_backward_input(@builtin(global_invocation_id) id: vec3u) {
    let n = id.x % BATCH;
    let column = id.x / BATCH;
    let c0 = id.y * TM;
    let row = id.z;
    if column >= W || c0 >= GROUPS * MAPS {
        return;
    }
    let first = c0 / MAPS * OWN;
    var sum: array<Numbers, TM>;
    for (var r = 0u; r < R; r++) {
        // Below zero wraps around to a large number and fails the comparison too.
        let down = row + PAD_Y - r * DILATION_Y;
        let p = down / STRIDE_Y;
        if down % STRIDE_Y != 0 || p >= P {
            continue;
        }
        for (var s = 0u; s < S; s++) {
            let across = column + PAD_X - s * DILATION_X;
            let q = across / STRIDE_X;
            if across % STRIDE_X != 0 || q >= Q {
                continue;
            }
            for (var k = 0u; k < OWN; k++) {
                let gradient = Numbers(dy[(((first + k) * P + p) * Q + q) * BATCH + n]);
                @unroll for (var j = 0u; j < TM; j++) {
                    let weight = f32(w[(((c0 + j) * R + r) * S + s) * OWN + k]);
                    sum[j] = fma(Numbers(weight), gradient, sum[j]);
                }
            }
        }
    }
    @unroll for (var j = 0u; j < TM; j++) {
        let at = (((c0 + j) * H + row) * W + column) * BATCH + n;
        dx[at] = MapNumbers(through(sum[j], Numbers(x[at])));
    }
}
