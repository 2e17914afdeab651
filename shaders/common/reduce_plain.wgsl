// Sums over the lanes of a workgroup by way of its memory, in the order of the lanes; each lane finishes some of them.
// One barrier for all sums: software drivers compile a kernel with many in minutes.

const SUMS = TC * S * TK;

var<workgroup> lane_sums: array<f32, SUMS * LANES>;

fn reduce(sums: array<array<array<f32, TK>, S>, TC>, lane: u32, c0: u32, r: u32, k0: u32) {
    for (var i = 0u; i < TC; i++) {
        for (var s = 0u; s < S; s++) {
            for (var j = 0u; j < TK; j++) {
                lane_sums[((i * S + s) * TK + j) * LANES + lane] = sums[i][s][j];
            }
        }
    }
    workgroupBarrier();
    for (var a = lane; a < SUMS; a += LANES) {
        var total = 0.0;
        for (var other = 0u; other < LANES; other++) {
            total += lane_sums[a * LANES + other];
        }
        put(c0 + a / (S * TK), r, a / TK % S, k0 + a % TK, total);
    }
}
