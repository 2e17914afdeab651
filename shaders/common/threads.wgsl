// The contraction by threads of their own (`steps.wgsl`): each holds 8 rows by 8 columns, as two vectors half a tile
// apart. Of neighbouring threads either the rows or the columns are the same, which halves the reads of workgroup memory
// on NVIDIA's GPUs.

// Threads along columns.
const COLUMNS = BN / 8;

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
    let row = row_term(which, 0) + own_rows(thread) * 2;
    let column = column_term(which, 0) + own_column(thread);
    // Compilers of GPUs write this loop out; written out here, it keeps a software driver's busy for minutes.
    for (var term = 0u; term < BK; term++) {
        let row_at = row_term(0, term) + row;
        let column_at = column_term(0, term) + column;
        let a = array(row_tiles[row_at], row_tiles[row_at + 1]);
        let b = array(column_tiles[column_at], column_tiles[column_at + COLUMNS]);
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
            put(own_rows(thread) * 8 + i, own_column(thread) + j * COLUMNS, (*sum)[i][j]);
        }
    }
}
