// The fully connected layer, y[m][n] = f(sum over k of w[k][m] x[k][n] + b[m]), and its gradient by the input,
// dx[k][n] = sum over m of w[k][m] dy[m][n]: M outputs, K inputs, N images. Images along lanes, a register
// tile of TM features by TN images a lane, LANES apart.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read> w: array<Map>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map>;
@group(0) @binding(4) var<storage, read> dy: array<Map>;
@group(0) @binding(5) var<storage, read_write> dx: array<Map>;

// The tile's features fill the output exactly; known for the direction that is compiled.
const EXACT = select(M, K, BY_INPUT) % TM == 0;

// First of the images of a lane; the images of one workgroup lie together.
fn first_image(group: u32, lane: u32) -> u32 {
    return group * LANES * TN + lane;
}

@compute @workgroup_size(LANES, ROWS)
fn forward(
    @builtin(workgroup_id) group: vec3u,
    @builtin(global_invocation_id) id: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let n = first_image(group.x, local.x);
    let m0 = id.y * TM;
    if m0 >= M {
        return;
    }
    var sum: array<array<f32, TN>, TM>;
    for (var k = 0u; k < K; k++) {
        let weights = fetch(k * M + m0, 1u, M - m0, local.x);
        @unroll for (var t = 0u; t < TN; t++) {
            let value = f32(x[k * N + n + t * LANES]);
            @unroll for (var j = 0u; j < TM; j++) {
                sum[j][t] = fma(weights[j], value, sum[j][t]);
            }
        }
    }
    @unroll for (var j = 0u; j < TM; j++) {
        if EXACT || m0 + j < M {
            var bias = 0.0;
            if BIAS {
                bias = b[m0 + j];
            }
            @unroll for (var t = 0u; t < TN; t++) {
                let at = (m0 + j) * N + n + t * LANES;
                var value = sum[j][t] + bias;
                if ACCUMULATE {
                    value += f32(y[at]);
                }
                y[at] = Map(activate(value));
            }
        }
    }
}

@compute @workgroup_size(LANES, ROWS)
fn backward_input(
    @builtin(workgroup_id) group: vec3u,
    @builtin(global_invocation_id) id: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let n = first_image(group.x, local.x);
    let k0 = id.y * TM;
    if k0 >= K {
        return;
    }
    var sum: array<array<f32, TN>, TM>;
    for (var m = 0u; m < M; m++) {
        let weights = fetch(k0 * M + m, M, K - k0, local.x);
        @unroll for (var t = 0u; t < TN; t++) {
            let gradient = f32(dy[m * N + n + t * LANES]);
            @unroll for (var j = 0u; j < TM; j++) {
                sum[j][t] = fma(weights[j], gradient, sum[j][t]);
            }
        }
    }
    @unroll for (var j = 0u; j < TM; j++) {
        if EXACT || k0 + j < K {
            @unroll for (var t = 0u; t < TN; t++) {
                let at = (k0 + j) * N + n + t * LANES;
                if ACCUMULATE {
                    sum[j][t] += f32(dx[at]);
                }
                dx[at] = Map(sum[j][t]);
            }
        }
    }
}
