// The contraction by threads of their own (`contract.wgsl`): each holds 8 rows by 8 images, as two vectors of four
// images half a tile apart, so that neighbouring threads read neighbouring vectors.

const BK = 8;
// Threads along images.
const COLUMNS = BN / 8;

alias TileVector = vec4f;
alias Sums = array<array<vec4f, 2>, 8>;

// Adds the products of tile `which` to a thread's sums.
fn multiply(sum: ptr<function, Sums>, which: u32, thread: u32) {
    let row = which * BK * ROW_VECTORS + thread / COLUMNS * 2;
    let image = which * BK * IMAGE_VECTORS + thread % COLUMNS;
    for (var term = 0u; term < BK; term++) {
        let a = array(row_tiles[row + term * ROW_VECTORS], row_tiles[row + term * ROW_VECTORS + 1]);
        let b = array(image_tiles[image + term * IMAGE_VECTORS], image_tiles[image + term * IMAGE_VECTORS + COLUMNS]);
        @unroll for (var i = 0u; i < 8; i++) {
            (*sum)[i][0] = fma(vec4f(a[i / 4][i % 4]), b[0], (*sum)[i][0]);
            (*sum)[i][1] = fma(vec4f(a[i / 4][i % 4]), b[1], (*sum)[i][1]);
        }
    }
}

// Puts a thread's sums.
fn finish(sum: ptr<function, Sums>, thread: u32) {
    @unroll for (var i = 0u; i < 8; i++) {
        @unroll for (var j = 0u; j < 2; j++) {
            put(thread / COLUMNS * 8 + i, thread % COLUMNS + j * COLUMNS, (*sum)[i][j]);
        }
    }
}
