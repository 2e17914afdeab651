// The fully connected layer, y[m][n] = f(sum over k of w[k][m] x[k][n] + b[m]), M outputs, K inputs, N images, by tiles
// in workgroup memory: BM outputs by BN images.

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> w: array<Map4>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map4>;

// First feature of the workgroup's tile, and its first images, in vectors.
var<private> m0: u32;
var<private> n0: u32;

fn row_vector(k: u32, rows: u32) -> vec4f {
    let m = m0 / 4 + rows;
    if k >= K || m >= M / 4 {
        return vec4f();
    }
    return vec4f(w[k * (M / 4) + m]);
}

fn image_vector(k: u32, images: u32) -> vec4f {
    if k >= K {
        return vec4f();
    }
    return vec4f(x[k * BATCH_VECTORS + n0 + images]);
}

fn put(row: u32, images: u32, sum: vec4f) {
    let m = m0 + row;
    if m >= M {
        return;
    }
    let at = m * BATCH_VECTORS + n0 + images;
    var value = sum;
    if BIAS {
        value += b[m];
    }
    if ACCUMULATE {
        value += vec4f(y[at]);
    }
    y[at] = Map4(vec4f(activate(value.x), activate(value.y), activate(value.z), activate(value.w)));
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    n0 = group.x * IMAGE_VECTORS;
    m0 = group.y * BM;
    contract(K, thread);
}
