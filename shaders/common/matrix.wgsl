// The contraction on matrix units (`steps.wgsl`), for maps of 16-bit floats: what is multiplied are matrices that a
// subgroup holds together, SIDE x SIDE halves each, whose sums are 32-bit floats. Four subgroups share the workgroup's
// tile. Where a driver makes more of them, up to UNITS, the others compute the same once more and put nothing.

// Subgroups along the tile's columns; DOWN are along its rows, so that the part of one is nearly a square.
const ACROSS = 4 / DOWN;
// Rows and columns of a subgroup's part, and matrices along them.
const UNIT_ROWS = BM / DOWN;
const UNIT_COLUMNS = BN / ACROSS;
const ROWS = UNIT_ROWS / SIDE;
const COLUMNS = UNIT_COLUMNS / SIDE;
// Matrices along a step's terms.
const MATRICES = BK / SIDE;
// Vectors of a matrix of sums.
const VECTORS = SIDE * SIDE / 4;
// Vectors behind each line of an operand's tile: lines that a matrix is read by begin 16 bytes apart among the banks.
const PADDING = 2;

alias TileVector = vec4<f16>;
alias Sums = array<array<Sum, COLUMNS>, ROWS>;

// The subgroup of this thread, its lane there, and the number of lanes.
var<private> unit: u32;
var<private> lane: u32;
var<private> lanes: u32;

// One matrix of sums for each subgroup, on its way out.
var<workgroup> results: array<vec4f, UNITS * VECTORS>;

// Adds the products of tile `which` to a subgroup's sums.
fn multiply(sum: ptr<function, Sums>, which: u32, thread: u32) {
    let row = unit % 4 / ACROSS * UNIT_ROWS;
    let column = unit % ACROSS * UNIT_COLUMNS;
    @unroll for (var t = 0u; t < MATRICES; t++) {
        var a: array<Left, ROWS>;
        @unroll for (var i = 0u; i < ROWS; i++) {
            let at = row_at(which, t * SIDE, row + i * SIDE);
            if ROW_LINES {
                a[i] = coopLoadT<Left>(&row_tiles[at], ROW_STRIDE);
            } else {
                a[i] = coopLoad<Left>(&row_tiles[at], ROW_STRIDE);
            }
        }
        @unroll for (var j = 0u; j < COLUMNS; j++) {
            let at = column_at(which, t * SIDE, column + j * SIDE);
            var b: Right;
            if COLUMN_LINES {
                b = coopLoad<Right>(&column_tiles[at], COLUMN_STRIDE);
            } else {
                b = coopLoadT<Right>(&column_tiles[at], COLUMN_STRIDE);
            }
            @unroll for (var i = 0u; i < ROWS; i++) {
                (*sum)[i][j] = coopMultiplyAdd(a[i], b, (*sum)[i][j]);
            }
        }
    }
}

// Puts a subgroup's sums, one matrix after the other.
fn finish(sum: ptr<function, Sums>, thread: u32) {
    let row = unit / ACROSS * UNIT_ROWS;
    let column = unit % ACROSS * UNIT_COLUMNS / 4;
    @unroll for (var i = 0u; i < ROWS; i++) {
        @unroll for (var j = 0u; j < COLUMNS; j++) {
            coopStoreT((*sum)[i][j], &results[unit * VECTORS], SIDE / 4);
            workgroupBarrier();
            if unit < 4 {
                for (var v = lane; v < VECTORS; v += lanes) {
                    let vector = column + j * (SIDE / 4) + v % (SIDE / 4);
                    put(row + i * SIDE + v / (SIDE / 4), vector, results[unit * VECTORS + v]);
                }
            }
            workgroupBarrier();
        }
    }
}

@compute @workgroup_size(THREADS)
fn contraction(
    @builtin(workgroup_id) group: vec3u,
    @builtin(local_invocation_index) thread: u32,
    @builtin(subgroup_id) own: u32,
    @builtin(subgroup_invocation_id) place: u32,
    @builtin(subgroup_size) size: u32,
) {
    unit = own;
    lane = place;
    lanes = size;
    tile(group, thread);
}
