// TM weights for one step of a contraction: each lane of a subgroup loads every SUBGROUP-th and hands it to the others.
// Where a load costs as much as ten multiplications (software drivers) this is most of the speed.

const GROUPS = TM / SUBGROUP;

// The row of tiles of an invocation: a workgroup is one subgroup, so that all take part wherever weights are handed
// around, which compilers have to see.
fn row_of_tiles(group: u32, local: u32) -> u32 {
    return group;
}

fn fetch(base: u32, stride: u32, limit: u32, lane: u32) -> array<f32, TM> {
    var own: array<f32, GROUPS>;
    @unroll for (var g = 0u; g < GROUPS; g++) {
        let j = g * SUBGROUP + lane;
        own[g] = f32(w[base + select(min(j, limit - 1), j, EXACT) * stride]);
    }
    var values: array<f32, TM>;
    @unroll for (var j = 0u; j < TM; j++) {
        values[j] = subgroupShuffle(own[j / SUBGROUP], j % SUBGROUP);
    }
    return values;
}
