// The fully connected layer, y[m][n] = f(sum over k of w[k][m] x[k][n] + b[m]), M outputs, K inputs, N images: VECTOR
// images a lane, a subgroup a workgroup, TM outputs.

@group(0) @binding(0) var<storage, read> x: array<Quad>;
@group(0) @binding(1) var<storage, read> w: array<Quad>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map4>;

@compute @workgroup_size(SUBGROUP)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let n = group.x * SUBGROUP + local.x;
    let m0 = group.y * TM;
    let own = min(m0 / 4 + min(local.x, TM / 4 - 1), M / 4 - 1);
    var sum: Sums;
    for (var k = 0u; k < K; k += STEPS) {
        var weights: array<vec4f, STEPS>;
        var values: array<vec4f, STEPS>;
        @unroll for (var t = 0u; t < STEPS; t++) {
            weights[t] = quad(w[(k + t) * (M / 4) + own]);
            values[t] = quad(x[(k + t) * (N / VECTOR) + n]);
        }
        add_quads(&sum, weights, values);
    }
    var values: Results;
    @unroll for (var j = 0u; j < TM; j++) {
        values[j] = sum[j];
    }
    for (var m = m0; m < min(m0 + TM, M); m++) {
        let at = m * (N / VECTOR) + n;
        var value = values[m - m0];
        if BIAS {
            value += b[m];
        }
        if ACCUMULATE {
            value += vec4f(y[at]);
        }
        y[at] = Map4(vec4f(activate(value.x), activate(value.y), activate(value.z), activate(value.w)));
    }
}
