// Gradient of a fully connected layer by its weights: dw[k][m] = sum over n of x[k][n] dy[m][n]. Lanes are outputs,
// four each, so that rows of dw are written four at a time; a lane holds TM inputs by its outputs. Four images are
// loaded at once; lane h loads the inputs h, h+8 and so on for all.

@group(0) @binding(0) var<storage, read> x: array<Quad>;
@group(0) @binding(1) var<storage, read> dy: array<Quad>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

const LOADS = TM / 8;

@compute @workgroup_size(8)
fn backward_weights(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let column = group.x * 8 + local.x;
    let k0 = group.y * TM;
    var sum: array<vec4f, TM>;
    for (var n = 0u; n < N / 4; n++) {
        var values: array<vec4f, LOADS>;
        for (var l = 0u; l < LOADS; l++) { // unrolled
            values[l] = quad(x[min(k0 + l * 8 + local.x, K - 1) * (N / 4) + n]);
        }
        var gradients: array<vec4f, 4>;
        for (var t = 0u; t < 4; t++) { // unrolled
            gradients[t] = quad(dy[(min(column, M / 4 - 1) * 4 + t) * (N / 4) + n]);
        }
        // By images: what four outputs have of each.
        var images: array<vec4f, 4>;
        for (var i = 0u; i < 4; i++) { // unrolled
            images[i] = vec4f(gradients[0][i], gradients[1][i], gradients[2][i], gradients[3][i]);
        }
        for (var j = 0u; j < TM; j++) { // unrolled
            let own = subgroupShuffle(values[j / 8], j % 8);
            var total = sum[j];
            for (var i = 0u; i < 4; i++) { // unrolled
                total = fma(vec4f(own[i]), images[i], total);
            }
            sum[j] = total;
        }
    }
    if column >= M / 4 {
        return;
    }
    // For a loop that is not written out, as in the wide tile.
    var values: array<vec4f, TM + 1>;
    for (var j = 0u; j < TM; j++) { // unrolled
        values[j] = sum[j];
    }
    for (var k = k0; k < min(k0 + TM, K); k++) {
        let at = k * (M / 4) + column;
        var value = values[k - k0];
        if ACCUMULATE {
            value += dw[at];
        }
        dw[at] = value;
    }
}
