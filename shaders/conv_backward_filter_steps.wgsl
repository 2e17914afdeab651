// Gradient of a convolution by its filters, dw[c][r][s][k] = sum over p, q, n of x[c][h][w][n] dy[k][p][q][n], as the
// product of a matrix of C·R·S rows and one of K columns, by tiles in workgroup memory. A step is BK images of one
// output pixel. Images are neighbours in memory, so that both operands come in blocks.

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> dy: array<Map4>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

const WINDOWS = MAPS * R * S;
const PIXELS = P * Q;
// In vectors: images of the batch, filters, all that is computed.
const BATCH = N / 4;
const FILTERS = K / 4;
const OUTPUTS = WINDOWS * FILTERS;
// Steps of one pixel.
const INNER = N / BK;
// Whether some element of the window lies outside the map at some pixel.
const ROW_MASKED = PAD_Y + PAD_X > 0 || (P - 1) * STRIDE_Y + R > H || (Q - 1) * STRIDE_X + S > W;
const COLUMN_MASKED = false;
const TERMS = 4u;

// What the base of rows moves by from the last images of a pixel to the first of the next, and of the next row.
const ROW_NEXT = i32(STRIDE_X * BATCH) - i32((N - BK) / 4);
const ROW_TURN = i32(STRIDE_Y * W * BATCH) - i32((Q - 1) * STRIDE_X * BATCH) - i32((N - BK) / 4);

// First row and filter of the tile; the next step's output pixel and first image.
var<private> row0: u32;
var<private> k0: u32;
var<private> pixel: vec2u;
var<private> n0: u32;
var<private> row_base: u32;
var<private> column_base: u32;

fn advance(more: bool) {
    if !more {
        return;
    }
    let turn = pixel.y + 1 == Q;
    var rows = i32(BK / 4);
    n0 += BK;
    if n0 == N {
        rows = select(ROW_NEXT, ROW_TURN, turn);
        pixel = select(vec2u(pixel.x, pixel.y + 1), vec2u(pixel.x + 1, 0), turn);
        n0 = 0;
    }
    row_base += u32(rows);
    // Images of pixels follow one another in a filter's gradient.
    column_base += BK / 4;
}

fn row_of(row: u32) -> u32 {
    return min(row0 + row, WINDOWS - 1);
}

// Below zero before the first row or column, which wraps around and comes back with the base where the row is inside.
fn row_offset(term: u32, row: u32) -> u32 {
    let at = row_of(row);
    return ((at / (R * S) * H + at / S % R - PAD_Y) * W + at % S - PAD_X) * BATCH + term / 4;
}

// Row and column of the window's element, in 16 bits each.
fn row_element(row: u32) -> u32 {
    let at = row_of(row);
    return ((at / S % R) << 16u) | (at % S);
}

fn row_inside(elements: vec4u) -> vec4<bool> {
    // Below zero wraps around to a large number and fails the comparison too.
    let rows = (elements >> vec4u(16u)) + (pixel.x * STRIDE_Y - PAD_Y);
    let columns = (elements & vec4u(0xffffu)) + (pixel.y * STRIDE_X - PAD_X);
    return (rows < vec4u(H)) & (columns < vec4u(W));
}

fn row_load(at: u32) -> TileVector {
    return TileVector(x[at]);
}

fn column_offset(term: u32, filter0: u32) -> u32 {
    return min(filter0, K - 1 - k0) * PIXELS * BATCH + term / 4;
}

fn column_element(filter0: u32) -> u32 {
    return 0;
}

fn column_inside(elements: vec4u) -> vec4<bool> {
    return vec4<bool>(true);
}

fn column_load(at: u32) -> TileVector {
    return TileVector(dy[at]);
}

// Place of the sum of a row and four columns (filters); OUTPUTS or more where there is none.
fn output(row: u32, column: u32) -> u32 {
    let k = k0 / 4 + column;
    return select(OUTPUTS, (row0 + row) * FILTERS + k, k < FILTERS);
}

fn store(at: u32, sum: vec4f) {
    if ACCUMULATE {
        dw[at] += sum;
    } else {
        dw[at] = sum;
    }
}

// The tile of workgroup `group`.
fn tile(group: vec3u, thread: u32) {
    let steps = share(PIXELS * INNER, group.z);
    part = group.z;
    k0 = group.x * BN;
    row0 = group.y * BM;
    n0 = steps.x % INNER * BK;
    pixel = vec2u(steps.x / INNER / Q, steps.x / INNER % Q);
    row_base = (pixel.x * STRIDE_Y * W + pixel.y * STRIDE_X) * BATCH + n0 / 4;
    column_base = (k0 * PIXELS + pixel.x * Q + pixel.y) * BATCH + n0 / 4;
    contract(steps.y, thread);
}
