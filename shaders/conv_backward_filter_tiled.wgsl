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

fn row_vector(n: u32, rows: u32) -> vec4f {
    var values: vec4f;
    @unroll for (var i = 0u; i < 4; i++) {
        let row = row0 + rows * 4 + i;
        if n < N && row < WINDOWS {
            values[i] = f32(x[row * N + n]);
        }
    }
    return values;
}

fn image_vector(n: u32, filters: u32) -> vec4f {
    var values: vec4f;
    @unroll for (var i = 0u; i < 4; i++) {
        let k = k0 + filters * 4 + i;
        if n < N && k < K {
            values[i] = f32(dy[k * N + n]);
        }
    }
    return values;
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
