// Maximum and average over SIZE x SIZE windows, STRIDE apart (section 3.4), and their gradients: x is
// [MAPS][HEIGHT][WIDTH][IMAGES], y [MAPS][OUT_HEIGHT][OUT_WIDTH][IMAGES]. A thread owns one pixel of the
// output (forward) or a few of the input (backward) for a few images: gradients are gathered.
// Rows and columns are counted from the edge of the padding, so that nothing is negative.

@group(0) @binding(0) var<storage, read> x: array<MapNumbers>;
@group(0) @binding(1) var<storage, read_write> y: array<MapNumbers>;
@group(0) @binding(2) var<storage, read> y_saved: array<MapNumbers>;
@group(0) @binding(3) var<storage, read> dy: array<MapNumbers>;
@group(0) @binding(4) var<storage, read_write> dx: array<MapNumbers>;

const BATCH = IMAGES / VECTOR;
const OUTPUTS = MAPS * OUT_HEIGHT * OUT_WIDTH * BATCH;
const REACH = (SIZE + STRIDE - 1u) / STRIDE; // windows over one pixel, along one axis

// The input in blocks of STRIDE x STRIDE pixels, for the gradients.
const AREA = STRIDE * STRIDE;
const BLOCK_ROWS = (HEIGHT + PAD + STRIDE - 1u) / STRIDE;
const BLOCK_COLUMNS = (WIDTH + PAD + STRIDE - 1u) / STRIDE;
const BLOCKS = MAPS * BLOCK_ROWS * BLOCK_COLUMNS * BATCH;

// Column, row and map of an item of a map `width` wide.
fn pixel(item: u32, height: u32, width: u32) -> vec3u {
    let at = item / BATCH;
    return vec3u(at % width, at / width % height, at / (width * height));
}

// First element of a window's row `row` in x for the images of `item`; a row outside gives the nearest inside.
fn line(row: u32, map: u32, item: u32) -> u32 {
    return (map * HEIGHT + clamp(row, PAD, PAD + HEIGHT - 1u) - PAD) * WIDTH * BATCH + item % BATCH;
}

// Pixels of the window with index `at` that lie within the extent.
fn covered(at: u32, extent: u32) -> u32 {
    return min(at * STRIDE + SIZE, PAD + extent) - max(at * STRIDE, PAD);
}

@compute @workgroup_size(WORKGROUP)
fn max_forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < OUTPUTS; item += groups.x * WORKGROUP) {
        let at = pixel(item, OUT_HEIGHT, OUT_WIDTH);
        var best = Numbers();
        // A pixel outside stands for the nearest inside, which the window holds as well: the maximum is the same.
        for (var r = 0u; r < SIZE; r++) {
            let row = line(at.y * STRIDE + r, at.z, item);
            for (var c = 0u; c < SIZE; c++) {
                let column = clamp(at.x * STRIDE + c, PAD, PAD + WIDTH - 1u) - PAD;
                let v = Numbers(x[row + column * BATCH]);
                // Takes a NaN, and keeps it.
                let better = !(v <= best) & (best == best);
                best = select(best, v, better | vec4<bool>(r + c == 0u));
            }
        }
        y[item] = MapNumbers(best);
    }
}

@compute @workgroup_size(WORKGROUP)
fn average_forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < OUTPUTS; item += groups.x * WORKGROUP) {
        let at = pixel(item, OUT_HEIGHT, OUT_WIDTH);
        let rows = covered(at.y, HEIGHT);
        let columns = covered(at.x, WIDTH);
        let left = max(at.x * STRIDE, PAD) - PAD;
        var sum = Numbers();
        for (var r = 0u; r < rows; r++) {
            let row = line(max(at.y * STRIDE, PAD) + r, at.z, item);
            for (var c = 0u; c < columns; c++) {
                sum += Numbers(x[row + (left + c) * BATCH]);
            }
        }
        y[item] = MapNumbers(sum / f32(rows * columns));
    }
}

