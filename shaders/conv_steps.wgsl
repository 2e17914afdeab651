// Convolution (formula and letters: `conv.wgsl`) by tiles in workgroup memory: BM filters of one output pixel for BN
// images. A step is BK maps under one element of the window, of those that lie inside; where maps are few (LINES), it is
// a row of the window over one map, whose BK = S columns are masked beyond the edge.

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> w: array<Map4>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<Map4>;

const LINES = MAPS % BK != 0;
// In vectors: images of the batch, a map, filters of one element, filters of a map, all that is computed.
const BATCH = N / 4;
const PLANE = H * W * BATCH;
const FILTERS = K / 4;
const WINDOW = R * S * FILTERS;
const OUTPUTS = K * P * Q * BATCH;
// Steps of one element of the window, or of one of its rows.
const INNER = select(MAPS / BK, MAPS, LINES);

// First filter and first images (a vector) of the tile, its pixel, and the input pixel under the window's corner.
var<private> k0: u32;
var<private> n0: u32;
var<private> pixel: vec2u;
var<private> corner: vec2i;
// Elements of the window that lie inside, from `low` to before `end`; the next step's element and first map.
var<private> low: vec2u;
var<private> end: vec2u;
var<private> element: vec2u;
var<private> map: u32;
var<private> row_base: u32;
var<private> column_base: u32;

fn settle() {
    let column = select(element.y, 0u, LINES);
    row_base = ((map * R + element.x) * S + column) * FILTERS + k0 / 4;
    let place = vec2u(vec2i(corner.x + i32(element.x), select(corner.y + i32(column), 0, LINES)));
    column_base = ((map * H + place.x) * W + place.y) * BATCH + n0;
}

fn advance() {
    map += select(BK, 1u, LINES);
    if map == MAPS {
        map = 0;
        element.y += 1;
        if LINES || element.y == end.y {
            element.y = low.y;
            element.x = select(element.x + 1, low.x, element.x + 1 == end.x);
        }
    }
    settle();
}

fn row_offset(term: u32, filters: u32) -> u32 {
    return term * select(WINDOW, FILTERS, LINES) + min(filters, FILTERS - 1 - k0 / 4);
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
        return select(TileVector(), v, term >= low.y && term < end.y);
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

@compute @workgroup_size(THREADS)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    // The number of steps by way of `let` alone: compilers have to see that it is the same for the whole workgroup.
    let own = group.z / (P * Q);
    let at = vec2u(group.z % (P * Q) / Q, group.z % Q);
    let under = vec2i(at * vec2u(STRIDE_Y, STRIDE_X)) - vec2i(vec2u(PAD_Y, PAD_X));
    let first = clamp(-under, vec2i(), vec2i(vec2u(R, S)));
    let beyond = clamp(vec2i(vec2u(H, W)) - under, first, vec2i(vec2u(R, S)));
    let inside = vec2u(beyond - first);
    let across = select(inside.y, min(inside.y, 1u), LINES);
    let steps = share(inside.x * across * INNER, own);
    part = own;
    n0 = group.x * (BN / 4);
    k0 = group.y * BM;
    pixel = at;
    corner = under;
    low = vec2u(first);
    end = vec2u(beyond);
    element = low;
    map = 0;
    if PARTS > 1 && steps.y > 0 {
        let place = steps.x / INNER;
        map = steps.x % INNER * select(BK, 1u, LINES);
        element += vec2u(place / across, place % across);
    }
    settle();
    if steps.y == 0 {
        row_base = 0;
        column_base = 0;
    }
    contract(steps.y, thread);
}
