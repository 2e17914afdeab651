// Gradient of a fully connected layer by its input, dx[k][n] = sum over m of w[k][m] dy[m][n], by tiles in workgroup
// memory.

@group(0) @binding(0) var<storage, read> w: array<Map>;
@group(0) @binding(1) var<storage, read> dy: array<Map4>;
@group(0) @binding(2) var<storage, read_write> dx: array<Map4>;

// First input of the workgroup's tile, and its first images, in vectors.
var<private> k0: u32;
var<private> n0: u32;

fn row_vector(m: u32, rows: u32) -> vec4f {
    var values: vec4f;
    @unroll for (var i = 0u; i < 4; i++) {
        let k = k0 + rows * 4 + i;
        if m < M && k < K {
            values[i] = f32(w[k * M + m]);
        }
    }
    return values;
}

fn image_vector(m: u32, images: u32) -> vec4f {
    if m >= M {
        return vec4f();
    }
    return vec4f(dy[m * BATCH_VECTORS + n0 + images]);
}

fn put(row: u32, images: u32, sum: vec4f) {
    let k = k0 + row;
    if k >= K {
        return;
    }
    let at = k * BATCH_VECTORS + n0 + images;
    if ACCUMULATE {
        dx[at] = Map4(vec4f(dx[at]) + sum);
    } else {
        dx[at] = Map4(sum);
    }
}

@compute @workgroup_size(THREADS)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    n0 = group.x * IMAGE_VECTORS;
    k0 = group.y * BM;
    contract(M, thread);
}
