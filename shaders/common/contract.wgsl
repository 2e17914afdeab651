// A contraction by tiles in workgroup memory, for GPUs: BM rows (filters, maps, features) by BN images, BK terms of the
// sum at a time. There are two of each tile: while one is multiplied, the next is on its way from memory.
//
// The kernel says what the operands are: `row_vector(term, rows)` gives four neighbouring rows, `image_vector(term,
// images)` four neighbouring images, by their numbers in the tile, 0 beyond the end; `put(row, images, value)` takes
// what comes out. `tiled.wgsl` and `matrix.wgsl` say who multiplies: BK, `TileVector`, `Sums`, `multiply` and `finish`.

// Vectors of a term in a tile and in the batch, and how many of a tile a thread brings.
const ROW_VECTORS = BM / 4;
const IMAGE_VECTORS = BN / 4;
const BATCH_VECTORS = N / 4;
const ROW_LOADS = BK * ROW_VECTORS / THREADS;
const IMAGE_LOADS = BK * IMAGE_VECTORS / THREADS;

var<workgroup> row_tiles: array<TileVector, 2 * BK * ROW_VECTORS>;
var<workgroup> image_tiles: array<TileVector, 2 * BK * IMAGE_VECTORS>;

// Sums up the first `terms` terms, the same number for the whole workgroup, and puts what comes out.
fn contract(terms: u32, thread: u32) {
    let steps = (terms + BK - 1) / BK;
    var rows: array<vec4f, ROW_LOADS>;
    var images: array<vec4f, IMAGE_LOADS>;
    var sum: Sums;
    for (var step = 0u; step <= steps; step++) {
        if step < steps {
            @unroll for (var i = 0u; i < ROW_LOADS; i++) {
                let load = i * THREADS + thread;
                rows[i] = row_vector(step * BK + load / ROW_VECTORS, load % ROW_VECTORS);
            }
            @unroll for (var i = 0u; i < IMAGE_LOADS; i++) {
                let load = i * THREADS + thread;
                images[i] = image_vector(step * BK + load / IMAGE_VECTORS, load % IMAGE_VECTORS);
            }
        }
        if step > 0 {
            multiply(&sum, (step - 1) % 2, thread);
        }
        if step < steps {
            @unroll for (var i = 0u; i < ROW_LOADS; i++) {
                row_tiles[step % 2 * BK * ROW_VECTORS + i * THREADS + thread] = TileVector(rows[i]);
            }
            @unroll for (var i = 0u; i < IMAGE_LOADS; i++) {
                image_tiles[step % 2 * BK * IMAGE_VECTORS + i * THREADS + thread] = TileVector(images[i]);
            }
        }
        workgroupBarrier();
    }
    finish(&sum, thread);
}
