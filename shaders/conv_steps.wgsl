// Convolution (formula and letters: `conv.wgsl`) by tiles in workgroup memory: BM filters of one output pixel for BN
// images. A step is BK maps under one element of the window, of those that lie inside; where maps are few (LINES), it
// is a row of the window over one map, whose columns, S of BK, are masked beyond the edge.

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> w: array<Map4>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map4>;

const LINES = MAPS % BK != 0;
const TERMS = select(BK, 2u, BK % 2 == 0);
// In vectors: images of the batch, a map, filters of one element, filters of a map, all that is computed.
const BATCH = N / 4;
const PLANE = H * W * BATCH;
const FILTERS = K / 4;
const WINDOW = R * S * FILTERS;
const OUTPUTS = K * P * Q * BATCH;
// Maps of a step, and steps of one element of the window, or of one of its rows.
const STEP = select(BK, 1u, LINES);
const INNER = MAPS / STEP;
// What bases move by from one step to the next maps, and back from the last maps to the first.
const ROW_STEP = i32(STEP * WINDOW);
const COLUMN_STEP = i32(STEP * PLANE);
const ROW_BACK = i32((MAPS - STEP) * WINDOW);
const COLUMN_BACK = i32((MAPS - STEP) * PLANE);

// First filter and first images (a vector) of the tile, its pixel, and the input pixel under the window's corner.
var<private> k0: u32;
var<private> n0: u32;
var<private> pixel: vec2u;
var<private> corner: vec2i;
// Columns of the window that lie inside, from `low` to before `end`; the next step's column and first map.
var<private> low: u32;
var<private> end: u32;
var<private> across: u32;
var<private> map: u32;
var<private> row_base: u32;
var<private> column_base: u32;
// What bases move by from the last column of a row of the window to the first of the next.
var<private> row_turn: i32;
var<private> column_turn: i32;

fn advance(more: bool) {
    let next = map + STEP;
    let turn = LINES || across + 1 == end;
    var rows = ROW_STEP;
    var columns = COLUMN_STEP;
    map = next;
    if next == MAPS {
        rows = select(i32(FILTERS) - ROW_BACK, row_turn, turn);
        columns = select(i32(BATCH) - COLUMN_BACK, column_turn, turn);
        across = select(across + 1, low, turn);
        map = 0;
    }
    row_base += u32(select(0, rows, more));
    column_base += u32(select(0, columns, more));
}

fn row_offset(term: u32, filters: u32) -> u32 {
    let line = min(term, S - 1) * FILTERS;
    let own = select(min(filters, FILTERS - 1 - k0 / 4), filters, K % BM == 0);
    return select(term * WINDOW, line, LINES) + own;
}

fn row_load(at: u32) -> TileVector {
    return TileVector(w[at]);
}

fn row_mask(v: TileVector, term: u32) -> TileVector {
    return v;
}

fn column_offset(term: u32, images: u32) -> u32 {
    if LINES {
        return u32(clamp(corner.y + i32(term), 0, i32(W - 1))) * BATCH + images;
    }
    return term * PLANE + images;
}

fn column_load(at: u32) -> TileVector {
    return TileVector(x[at]);
}

fn column_mask(v: TileVector, term: u32) -> TileVector {
    if LINES {
        return select(TileVector(), v, term >= low && term < end);
    }
    return v;
}

// Place of the sum of a row (filter) and four columns (images); OUTPUTS or more beyond the last filter.
fn output(row: u32, column: u32) -> u32 {
    return (((k0 + row) * P + pixel.x) * Q + pixel.y) * BATCH + n0 + column;
}

fn store(at: u32, sum: vec4f) {
    var value = sum;
    if BIAS {
        value += b[at / (P * Q * BATCH)];
    }
    if ACCUMULATE {
        value += vec4f(y[at]);
    }
    y[at] = Map4(vec4f(activate(value.x), activate(value.y), activate(value.z), activate(value.w)));
}

// The tile of workgroup `group`.
fn tile(group: vec3u, thread: u32) {
    // The number of steps by way of `let` alone: compilers have to see that it is the same for the whole workgroup.
    let own = group.z / (P * Q);
    let at = vec2u(group.z % (P * Q) / Q, group.z % Q);
    let under = vec2i(at * vec2u(STRIDE_Y, STRIDE_X)) - vec2i(vec2u(PAD_Y, PAD_X));
    let first = clamp(-under, vec2i(), vec2i(vec2u(R, S)));
    let beyond = clamp(vec2i(vec2u(H, W)) - under, first, vec2i(vec2u(R, S)));
    let inside = vec2u(beyond - first);
    let columns = select(inside.y, min(inside.y, 1u), LINES);
    let steps = share(inside.x * columns * INNER, own);
    part = own;
    n0 = group.x * (BN / 4);
    k0 = group.y * BM;
    pixel = at;
    corner = under;
    low = u32(first.y);
    end = u32(beyond.y);
    if steps.y > 0 {
        // The first step's element of the window, or row of it.
        let place = steps.x / INNER;
        let element = vec2u(first) + vec2u(place / columns, place % columns);
        map = steps.x % INNER * STEP;
        across = element.y;
        let column = select(element.y, 0u, LINES);
        let seen = vec2u(vec2i(under.x + i32(element.x), select(under.y + i32(column), 0, LINES)));
        row_base = ((map * R + element.x) * S + column) * FILTERS + k0 / 4;
        column_base = ((map * H + seen.x) * W + seen.y) * BATCH + n0;
        row_turn = i32((S + 1 - columns) * FILTERS) - ROW_BACK;
        column_turn = i32((W + 1 - columns) * BATCH) - COLUMN_BACK;
    }
    contract(steps.y, thread);
}
