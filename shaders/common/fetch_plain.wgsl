// TM weights for one step of a contraction, every invocation for itself: runs on every adapter.

// The row of tiles of an invocation: a workgroup has several.
fn row_of_tiles(group: u32, local: u32) -> u32 {
    return group * ROWS + local;
}

fn fetch(base: u32, stride: u32, limit: u32, lane: u32) -> array<f32, TM> {
    var values: array<f32, TM>;
    @unroll for (var j = 0u; j < TM; j++) {
        values[j] = f32(w[base + select(min(j, limit - 1), j, EXACT) * stride]);
    }
    return values;
}
