// Sums of the wide tile (`wide.wgsl`) where weights lie side by side by rows of the tile: STEPS steps a trip.

// sum[j] += weight j · value of every step, lane h of the subgroup holding the weights 4h to 4h+3.
fn add_quads(sum: ptr<function, Sums>, weights: array<vec4f, STEPS>, values: array<vec4f, STEPS>) {
    @unroll for (var j = 0u; j < TM; j++) {
        var total = (*sum)[j];
        @unroll for (var t = 0u; t < STEPS; t++) {
            total = fma(vec4f(subgroupShuffle(weights[t], j / 4)[j % 4]), values[t], total);
        }
        (*sum)[j] = total;
    }
}
