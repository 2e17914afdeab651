// TM weights for one step of a contraction: each of 8 lanes loads every eighth and hands it to the others. Where
// a load costs as much as ten multiplications (software drivers) this is most of the speed.

const GROUPS = TM / 8;

fn fetch(base: u32, stride: u32, limit: u32, lane: u32) -> array<f32, TM> {
    var own: array<f32, GROUPS>;
    for (var g = 0u; g < GROUPS; g++) { // unrolled
        let j = g * 8 + lane;
        own[g] = f32(w[base + select(min(j, limit - 1), j, EXACT) * stride]);
    }
    var values: array<f32, TM>;
    for (var j = 0u; j < TM; j++) { // unrolled
        values[j] = subgroupShuffle(own[j / 8], j % 8);
    }
    return values;
}
