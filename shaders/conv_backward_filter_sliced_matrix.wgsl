// Gradient of a convolution by its filters on matrix units, for maps of 16-bit floats: as `conv_backward_filter_sliced`,
// the product of a matrix of C·R·S rows and one of K columns. Four subgroups share the long sum of two by two matrices,
// each with every fourth group of SIDE images: a tile has EDGE rows and as many filters. In the end their sums are
// added in their order.

@group(0) @binding(0) var<storage, read> x: array<Map4>;
@group(0) @binding(1) var<storage, read> dy: array<Map4>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

const SLICES = THREADS / SUBGROUP;
const LANES = SUBGROUP;
const WINDOWS = MAPS * R * S;
// Vectors of SIDE images, of an operand's tile, and how many of these a lane brings; vectors of a matrix of sums.
const VECTORS = SIDE / 4;
const TILE = EDGE * VECTORS;
const LOADS = TILE / LANES;
const RESULT = SIDE * VECTORS;
// Groups of SIDE images of all pixels, and how many rounds the slices need for them.
const GROUPS = P * Q * N / SIDE;
const ROUNDS = (GROUPS + SLICES - 1) / SLICES;

// By slice, row (or filter) and four images.
var<workgroup> row_tiles: array<Map4, SLICES * TILE>;
var<workgroup> filter_tiles: array<Map4, SLICES * TILE>;
// One matrix of sums for each slice.
var<workgroup> results: array<vec4f, SLICES * RESULT>;

// Four images of row `row` at pixel (p, q).
fn pixels(row: u32, p: u32, q: u32, n: u32) -> Map4 {
    // Below zero wraps around to a large number and fails the comparison too.
    let y = row / S % R + p * STRIDE_Y - PAD_Y;
    let column = row % S + q * STRIDE_X - PAD_X;
    if row >= WINDOWS || y >= H || column >= W {
        return Map4();
    }
    return x[((row / (R * S) * H + y) * W + column) * (N / 4) + n];
}

fn gradients(k: u32, p: u32, q: u32, n: u32) -> Map4 {
    if k >= K {
        return Map4();
    }
    return dy[((k * P + p) * Q + q) * (N / 4) + n];
}

@compute @workgroup_size(THREADS)
fn backward_filter(@builtin(workgroup_id) tile: vec3u, @builtin(local_invocation_index) thread: u32) {
    let slice = thread / LANES;
    let lane = thread % LANES;
    var sum: array<array<Sum, 2>, 2>;
    for (var round = 0u; round < ROUNDS; round++) {
        let group = round * SLICES + slice;
        let pixel = group / (N / SIDE);
        let n = group % (N / SIDE) * VECTORS;
        var rows: array<Map4, LOADS>;
        var filters: array<Map4, LOADS>;
        if group < GROUPS {
            @unroll for (var l = 0u; l < LOADS; l++) {
                let at = l * LANES + lane;
                let own = n + at % VECTORS;
                rows[l] = pixels(tile.y * EDGE + at / VECTORS, pixel / Q, pixel % Q, own);
                filters[l] = gradients(tile.x * EDGE + at / VECTORS, pixel / Q, pixel % Q, own);
            }
        }
        workgroupBarrier();
        @unroll for (var l = 0u; l < LOADS; l++) {
            row_tiles[slice * TILE + l * LANES + lane] = rows[l];
            filter_tiles[slice * TILE + l * LANES + lane] = filters[l];
        }
        workgroupBarrier();
        @unroll for (var j = 0u; j < 2; j++) {
            let b = coopLoad<Right>(&filter_tiles[slice * TILE + j * RESULT], VECTORS);
            @unroll for (var i = 0u; i < 2; i++) {
                let a = coopLoadT<Left>(&row_tiles[slice * TILE + i * RESULT], VECTORS);
                sum[i][j] = coopMultiplyAdd(a, b, sum[i][j]);
            }
        }
    }
    @unroll for (var i = 0u; i < 2; i++) {
        @unroll for (var j = 0u; j < 2; j++) {
            workgroupBarrier();
            coopStoreT(sum[i][j], &results[slice * RESULT], VECTORS);
            workgroupBarrier();
            for (var v = thread; v < RESULT; v += THREADS) {
                let row = tile.y * EDGE + i * SIDE + v / VECTORS;
                let k = tile.x * EDGE + j * SIDE + v % VECTORS * 4;
                if row < WINDOWS && k < K {
                    let at = (row * K + k) / 4;
                    var total = results[v];
                    for (var other = 1u; other < SLICES; other++) {
                        total += results[other * RESULT + v];
                    }
                    if ACCUMULATE {
                        total += dw[at];
                    }
                    dw[at] = total;
                }
            }
        }
    }
}
