// The tiled contraction (`tiled.wgsl`) on matrix units, for maps of 16-bit floats: the same tiles and the same functions
// of the kernel, `row_vector`, `image_vector` and `put`, but what is multiplied are matrices that a subgroup holds
// together, SIDE x SIDE halves each, whose sums are 32-bit floats. The four subgroups of a workgroup share its tile, two
// along rows and two along images.

const BK = 16;
// Vectors of a term in a tile, and how many of a tile a thread brings.
const ROW_VECTORS = BM / 4;
const IMAGE_VECTORS = BN / 4;
const ROW_LOADS = BK * ROW_VECTORS / THREADS;
const IMAGE_LOADS = BK * IMAGE_VECTORS / THREADS;
// Matrices of a subgroup, and vectors of one.
const ROWS = BM / 2 / SIDE;
const COLUMNS = BN / 2 / SIDE;
const VECTORS = SIDE * SIDE / 4;
const LANES = THREADS / 4;

alias Sums = array<array<Sum, COLUMNS>, ROWS>;

var<workgroup> row_tiles: array<vec4<f16>, 2 * BK * ROW_VECTORS>;
var<workgroup> image_tiles: array<vec4<f16>, 2 * BK * IMAGE_VECTORS>;
// One matrix of sums for each subgroup, on its way out.
var<workgroup> results: array<vec4f, 4 * VECTORS>;

// Adds the products of tile `which` to a subgroup's sums.
fn multiply(sum: ptr<function, Sums>, which: u32, subgroup: u32) {
    let row = which * BK * ROW_VECTORS + subgroup / 2 * (ROW_VECTORS / 2);
    let image = which * BK * IMAGE_VECTORS + subgroup % 2 * (IMAGE_VECTORS / 2);
    for (var term = 0u; term < BK; term += SIDE) {
        for (var j = 0u; j < COLUMNS; j++) { // unrolled
            let b = coopLoadT<Right>(&image_tiles[image + term * IMAGE_VECTORS + j * (SIDE / 4)], IMAGE_VECTORS);
            for (var i = 0u; i < ROWS; i++) { // unrolled
                let a = coopLoad<Left>(&row_tiles[row + term * ROW_VECTORS + i * (SIDE / 4)], ROW_VECTORS);
                (*sum)[i][j] = coopMultiplyAdd(a, b, (*sum)[i][j]);
            }
        }
    }
}

// Sums up the first `terms` terms, the same number for the whole workgroup, and puts what comes out.
fn contract(terms: u32, thread: u32) {
    let subgroup = thread / LANES;
    let steps = (terms + BK - 1) / BK;
    var rows: array<vec4f, ROW_LOADS>;
    var images: array<vec4f, IMAGE_LOADS>;
    var sum: Sums;
    for (var step = 0u; step <= steps; step++) {
        if step < steps {
            for (var i = 0u; i < ROW_LOADS; i++) { // unrolled
                let load = i * THREADS + thread;
                rows[i] = row_vector(step * BK + load / ROW_VECTORS, load % ROW_VECTORS);
            }
            for (var i = 0u; i < IMAGE_LOADS; i++) { // unrolled
                let load = i * THREADS + thread;
                images[i] = image_vector(step * BK + load / IMAGE_VECTORS, load % IMAGE_VECTORS);
            }
        }
        if step > 0 {
            multiply(&sum, (step - 1) % 2, subgroup);
        }
        if step < steps {
            for (var i = 0u; i < ROW_LOADS; i++) { // unrolled
                row_tiles[step % 2 * BK * ROW_VECTORS + i * THREADS + thread] = vec4<f16>(rows[i]);
            }
            for (var i = 0u; i < IMAGE_LOADS; i++) { // unrolled
                image_tiles[step % 2 * BK * IMAGE_VECTORS + i * THREADS + thread] = vec4<f16>(images[i]);
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < ROWS; i++) { // unrolled
        for (var j = 0u; j < COLUMNS; j++) { // unrolled
            coopStoreT(sum[i][j], &results[subgroup * VECTORS], SIDE / 4);
            workgroupBarrier();
            for (var v = thread % LANES; v < VECTORS; v += LANES) {
                let row = subgroup / 2 * (BM / 2) + i * SIDE + v / (SIDE / 4);
                let image = subgroup % 2 * (IMAGE_VECTORS / 2) + j * (SIDE / 4) + v % (SIDE / 4);
                put(row, image, results[subgroup * VECTORS + v]);
            }
            workgroupBarrier();
        }
    }
}
