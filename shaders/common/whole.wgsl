// What comes out of a contraction whose workgroups have the whole of their sums: it is stored at once.

fn put(row: u32, column: u32, sum: vec4f) {
    let at = output(row, column);
    if at < OUTPUTS {
        store(at, sum);
    }
}
