// What comes out of a contraction whose workgroups have a part of their sums each, so that there are workgroups enough:
// it waits in `parts` until a second entry point adds up the PARTS parts in their order.

@group(0) @binding(7) var<storage, read_write> parts: array<vec4f>;

fn put(row: u32, column: u32, sum: vec4f) {
    let at = output(row, column);
    if at < OUTPUTS {
        parts[part * OUTPUTS + at] = sum;
    }
}

@compute @workgroup_size(64)
fn add_parts(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var at = id.x; at < OUTPUTS; at += groups.x * 64) {
        var sum = parts[at];
        for (var p = 1u; p < PARTS; p++) {
            sum += parts[p * OUTPUTS + at];
        }
        store(at, sum);
    }
}
