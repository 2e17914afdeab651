// The contraction by threads of their own (`steps.wgsl`): each holds 8 rows by 8 columns, as two vectors half a tile
// apart. Of neighbouring threads either the rows or the columns are the same, which halves the reads of workgroup
// memory on NVIDIA's GPUs.

// Threads along columns.
const COLUMNS = BN / 8;
// Threads read whole rows of a tile, which need no padding.
const PADDING = 0;

alias TileVector = vec4f;
alias TileBlock = mat4x4f;
alias Sums = array<array<vec4f, 2>, 8>;

fn own_rows(thread: u32) -> u32 {
    return thread / (2 * COLUMNS) * 2 + thread % 2;
}

fn own_column(thread: u32) -> u32 {
    return thread / 2 % COLUMNS;
}

// Adds the products of tile `which` to a thread's sums.
fn multiply(sum: ptr<function, Sums>, which: u32, thread: u32) {
    var first_row = row_at(which, 0, own_rows(thread) * 8);
    var first_column = column_at(which, 0, own_column(thread) * 4);
    let end = first_row + row_at(0, BK, 0);
    // A compiler need not know how often the outer loop runs: software drivers, which would need minutes for the
    // products of a step written out, leave it a loop.
    for (; first_row < end; first_row += row_at(0, TERMS, 0)) {
        for (var term = 0u; term < TERMS; term++) {
            let row = first_row + row_at(0, term, 0);
            let column = first_column + column_at(0, term, 0);
            let a = array(row_tiles[row], row_tiles[row + 1]);
            let b = array(column_tiles[column], column_tiles[column + COLUMNS]);
            @unroll for (var i = 0u; i < 8; i++) {
                (*sum)[i][0] = fma(vec4f(a[i / 4][i % 4]), b[0], (*sum)[i][0]);
                (*sum)[i][1] = fma(vec4f(a[i / 4][i % 4]), b[1], (*sum)[i][1]);
            }
        }
        first_column += column_at(0, TERMS, 0);
    }
}

// Puts a thread's sums.
fn finish(sum: ptr<function, Sums>, thread: u32) {
    @unroll for (var i = 0u; i < 8; i++) {
        @unroll for (var j = 0u; j < 2; j++) {
            put(own_rows(thread) * 8 + i, own_column(thread) + j * COLUMNS, (*sum)[i][j]);
        }
    }
}

@compute @workgroup_size(THREADS)
fn contraction(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    tile(group, thread);
}
