// Gradient of a convolution by its input (formula: `conv_backward_input.wgsl`) by tiles in workgroup memory: BM maps of
// one input pixel for BN images. A step is BK filters of one of the windows that hold the pixel. Filters are neighbours in
// memory, so that weights come in blocks.

@group(0) @binding(0) var<storage, read> w: array<Map4>;
@group(0) @binding(1) var<storage, read> dy: array<Map4>;
@group(0) @binding(2) var<storage, read_write> dx: array<Map4>;

const STRIDE = vec2u(STRIDE_Y, STRIDE_X);
// In vectors: images of the batch, a map of dy, filters of one element, filters of a map, all that is computed.
const BATCH = N / 4;
const PLANE = P * Q * BATCH;
const FILTERS = K / 4;
const WINDOW = R * S * FILTERS;
const OUTPUTS = MAPS * H * W * BATCH;
const ROW_MASKED = false;
// Steps of one window.
const INNER = K / BK;

// First map and first images (a vector) of the tile, its pixel, and the same with the padding before it.
var<private> c0: u32;
var<private> n0: u32;
var<private> pixel: vec2u;
var<private> padded: vec2u;
// Windows that hold the pixel, from `low` to before `end`; the next step's window and first filter.
var<private> low: vec2u;
var<private> end: vec2u;
var<private> window: vec2u;
var<private> filter0: u32;
var<private> row_base: u32;
var<private> column_base: u32;

fn settle() {
    let element = padded - window * STRIDE;
    row_base = ((c0 * R + element.x) * S + element.y) * FILTERS + filter0 / 4;
    column_base = ((filter0 * P + window.x) * Q + window.y) * BATCH + n0;
}

fn advance() {
    filter0 += BK;
    if filter0 == K {
        filter0 = 0;
        window.y += 1;
        if window.y == end.y {
            window.y = low.y;
            window.x = select(window.x + 1, low.x, window.x + 1 == end.x);
        }
    }
    settle();
}

fn row_offset(term: u32, row: u32) -> u32 {
    return min(row, MAPS - 1 - c0) * WINDOW + term / 4;
}

fn row_element(row: u32) -> u32 {
    return 0;
}

fn row_inside(elements: vec4u) -> vec4<bool> {
    return vec4<bool>(true);
}

fn row_load(at: u32) -> TileVector {
    return TileVector(w[at]);
}

fn column_offset(term: u32, images: u32) -> u32 {
    return term * PLANE + images;
}

fn column_load(at: u32) -> TileVector {
    return TileVector(dy[at]);
}

fn column_mask(v: TileVector, term: u32) -> TileVector {
    return v;
}

// Place of the sum of a row (map) and four columns (images); OUTPUTS or more beyond the last map.
fn output(row: u32, column: u32) -> u32 {
    return (((c0 + row) * H + pixel.x) * W + pixel.y) * BATCH + n0 + column;
}

fn store(at: u32, sum: vec4f) {
    if ACCUMULATE {
        dx[at] = Map4(vec4f(dx[at]) + sum);
    } else {
        dx[at] = Map4(sum);
    }
}

@compute @workgroup_size(THREADS)
fn backward_input(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    // The number of steps by way of `let` alone: compilers have to see that it is the same for the whole workgroup.
    let own = group.z / (H * W);
    let at = vec2u(group.z % (H * W) / W, group.z % W);
    let behind = at + vec2u(PAD_Y, PAD_X);
    // The first window that reaches the pixel, and the last that begins before it.
    let before = max(vec2i(behind) - vec2i(vec2u(R, S)) + 1, vec2i());
    let first = (vec2u(before) + STRIDE - 1) / STRIDE;
    let beyond = max(min(behind / STRIDE + 1, vec2u(P, Q)), first);
    let holding = beyond - first;
    let steps = share(holding.x * holding.y * INNER, own);
    part = own;
    n0 = group.x * (BN / 4);
    c0 = group.y * BM;
    pixel = at;
    padded = behind;
    low = first;
    end = beyond;
    window = first;
    filter0 = 0;
    if PARTS > 1 && steps.y > 0 {
        let place = steps.x / INNER;
        filter0 = steps.x % INNER * BK;
        window += vec2u(place / holding.y, place % holding.y);
    }
    settle();
    if steps.y == 0 {
        row_base = 0;
        column_base = 0;
    }
    contract(steps.y, thread);
}
