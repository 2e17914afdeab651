// Gradient of a fully connected layer by its weights: dw[k][m] = sum over n of x[k][n] dy[m][n]. Lanes are outputs,
// so that rows of dw are written whole; an invocation holds TK inputs by TG outputs, LANES apart.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read> dy: array<Map4>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;

// Eight neighbouring values of x.
fn row(at: u32) -> array<f32, 8> {
    var values: array<f32, 8>;
    @unroll for (var i = 0u; i < 8; i++) {
        values[i] = f32(x[at + i]);
    }
    return values;
}

@compute @workgroup_size(LANES, ROWS)
fn backward_weights(
    @builtin(workgroup_id) group: vec3u,
    @builtin(global_invocation_id) id: vec3u,
    @builtin(local_invocation_id) local: vec3u,
) {
    let m0 = group.x * LANES * TG + local.x;
    let k0 = id.y * TK;
    var sum: array<array<f32, TG>, TK>;
    for (var n0 = 0u; n0 < N; n0 += 8) {
        var gradients: array<array<vec4f, 2>, TG>;
        @unroll for (var g = 0u; g < TG; g++) {
            let at = min(m0 + g * LANES, M - 1) * N + n0;
            gradients[g] = array(vec4f(dy[at / 4]), vec4f(dy[at / 4 + 1]));
        }
        @unroll for (var j = 0u; j < TK; j++) {
            let values = row(min(k0 + j, K - 1) * N + n0);
            @unroll for (var i = 0u; i < 8; i++) {
                @unroll for (var g = 0u; g < TG; g++) {
                    sum[j][g] = fma(values[i], gradients[g][i / 4][i % 4], sum[j][g]);
                }
            }
        }
    }
    @unroll for (var j = 0u; j < TK; j++) {
        @unroll for (var g = 0u; g < TG; g++) {
            let m = m0 + g * LANES;
            if k0 + j < K && m < M {
                let at = (k0 + j) * M + m;
                if ACCUMULATE {
                    sum[j][g] += dw[at];
                }
                dw[at] = sum[j][g];
            }
        }
    }
}
