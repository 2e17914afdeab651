// Gradient of a convolution by its filters where the window is the map, a fully connected layer: dw[row][k] = sum over n
// of x[row][n] dy[k][n], one row an element of the map, by tiles in workgroup memory: BM rows by BN filters, which stand
// where the tile has images.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read> dy: array<Map>;
@group(0) @binding(2) var<storage, read_write> dw: array<vec4f>;

const WINDOWS = MAPS * R * S;

// First row and filter of the workgroup's tile.
var<private> row0: u32;
var<private> k0: u32;

// Image n of four neighbouring rows of x or of dy, 0 beyond the end.
fn rows_at(of_x: bool, first: u32, n: u32) -> vec4f {
    let rows = select(K, WINDOWS, of_x);
    var values: vec4f;
    @unroll for (var i = 0u; i < 4; i++) {
        let at = (first + i) * N + n;
        if n < N && first + i < rows {
            if of_x { values[i] = f32(x[at]); } else { values[i] = f32(dy[at]); }
        }
    }
    return values;
}

fn row_vector(n: u32, rows: u32) -> vec4f {
    return rows_at(true, row0 + rows * 4, n);
}

fn image_vector(n: u32, filters: u32) -> vec4f {
    return rows_at(false, k0 + filters * 4, n);
}

fn put(tile_row: u32, filters: u32, sum: vec4f) {
    let row = row0 + tile_row;
    let k = k0 / 4 + filters;
    if row >= WINDOWS || k >= K / 4 {
        return;
    }
    let at = row * (K / 4) + k;
    if ACCUMULATE {
        dw[at] += sum;
    } else {
        dw[at] = sum;
    }
}

@compute @workgroup_size(THREADS)
fn backward_filter(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    k0 = group.x * BN;
    row0 = group.y * BM;
    contract(N, thread);
}
