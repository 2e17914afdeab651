// Eight neighbouring values of x, the same for every lane: each of 8 lanes loads one and hands it to the others.

fn row(at: u32, lane: u32) -> array<f32, 8> {
    let own = x[at + lane];
    var values: array<f32, 8>;
    for (var i = 0u; i < 8; i++) {
        values[i] = subgroupShuffle(own, i);
    }
    return values;
}
