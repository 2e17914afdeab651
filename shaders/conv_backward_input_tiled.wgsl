// Gradient of a convolution by its input (formula: `conv_backward_input.wgsl`), by tiles in workgroup memory: BM maps
// of one input pixel for BN images. The sum runs over the windows that hold the pixel (`terms.wgsl`).

@group(0) @binding(0) var<storage, read> w: array<Map>;
@group(0) @binding(1) var<storage, read> dy: array<Map4>;
@group(0) @binding(2) var<storage, read_write> dx: array<Map4>;

const STRIDE = vec2u(STRIDE_Y, STRIDE_X);

const INNER = K;

// First map of the workgroup's tile, and its pixel with the padding before it.
var<private> c0: u32;
var<private> padded: vec2u;

fn row_vector(term: u32, rows: u32) -> vec4f {
    var values: vec4f;
    let element = padded - place(term) * STRIDE;
    @unroll for (var i = 0u; i < 4; i++) {
        let c = c0 + rows * 4 + i;
        if term < terms(size) && c < MAPS {
            values[i] = f32(w[((c * R + element.x) * S + element.y) * K + inner(term)]);
        }
    }
    return values;
}

fn image_vector(term: u32, images: u32) -> vec4f {
    if term >= terms(size) {
        return vec4f();
    }
    let at = place(term);
    return vec4f(dy[((inner(term) * P + at.x) * Q + at.y) * BATCH_VECTORS + n0 + images]);
}

fn put(row: u32, images: u32, sum: vec4f) {
    let c = c0 + row;
    if c >= MAPS {
        return;
    }
    let at = ((c * H + pixel.x) * W + pixel.y) * BATCH_VECTORS + n0 + images;
    if ACCUMULATE {
        dx[at] = Map4(vec4f(dx[at]) + sum);
    } else {
        dx[at] = Map4(sum);
    }
}

@compute @workgroup_size(THREADS)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    // The number of terms by way of `let` alone: compilers have to see that it is the same for the whole workgroup.
    let input = vec2u(group.z / W, group.z % W);
    let behind = input + vec2u(PAD_Y, PAD_X);
    // The first window that reaches the pixel, and the last that begins before it.
    let before = max(vec2i(behind) - vec2i(vec2u(R, S)) + 1, vec2i());
    let first = (vec2u(before) + STRIDE - 1) / STRIDE;
    let end = min(behind / STRIDE + 1, vec2u(P, Q));
    let holding = max(end, first) - first;
    n0 = group.x * IMAGE_VECTORS;
    c0 = group.y * BM;
    pixel = input;
    padded = behind;
    low = first;
    size = holding;
    contract(terms(holding), thread);
}
