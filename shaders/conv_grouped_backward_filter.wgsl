// Gradient of a convolution in groups by its filters: dw[c][r][s][k] = sum over p, q, n of x[c][h][w][n]
// dy[k][p][q][n], for the filters k of c's group (shapes: `conv_grouped.wgsl`). A workgroup owns TM filters of one
// element of the window over one map; its threads share pixels and images and add up in the order of the threads.

@group(0) @binding(0) var<storage, read> x: array<MapNumbers>;
@group(0) @binding(1) var<storage, read> dy: array<MapNumbers>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;

const BATCH = N / VECTOR;
// Filters of a group.
const OWN = K / GROUPS;

var<workgroup> parts: array<f32, TM * THREADS>;

@compute @workgroup_size(THREADS)
fn grouped_backward_filter(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let r = group.x / S;
    let s = group.x % S;
    let k0 = group.y * TM;
    let c = group.z;
    let first = c / MAPS * OWN + k0;
    var sum: array<Numbers, TM>;
    for (var i = thread; i < P * Q * BATCH; i += THREADS) {
        let n = i % BATCH;
        let q = i / BATCH % Q;
        let p = i / (BATCH * Q);
        // Below zero wraps around to a large number and fails the comparison too.
        let row = p * STRIDE_Y + r * DILATION_Y - PAD_Y;
        let column = q * STRIDE_X + s * DILATION_X - PAD_X;
        if row < H && column < W {
            let value = Numbers(x[((c * H + row) * W + column) * BATCH + n]);
            @unroll for (var j = 0u; j < TM; j++) {
                sum[j] = fma(value, Numbers(dy[(((first + j) * P + p) * Q + q) * BATCH + n]), sum[j]);
            }
        }
    }
    @unroll for (var j = 0u; j < TM; j++) {
        parts[j * THREADS + thread] = sum[j].x + sum[j].y + sum[j].z + sum[j].w;
    }
    workgroupBarrier();
    if thread < TM {
        var total = 0.0;
        for (var other = 0u; other < THREADS; other++) {
            total += parts[thread * THREADS + other];
        }
        let at = ((c * R + r) * S + s) * OWN + k0 + thread;
        dw[at] = select(total, total + dw[at], ACCUMULATE);
    }
}
