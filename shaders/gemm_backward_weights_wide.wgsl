// Gradient of a fully connected layer by its weights: dw[k][m] = sum over n of x[k][n] dy[m][n]. Lanes are outputs,
// four each, so that rows of dw are written four at a time; a lane holds TM inputs by its outputs. Four images are
// loaded at once; lane h loads the inputs h, h+8 and so on for all.

@group(0) @binding(0) var<storage, read> x: array<Quad>;
@group(0) @binding(1) var<storage, read> dy: array<Quad>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

const LOADS = TM / SUBGROUP;

@compute @workgroup_size(SUBGROUP)
fn backward_weights(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let column = group.x * SUBGROUP + local.x;
    let k0 = group.y * TM;
    var sum: array<vec4f, TM>;
    for (var n = 0u; n < N / VECTOR; n++) {
        var values: array<vec4f, LOADS>;
        @unroll for (var l = 0u; l < LOADS; l++) {
            values[l] = quad(x[min(k0 + l * SUBGROUP + local.x, K - 1) * (N / VECTOR) + n]);
        }
        var gradients: array<vec4f, 4>;
        @unroll for (var t = 0u; t < 4; t++) {
            gradients[t] = quad(dy[(min(column, M / VECTOR - 1) * 4 + t) * (N / VECTOR) + n]);
        }
        // By images: what four outputs have of each.
        var images: array<vec4f, 4>;
        @unroll for (var i = 0u; i < 4; i++) {
            images[i] = vec4f(gradients[0][i], gradients[1][i], gradients[2][i], gradients[3][i]);
        }
        @unroll for (var j = 0u; j < TM; j++) {
            let own = subgroupShuffle(values[j / SUBGROUP], j % SUBGROUP);
            var total = sum[j];
            @unroll for (var i = 0u; i < 4; i++) {
                total = fma(vec4f(own[i]), images[i], total);
            }
            sum[j] = total;
        }
    }
    if column >= M / VECTOR {
        return;
    }
    // For a loop that is not written out, as in the wide tile.
    var values: array<vec4f, TM + 1>;
    @unroll for (var j = 0u; j < TM; j++) {
        values[j] = sum[j];
    }
    for (var k = k0; k < min(k0 + TM, K); k++) {
        let at = k * (M / VECTOR) + column;
        var value = values[k - k0];
        if ACCUMULATE {
            value += dw[at];
        }
        dw[at] = value;
    }
}
