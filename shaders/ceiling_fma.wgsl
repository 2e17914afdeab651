// As many multiply-adds as go: for each of COUNT floats x three chains c = FACTOR c + x of ROUNDS links, from x/4, x/2
// and 2x; y is their sum. No chain waits for another or for memory. Values alternate between two of their own and come
// closer by a factor of e until the end, so that they neither vanish nor settle.

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read_write> y: array<Numbers>;

const FACTOR = 1.0 / f32(ROUNDS) - 1.0;

@compute @workgroup_size(WORKGROUP)
fn multiply_add(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let factor = Numbers(FACTOR);
    for (var i = id.x; i < COUNT / VECTOR; i += groups.x * WORKGROUP) {
        let addend = x[i];
        var a = 0.25 * addend;
        var b = 0.5 * addend;
        var c = 2.0 * addend;
        for (var round = 0u; round < ROUNDS; round += 4u) {
            // No more links than these, because software drivers put each chain's behind one another, and a processor
            // looks ahead over few of them.
            @unroll for (var link = 0u; link < 4; link++) {
                a = fma(a, factor, addend);
                b = fma(b, factor, addend);
                c = fma(c, factor, addend);
            }
        }
        y[i] = a + b + c;
    }
}
