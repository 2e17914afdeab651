// Gradient of a convolution by its input (formula: `conv_backward_input.wgsl`) by tiles in workgroup memory: BM maps of
// one input pixel for BN images. A step is BK filters of one of the windows that hold the pixel. Filters are neighbours
// in memory, so that weights come in blocks.

@group(0) @binding(0) var<storage, read> w: array<Map4>;
@group(0) @binding(1) var<storage, read> dy: array<Map4>;
@group(0) @binding(2) var<storage, read> x: array<Map4>;
@group(0) @binding(3) var<storage, read_write> dx: array<Map4>;

const STRIDE = vec2u(STRIDE_Y, STRIDE_X);
// In vectors: images of the batch, a map of dy, filters of one element, filters of a map, all that is computed.
const BATCH = N / 4;
const PLANE = P * Q * BATCH;
const FILTERS = K / 4;
const WINDOW = R * S * FILTERS;
const OUTPUTS = MAPS * H * W * BATCH;
const ROW_MASKED = false;
const TERMS = BK / 4;
// Steps of one window.
const INNER = K / BK;
// What bases move by from one step to the next filters, and back from the last filters to the first.
const ROW_STEP = i32(BK / 4);
const COLUMN_STEP = i32(BK * PLANE);
const ROW_BACK = i32((K - BK) / 4);
const COLUMN_BACK = i32((K - BK) * PLANE);

// First map and first images (a vector) of the tile, and its pixel.
var<private> c0: u32;
var<private> n0: u32;
var<private> pixel: vec2u;
// Columns of windows that hold the pixel, from `low` to before `end`; the next step's column and first filter.
var<private> low: u32;
var<private> end: u32;
var<private> across: u32;
var<private> filter0: u32;
var<private> row_base: u32;
var<private> column_base: u32;
// What bases move by from the last window of a row to the first of the next.
var<private> row_turn: i32;
var<private> column_turn: i32;

fn advance(more: bool) {
    let next = filter0 + BK;
    let turn = across + 1 == end;
    var rows = ROW_STEP;
    var columns = COLUMN_STEP;
    filter0 = next;
    if next == K {
        rows = select(-i32(STRIDE_X * FILTERS) - ROW_BACK, row_turn, turn);
        columns = select(i32(BATCH) - COLUMN_BACK, column_turn, turn);
        across = select(across + 1, low, turn);
        filter0 = 0;
    }
    row_base += u32(select(0, rows, more));
    column_base += u32(select(0, columns, more));
}

fn row_offset(term: u32, row: u32) -> u32 {
    let own = select(min(row, MAPS - 1 - c0), row, MAPS % BM == 0);
    return own * WINDOW + term / 4;
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
    var value = sum;
    if ACCUMULATE {
        value += vec4f(dx[at]);
    }
    if ACTIVATION != LINEAR {
        value = through(value, vec4f(x[at]));
    }
    dx[at] = Map4(value);
}

// The tile of workgroup `group`.
fn tile(group: vec3u, thread: u32) {
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
    low = first.y;
    end = beyond.y;
    if steps.y > 0 {
        // The first step's window, and the pixel's element of it.
        let place = steps.x / INNER;
        let window = first + vec2u(place / holding.y, place % holding.y);
        let element = behind - window * STRIDE;
        filter0 = steps.x % INNER * BK;
        across = window.y;
        row_base = ((c0 * R + element.x) * S + element.y) * FILTERS + filter0 / 4;
        column_base = ((filter0 * P + window.x) * Q + window.y) * BATCH + n0;
        row_turn = i32((holding.y - 1) * STRIDE_X * FILTERS) - i32(STRIDE_Y * S * FILTERS) - ROW_BACK;
        column_turn = i32((Q + 1 - holding.y) * BATCH) - COLUMN_BACK;
    }
    contract(steps.y, thread);
}
