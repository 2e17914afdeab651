// Sums of the wide tile (`wide.wgsl`) where weights lie side by side by steps of the contraction: two steps a trip.

// Weights a lane holds where its rows are 8 apart.
const LOADS = (TM + SUBGROUP - 1) / SUBGROUP;

// sum[j] += weight j · value of two steps, lane h of the subgroup holding the weights h, h+8, h+16 and so on.
fn add_rows(sum: ptr<function, Sums>, weights: array<vec2f, LOADS>, values: array<vec4f, 2>) {
    @unroll for (var j = 0u; j < TM; j++) {
        let own = subgroupShuffle(weights[j / SUBGROUP], j % SUBGROUP);
        (*sum)[j] = fma(vec4f(own.y), values[1], fma(vec4f(own.x), values[0], (*sum)[j]));
    }
}
