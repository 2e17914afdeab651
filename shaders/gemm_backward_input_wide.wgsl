// Gradient of a fully connected layer by its input: dx[k][n] = sum over m of w[k][m] dy[m][n], M outputs, K inputs, N
// images. VECTOR images a lane, a subgroup a workgroup, TM inputs.

@group(0) @binding(0) var<storage, read> w: array<Pair>;
@group(0) @binding(1) var<storage, read> dy: array<Quad>;
@group(0) @binding(2) var<storage, read_write> dx: array<Map4>;

@compute @workgroup_size(SUBGROUP)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = group.x * SUBGROUP + local.x;
    let k0 = group.y * TM;
    var sum: Sums;
    for (var m = 0u; m < M; m += 2u) {
        var weights: array<vec2f, LOADS>;
        @unroll for (var l = 0u; l < LOADS; l++) {
            weights[l] = pair(w[(min(k0 + l * SUBGROUP + local.x, K - 1) * M + m) / 2]);
        }
        let at = m * (N / VECTOR) + n;
        add_rows(&sum, weights, array<vec4f, 2>(quad(dy[at]), quad(dy[at + N / VECTOR])));
    }
    var values: Results;
    @unroll for (var j = 0u; j < TM; j++) {
        values[j] = sum[j];
    }
    for (var k = k0; k < min(k0 + TM, K); k++) {
        let at = k * (N / VECTOR) + n;
        var value = values[k - k0];
        if ACCUMULATE {
            value += vec4f(dx[at]);
        }
        dx[at] = Map4(value);
    }
}
