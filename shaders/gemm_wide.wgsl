// The fully connected layer on [features][N] maps with weights [inputs K][outputs M]: four images a lane, 32 a
// workgroup, TM features.

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> w: array<Map4>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map4>;
@group(0) @binding(4) var<storage, read> dy: array<Map4>;
@group(0) @binding(5) var<storage, read_write> dx: array<Map4>;

@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = group.x * 8 + local.x;
    let m0 = group.y * TM;
    let own = min(m0 / 4 + min(local.x, TM / 4 - 1), M / 4 - 1);
    var sum: Sums;
    for (var k = 0u; k < K; k++) {
        add_quads(&sum, vec4f(w[k * (M / 4) + own]), vec4f(x[k * (N / 4) + n]));
    }
    var values: Results;
    for (var j = 0u; j < TM; j++) { // unrolled
        values[j] = sum[j];
    }
    for (var j = 0u; j < min(TM, M - m0); j++) {
        let at = (m0 + j) * (N / 4) + n;
        var value = values[j];
        if BIAS {
            value += b[m0 + j];
        }
        if ACCUMULATE {
            value += vec4f(y[at]);
        }
        y[at] = Map4(vec4f(activate(value.x), activate(value.y), activate(value.z), activate(value.w)));
    }
}

@compute @workgroup_size(8)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = group.x * 8 + local.x;
    let k0 = group.y * TM;
    var sum: Sums;
    var quads: array<vec4f, LOADS>;
    for (var m = 0u; m < M; m++) {
        if m % 4 == 0 {
            for (var l = 0u; l < LOADS; l++) { // unrolled
                quads[l] = vec4f(w[(min(k0 + l * 8 + local.x, K - 1) * M + m) / 4]);
            }
        }
        var weights: array<f32, LOADS>;
        for (var l = 0u; l < LOADS; l++) { // unrolled
            weights[l] = quads[l][m % 4];
        }
        add_rows(&sum, weights, vec4f(dy[m * (N / 4) + n]));
    }
    var values: Results;
    for (var j = 0u; j < TM; j++) { // unrolled
        values[j] = sum[j];
    }
    for (var j = 0u; j < min(TM, K - k0); j++) {
        let at = (k0 + j) * (N / 4) + n;
        if ACCUMULATE {
            values[j] += vec4f(dx[at]);
        }
        dx[at] = Map4(values[j]);
    }
}
