// Sums over the lanes of a workgroup that is one subgroup, in the driver's fixed order.

fn reduce(sums: array<array<array<f32, TK>, S>, TC>, lane: u32, c0: u32, r: u32, k0: u32) {
    for (var i = 0u; i < TC; i++) {
        for (var s = 0u; s < S; s++) {
            for (var j = 0u; j < TK; j++) {
                let total = subgroupAdd(sums[i][s][j]);
                if lane == 0 {
                    put(c0 + i, r, s, k0 + j, total);
                }
            }
        }
    }
}
