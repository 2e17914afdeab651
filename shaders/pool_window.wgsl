// Maximum and average over any windows, oblong, dilated, padded by any number of pixels: x is
// [MAPS][HEIGHT][WIDTH][IMAGES], y [MAPS][OUT_HEIGHT][OUT_WIDTH][IMAGES]. A thread owns one pixel of the output
// for VECTOR images.

@group(0) @binding(0) var<storage, read> x: array<Numbers>;
@group(0) @binding(1) var<storage, read_write> y: array<Numbers>;

const BATCH = IMAGES / VECTOR;
const OUTPUTS = MAPS * OUT_HEIGHT * OUT_WIDTH * BATCH;

// Column, row and map of an output.
fn pixel(item: u32) -> vec3u {
    let at = item / BATCH;
    return vec3u(at % OUT_WIDTH, at / OUT_WIDTH % OUT_HEIGHT, at / (OUT_WIDTH * OUT_HEIGHT));
}

@compute @workgroup_size(WORKGROUP)
fn window_max(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < OUTPUTS; item += groups.x * WORKGROUP) {
        let at = pixel(item);
        // -inf, made at run time: WGSL has no such constant.
        var best = Numbers(bitcast<f32>(0xff800000u | (at.x & 0u)));
        for (var r = 0u; r < ROWS; r++) {
            // Below zero wraps around to a large number and fails the comparison too.
            let row = at.y * STRIDE_Y + r * DILATION_Y - PAD_Y;
            for (var c = 0u; c < COLUMNS; c++) {
                let column = at.x * STRIDE_X + c * DILATION_X - PAD_X;
                if row < HEIGHT && column < WIDTH {
                    let v = x[((at.z * HEIGHT + row) * WIDTH + column) * BATCH + item % BATCH];
                    // Takes a NaN, and keeps it.
                    best = select(best, v, !(v <= best) & (best == best));
                }
            }
        }
        y[item] = best;
    }
}

// Elements of window `at` from `low` to below `high`, both counted from the edge of the padding.
fn counted(at: u32, size: u32, stride: u32, dilation: u32, low: u32, high: u32) -> f32 {
    var count = 0u;
    for (var i = 0u; i < size; i++) {
        let place = at * stride + i * dilation;
        count += u32(place >= low && place < high);
    }
    return f32(count);
}

@compute @workgroup_size(WORKGROUP)
fn window_average(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < OUTPUTS; item += groups.x * WORKGROUP) {
        let at = pixel(item);
        var sum = Numbers();
        for (var r = 0u; r < ROWS; r++) {
            let row = at.y * STRIDE_Y + r * DILATION_Y - PAD_Y;
            for (var c = 0u; c < COLUMNS; c++) {
                let column = at.x * STRIDE_X + c * DILATION_X - PAD_X;
                if row < HEIGHT && column < WIDTH {
                    sum += x[((at.z * HEIGHT + row) * WIDTH + column) * BATCH + item % BATCH];
                }
            }
        }
        let rows = counted(at.y, ROWS, STRIDE_Y, DILATION_Y, LOW_Y, HIGH_Y);
        let columns = counted(at.x, COLUMNS, STRIDE_X, DILATION_X, LOW_X, HIGH_X);
        y[item] = sum / max(rows * columns, 1.0);
    }
}
