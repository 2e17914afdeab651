// Eight neighbouring values of x, the same for every lane.

fn row(at: u32, lane: u32) -> array<f32, 8> {
    var values: array<f32, 8>;
    for (var i = 0u; i < 8; i++) {
        values[i] = x[at + i];
    }
    return values;
}
