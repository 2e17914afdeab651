// Gradient of a fully connected layer by its weights, dw[k][m] = sum over n of x[k][n] dy[m][n], by tiles in workgroup
// memory: BM inputs by BN outputs, which stand where the tile has images.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read> dy: array<Map>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

// First input and output of the workgroup's tile.
var<private> k0: u32;
var<private> m0: u32;

fn row_vector(n: u32, rows: u32) -> vec4f {
    var values: vec4f;
    @unroll for (var i = 0u; i < 4; i++) {
        let k = k0 + rows * 4 + i;
        if n < N && k < K {
            values[i] = f32(x[k * N + n]);
        }
    }
    return values;
}

fn image_vector(n: u32, outputs: u32) -> vec4f {
    var values: vec4f;
    @unroll for (var i = 0u; i < 4; i++) {
        let m = m0 + outputs * 4 + i;
        if n < N && m < M {
            values[i] = f32(dy[m * N + n]);
        }
    }
    return values;
}

fn put(row: u32, outputs: u32, sum: vec4f) {
    let k = k0 + row;
    let m = m0 / 4 + outputs;
    if k >= K || m >= M / 4 {
        return;
    }
    let at = k * (M / 4) + m;
    if ACCUMULATE {
        dw[at] += sum;
    } else {
        dw[at] = sum;
    }
}

@compute @workgroup_size(THREADS)
fn backward_weights(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    m0 = group.x * BN;
    k0 = group.y * BM;
    contract(N, thread);
}