// Backward, a thread owns the STRIDE x STRIDE pixels that begin where a window does: which of them a window covers is
// then known when the shader is compiled, and every output is loaded once for all of them.

// First element of row `row`, column `column` of an input map; one outside gives the nearest inside.
fn input(row: u32, column: u32, map: u32, item: u32) -> u32 {
    return line(row, map, item) + (clamp(column, PAD, PAD + WIDTH - 1u) - PAD) * BATCH;
}

// Whether window `w` of those that reach a block, counted backwards from the one that begins with it, covers pixel `p`.
fn covers(w: u32, p: u32) -> bool {
    return w / REACH * STRIDE + p / STRIDE < SIZE && w % REACH * STRIDE + p % STRIDE < SIZE;
}

fn inside(at: u32, extent: u32) -> bool {
    return at >= PAD && at < PAD + extent;
}

// The full gradient to every pixel that equals the maximum, as in the released code.
@compute @workgroup_size(WORKGROUP)
fn max_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < BLOCKS; item += groups.x * WORKGROUP) {
        let at = pixel(item, BLOCK_ROWS, BLOCK_COLUMNS);
        var own: array<Numbers, AREA>;
        var sums: array<Numbers, AREA>;
        for (var p = 0u; p < AREA; p++) {
            own[p] = Numbers(x[input(at.y * STRIDE + p / STRIDE, at.x * STRIDE + p % STRIDE, at.z, item)]);
        }
        for (var w = 0u; w < REACH * REACH; w++) {
            let row = at.y - w / REACH; // wraps below 0, which is not < OUT_HEIGHT
            let column = at.x - w % REACH;
            if row < OUT_HEIGHT && column < OUT_WIDTH {
                let i = ((at.z * OUT_HEIGHT + row) * OUT_WIDTH + column) * BATCH + item % BATCH;
                let best = Numbers(y_saved[i]);
                let gradient = Numbers(dy[i]);
                for (var p = 0u; p < AREA; p++) {
                    if covers(w, p) {
                        sums[p] += select(Numbers(), gradient, own[p] == best);
                    }
                }
            }
        }
        for (var p = 0u; p < AREA; p++) {
            let row = at.y * STRIDE + p / STRIDE;
            let column = at.x * STRIDE + p % STRIDE;
            if inside(row, HEIGHT) && inside(column, WIDTH) {
                var gradient = sums[p];
                if RELU {
                    gradient = select(gradient, Numbers(), own[p] <= Numbers());
                }
                dx[input(row, column, at.z, item)] = MapNumbers(gradient);
            }
        }
    }
}

@compute @workgroup_size(WORKGROUP)
fn average_backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < BLOCKS; item += groups.x * WORKGROUP) {
        let at = pixel(item, BLOCK_ROWS, BLOCK_COLUMNS);
        var sums: array<Numbers, AREA>;
        for (var w = 0u; w < REACH * REACH; w++) {
            let row = at.y - w / REACH; // wraps below 0, which is not < OUT_HEIGHT
            let column = at.x - w % REACH;
            if row < OUT_HEIGHT && column < OUT_WIDTH {
                let i = ((at.z * OUT_HEIGHT + row) * OUT_WIDTH + column) * BATCH + item % BATCH;
                let share = Numbers(dy[i]) / f32(covered(row, HEIGHT) * covered(column, WIDTH));
                for (var p = 0u; p < AREA; p++) {
                    if covers(w, p) {
                        sums[p] += share;
                    }
                }
            }
        }
        for (var p = 0u; p < AREA; p++) {
            let row = at.y * STRIDE + p / STRIDE;
            let column = at.x * STRIDE + p % STRIDE;
            if inside(row, HEIGHT) && inside(column, WIDTH) {
                dx[input(row, column, at.z, item)] = MapNumbers(sums[p]);
            }
        }
    }
}
