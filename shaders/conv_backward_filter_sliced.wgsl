// Gradient of a convolution by its filters, dw[c][r][s][k] = sum over p, q, n of x[c][h][w][n] dy[k][p][q][n], as the
// product of a matrix of C·R·S rows and one of K columns, by tiles in workgroup memory, for GPUs: 32 rows by 32
// filters. The sum is long and the result small, so 16 slices of 16 threads share the sum of one tile, each with every
// sixteenth group of four images; in the end they are added in their order. A thread holds 8 rows by 8 filters.

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> dy: array<Map4>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

// Threads of a slice, each with 8 rows by 8 filters of the tile.
const SLICE = EDGE / 8 * (EDGE / 8);
const SLICES = THREADS / SLICE;
const WINDOWS = MAPS * R * S;
// Groups of four images of the batch and of all pixels, and how many rounds the slices need for them.
const BATCH_VECTORS = N / 4;
const GROUPS = P * Q * BATCH_VECTORS;
const ROUNDS = (GROUPS + SLICES - 1) / SLICES;

alias Sums = array<array<vec4f, 2>, 8>;

// By slice, image and four rows (or filters).
var<workgroup> row_tiles: array<vec4f, SLICES * 4 * 8>;
var<workgroup> filter_tiles: array<vec4f, SLICES * 4 * 8>;

// Four images of row `row` at pixel (p, q).
fn pixels(row: u32, p: u32, q: u32, n: u32) -> vec4f {
    // Below zero wraps around to a large number and fails the comparison too.
    let y = row / S % R + p * STRIDE_Y - PAD_Y;
    let column = row % S + q * STRIDE_X - PAD_X;
    if row >= WINDOWS || y >= H || column >= W {
        return vec4f();
    }
    return vec4f(x[((row / (R * S) * H + y) * W + column) * BATCH_VECTORS + n]);
}

fn gradients(k: u32, p: u32, q: u32, n: u32) -> vec4f {
    if k >= K {
        return vec4f();
    }
    return vec4f(dy[((k * P + p) * Q + q) * BATCH_VECTORS + n]);
}

// What a thread brings in a round: four neighbouring rows, or four neighbouring filters, for four images.
fn load(group: u32, first: u32, rows: bool) -> mat4x4f {
    if group >= GROUPS {
        return mat4x4f();
    }
    let n = group % BATCH_VECTORS;
    let pixel = group / BATCH_VECTORS;
    let p = pixel / Q;
    let q = pixel % Q;
    if rows {
        return mat4x4f(
            pixels(first, p, q, n),
            pixels(first + 1, p, q, n),
            pixels(first + 2, p, q, n),
            pixels(first + 3, p, q, n),
        );
    }
    return mat4x4f(
        gradients(first, p, q, n),
        gradients(first + 1, p, q, n),
        gradients(first + 2, p, q, n),
        gradients(first + 3, p, q, n),
    );
}

@compute @workgroup_size(THREADS)
fn backward_filter(@builtin(workgroup_id) tile: vec3u, @builtin(local_invocation_index) thread: u32) {
    let slice = thread / SLICE;
    let own = thread % SLICE;
    // Half of a slice's threads bring rows, the others filters.
    let brings_rows = own < 8;
    let first = select(tile.x, tile.y, brings_rows) * EDGE + own % 8 * 4;
    var sum: Sums;
    var next = load(slice, first, brings_rows);
    for (var round = 0u; round < ROUNDS; round++) {
        workgroupBarrier();
        let turned = transpose(next);
        @unroll for (var i = 0u; i < 4; i++) {
            let at = (slice * 4 + i) * 8 + own % 8;
            if brings_rows {
                row_tiles[at] = turned[i];
            } else {
                filter_tiles[at] = turned[i];
            }
        }
        workgroupBarrier();
        next = load((round + 1) * SLICES + slice, first, brings_rows);
        for (var i = 0u; i < 4; i++) {
            let at = (slice * 4 + i) * 8;
            let a = array(row_tiles[at + own / 4 * 2], row_tiles[at + own / 4 * 2 + 1]);
            let b = array(filter_tiles[at + own % 4 * 2], filter_tiles[at + own % 4 * 2 + 1]);
            @unroll for (var j = 0u; j < 8; j++) {
                sum[j][0] = fma(vec4f(a[j / 4][j % 4]), b[0], sum[j][0]);
                sum[j][1] = fma(vec4f(a[j / 4][j % 4]), b[1], sum[j][1]);
            }
        }
    }
    for (var other = 1u; other < SLICES; other++) {
        workgroupBarrier();
        if slice == other {
            @unroll for (var j = 0u; j < 8; j++) {
                row_tiles[own * 16 + 2 * j] = sum[j][0];
                row_tiles[own * 16 + 2 * j + 1] = sum[j][1];
            }
        }
        workgroupBarrier();
        if slice == 0 {
            @unroll for (var j = 0u; j < 8; j++) {
                sum[j][0] += row_tiles[own * 16 + 2 * j];
                sum[j][1] += row_tiles[own * 16 + 2 * j + 1];
            }
        }
    }
    @unroll for (var j = 0u; j < 8; j++) {
        @unroll for (var h = 0u; h < 2; h++) {
            let row = tile.y * EDGE + own / 4 * 8 + j;
            let k = tile.x * EDGE + own % 4 * 8 + h * 4;
            if slice == 0 && row < WINDOWS && k < K {
                let at = (row * K + k) / 4;
                if ACCUMULATE {
                    sum[j][h] += dw[at];
                }
                dw[at] = sum[j][h];
            }
        }
    }
}
