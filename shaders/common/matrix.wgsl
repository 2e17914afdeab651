// The contraction on matrix units (`contract.wgsl`), for maps of 16-bit floats: what is multiplied are matrices that a
// subgroup holds together, SIDE x SIDE halves each, whose sums are 32-bit floats. The four subgroups of a workgroup
// share its tile, two along rows and two along images.

const BK = 16;
// Matrices of a subgroup, and vectors of one.
const ROWS = BM / 2 / SIDE;
const COLUMNS = BN / 2 / SIDE;
const VECTORS = SIDE * SIDE / 4;
const LANES = SUBGROUP;

alias TileVector = vec4<f16>;
alias Sums = array<array<Sum, COLUMNS>, ROWS>;

// One matrix of sums for each subgroup, on its way out.
var<workgroup> results: array<vec4f, 4 * VECTORS>;

// Adds the products of tile `which` to a subgroup's sums.
fn multiply(sum: ptr<function, Sums>, which: u32, thread: u32) {
    let subgroup = thread / LANES;
    let row = which * BK * ROW_VECTORS + subgroup / 2 * (ROW_VECTORS / 2);
    let image = which * BK * IMAGE_VECTORS + subgroup % 2 * (IMAGE_VECTORS / 2);
    for (var term = 0u; term < BK; term += SIDE) {
        @unroll for (var j = 0u; j < COLUMNS; j++) {
            let b = coopLoadT<Right>(&image_tiles[image + term * IMAGE_VECTORS + j * (SIDE / 4)], IMAGE_VECTORS);
            @unroll for (var i = 0u; i < ROWS; i++) {
                let a = coopLoad<Left>(&row_tiles[row + term * ROW_VECTORS + i * (SIDE / 4)], ROW_VECTORS);
                (*sum)[i][j] = coopMultiplyAdd(a, b, (*sum)[i][j]);
            }
        }
    }
}

// Puts a subgroup's sums, one matrix after the other.
fn finish(sum: ptr<function, Sums>, thread: u32) {
    let subgroup = thread / LANES;
    @unroll for (var i = 0u; i < ROWS; i++) {
        @unroll for (var j = 0u; j < COLUMNS; j++) {
            coopStoreT((*sum)[i][j], &results[subgroup * VECTORS], SIDE / 4);
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
