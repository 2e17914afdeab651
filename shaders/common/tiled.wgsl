// A contraction by tiles in workgroup memory, for GPUs: BM rows (filters, maps, features) by BN images, BK terms of the
// sum at a time. There are two of each tile: while one is multiplied, the next is on its way from memory. A thread
// holds 8 rows by 8 images, as two vectors of four images half a tile apart, so that neighbouring threads read
// neighbouring vectors.
//
// The kernel says what the operands are: `row_vector(term, rows)` gives four neighbouring rows, `image_vector(term,
// images)` four neighbouring images, by their numbers in the tile, 0 beyond the end; `put(row, images, value)` takes
// what comes out.

const BK = 8;
// Threads along images.
const COLUMNS = BN / 8;
// Vectors of a term in a tile, and how many of a tile a thread brings.
const ROW_VECTORS = BM / 4;
const IMAGE_VECTORS = BN / 4;
const ROW_LOADS = BK * ROW_VECTORS / THREADS;
const IMAGE_LOADS = BK * IMAGE_VECTORS / THREADS;

alias Sums = array<array<vec4f, 2>, 8>;

var<workgroup> row_tiles: array<vec4f, 2 * BK * ROW_VECTORS>;
var<workgroup> image_tiles: array<vec4f, 2 * BK * IMAGE_VECTORS>;

// Adds the products of tile `which` to a thread's sums.
fn multiply(sum: ptr<function, Sums>, which: u32, thread: u32) {
    let row = which * BK * ROW_VECTORS + thread / COLUMNS * 2;
    let image = which * BK * IMAGE_VECTORS + thread % COLUMNS;
    for (var term = 0u; term < BK; term++) {
        let a = array(row_tiles[row + term * ROW_VECTORS], row_tiles[row + term * ROW_VECTORS + 1]);
        let b = array(image_tiles[image + term * IMAGE_VECTORS], image_tiles[image + term * IMAGE_VECTORS + COLUMNS]);
        for (var i = 0u; i < 8; i++) { // unrolled
            (*sum)[i][0] = fma(vec4f(a[i / 4][i % 4]), b[0], (*sum)[i][0]);
            (*sum)[i][1] = fma(vec4f(a[i / 4][i % 4]), b[1], (*sum)[i][1]);
        }
    }
}

// Sums up the first `terms` terms, the same number for the whole workgroup, and puts what comes out.
fn contract(terms: u32, thread: u32) {
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
            multiply(&sum, (step - 1) % 2, thread);
        }
        if step < steps {
            for (var i = 0u; i < ROW_LOADS; i++) { // unrolled
                row_tiles[step % 2 * BK * ROW_VECTORS + i * THREADS + thread] = rows[i];
            }
            for (var i = 0u; i < IMAGE_LOADS; i++) { // unrolled
                image_tiles[step % 2 * BK * IMAGE_VECTORS + i * THREADS + thread] = images[i];
            }
        }
        workgroupBarrier();
    }
    for (var i = 0u; i < 8; i++) { // unrolled
        for (var j = 0u; j < 2; j++) { // unrolled
            put(thread / COLUMNS * 8 + i, thread % COLUMNS + j * COLUMNS, sum[i][j]);
        }
    }
}
