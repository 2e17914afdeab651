// Convolution (formula and letters: `conv.wgsl`) by tiles in workgroup memory: BM filters of one output pixel for BN
// images. The sum runs over the part of the window that lies inside (`terms.wgsl`).

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> w: array<Map4>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map4>;

const INNER = MAPS;

// First filter of the workgroup's tile, and the input pixel under the first element of the window.
var<private> k0: u32;
var<private> corner: vec2i;

fn row_vector(term: u32, rows: u32) -> vec4f {
    let k = k0 / 4 + rows;
    if term >= terms(size) || k >= K / 4 {
        return vec4f();
    }
    let at = place(term);
    return vec4f(w[((inner(term) * R + at.x) * S + at.y) * (K / 4) + k]);
}

fn image_vector(term: u32, images: u32) -> vec4f {
    if term >= terms(size) {
        return vec4f();
    }
    let at = vec2u(corner + vec2i(place(term)));
    return vec4f(x[((inner(term) * H + at.x) * W + at.y) * BATCH_VECTORS + n0 + images]);
}

fn put(row: u32, images: u32, sum: vec4f) {
    let k = k0 + row;
    if k >= K {
        return;
    }
    let at = ((k * P + pixel.x) * Q + pixel.y) * BATCH_VECTORS + n0 + images;
    var value = sum;
    if BIAS {
        value += b[k];
    }
    if ACCUMULATE {
        value += vec4f(y[at]);
    }
    y[at] = Map4(vec4f(activate(value.x), activate(value.y), activate(value.z), activate(value.w)));
}

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    // The number of terms by way of `let` alone: compilers have to see that it is the same for the whole workgroup.
    let output = vec2u(group.z / Q, group.z % Q);
    let under = vec2i(output * vec2u(STRIDE_Y, STRIDE_X)) - vec2i(vec2u(PAD_Y, PAD_X));
    let first = clamp(-under, vec2i(), vec2i(vec2u(R, S)));
    let end = clamp(vec2i(vec2u(H, W)) - under, first, vec2i(vec2u(R, S)));
    let inside = vec2u(end - first);
    n0 = group.x * IMAGE_VECTORS;
    k0 = group.y * BM;
    pixel = output;
    corner = under;
    low = vec2u(first);
    size = inside;
    contract(terms(inside), thread);
}
