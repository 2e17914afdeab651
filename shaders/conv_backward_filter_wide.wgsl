// Gradient of a convolution by its filters, dw[c][r][s][k] = sum over p, q, n of x[c][h][w][n] dy[k][p][q][n], as the
// product of a matrix of C·R·S rows and one of K columns: lanes are filters, a lane holds TM rows by TK filters, 8
// apart. Four images are loaded at once; lane h loads the rows h, h+8 and so on for all.

@group(0) @binding(0) var<storage, read> x: array<Quad>;
@group(0) @binding(1) var<storage, read> dy: array<Quad>;
@group(0) @binding(2) var<storage, read_write> dw: array<f32>;

const LOADS = TM / SUBGROUP;
const WINDOWS = MAPS * R * S;

@compute @workgroup_size(SUBGROUP)
fn backward_filter(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let k0 = group.x * SUBGROUP * TK + local.x;
    let row0 = group.y * TM;
    var map: array<u32, LOADS>;
    var top: array<u32, LOADS>;
    var left: array<u32, LOADS>;
    @unroll for (var l = 0u; l < LOADS; l++) {
        let row = min(row0 + l * SUBGROUP + local.x, WINDOWS - 1);
        map[l] = row / (R * S) * H * W;
        top[l] = row / S % R - PAD_Y;
        left[l] = row % S - PAD_X;
    }
    var sum: array<array<f32, TK>, TM>;
    for (var p = 0u; p < P; p++) {
        for (var q = 0u; q < Q; q++) {
            var inside: array<bool, LOADS>;
            var pixel: array<u32, LOADS>;
            @unroll for (var l = 0u; l < LOADS; l++) {
                // Below zero wraps around to a large number and fails the comparison too.
                let row = top[l] + p * STRIDE_Y;
                let column = left[l] + q * STRIDE_X;
                inside[l] = row < H && column < W;
                pixel[l] = select(0u, (map[l] + row * W + column) * (N / VECTOR), inside[l]);
            }
            var gradient: array<u32, TK>;
            @unroll for (var t = 0u; t < TK; t++) {
                gradient[t] = ((min(k0 + t * SUBGROUP, K - 1) * P + p) * Q + q) * (N / VECTOR);
            }
            for (var n = 0u; n < N / VECTOR; n++) {
                var values: array<vec4f, LOADS>;
                @unroll for (var l = 0u; l < LOADS; l++) {
                    values[l] = select(vec4f(), quad(x[pixel[l] + n]), inside[l]);
                }
                var gradients: array<vec4f, TK>;
                @unroll for (var t = 0u; t < TK; t++) {
                    gradients[t] = quad(dy[gradient[t] + n]);
                }
                @unroll for (var j = 0u; j < TM; j++) {
                    let own = subgroupShuffle(values[j / SUBGROUP], j % SUBGROUP);
                    @unroll for (var t = 0u; t < TK; t++) {
                        var total = sum[j][t];
                        @unroll for (var i = 0u; i < 4; i++) {
                            total = fma(own[i], gradients[t][i], total);
                        }
                        sum[j][t] = total;
                    }
                }
            }
        }
    }
    // For a loop that is not written out, as in the wide tile.
    var values: array<array<f32, TK>, TM + 1>;
    @unroll for (var j = 0u; j < TM; j++) {
        values[j] = sum[j];
    }
    for (var row = row0; row < min(row0 + TM, WINDOWS); row++) {
        let j = row - row0;
        @unroll for (var t = 0u; t < TK; t++) {
            if k0 + t * SUBGROUP < K {
                let at = row * K + k0 + t * SUBGROUP;
                if ACCUMULATE {
                    values[j][t] += dw[at];
                }
                dw[at] = values[j][t];
            }
        }
    }
}
