// Local response normalisation within a map (the released code's third normalisation; the paper does not mention it)
// and its gradient: y_i = x_i s_i^-beta,  s_i = k + alpha (sum of x_j^2 over the SIZE x SIZE pixels around i that lie
// in the map). A thread owns one column of one map for a few images and walks down its rows; sums of rows move through
// registers.

@group(0) @binding(0) var<storage, read> x: array<MapNumbers>;
@group(0) @binding(1) var<storage, read_write> y: array<MapNumbers>;
@group(0) @binding(2) var<storage, read> dy: array<MapNumbers>;
@group(0) @binding(3) var<storage, read_write> dx: array<MapNumbers>;

const BATCH = IMAGES / VECTOR;
const ITEMS = MAPS * WIDTH * BATCH;
const BEFORE = SIZE / 2u;
const AFTER = SIZE - 1u - BEFORE;
const SPAN = 2u * SIZE - 1u; // columns that the gradient of one column depends on

// Where row 0, column 0 of an item's map lies for its images.
fn origin(item: u32) -> u32 {
    return item / (WIDTH * BATCH) * (HEIGHT * WIDTH * BATCH) + item % BATCH;
}

// Offset of column `column` - `margin`; outside the map, that of the nearest column inside.
fn place(column: u32, margin: u32) -> u32 {
    return (clamp(column, margin, margin + WIDTH - 1u) - margin) * BATCH;
}

fn inside(column: u32, margin: u32) -> bool {
    return column >= margin && column < margin + WIDTH;
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < ITEMS; item += groups.x * WORKGROUP) {
        let start = origin(item);
        let column = item / BATCH % WIDTH;
        var rows: array<Numbers, SIZE>; // sums of squares of rows i - BEFORE to i + AFTER
        var own: array<Numbers, AFTER + 1u>; // x of rows i to i + AFTER
        for (var lead = 0u; lead < HEIGHT + AFTER; lead++) {
            for (var j = 1u; j < SIZE; j++) {
                rows[j - 1u] = rows[j];
            }
            for (var j = 1u; j <= AFTER; j++) {
                own[j - 1u] = own[j];
            }
            var sum = Numbers();
            if lead < HEIGHT {
                let row = start + lead * WIDTH * BATCH;
                for (var c = 0u; c < SIZE; c++) {
                    let v = Numbers(x[row + place(column + c, BEFORE)]);
                    sum += select(Numbers(), v * v, inside(column + c, BEFORE));
                    if c == BEFORE {
                        own[AFTER] = v;
                    }
                }
            }
            rows[SIZE - 1u] = sum;
            if lead >= AFTER {
                for (var j = 0u; j + 1u < SIZE; j++) {
                    sum += rows[j];
                }
                y[start + ((lead - AFTER) * WIDTH + column) * BATCH] = MapNumbers(own[0] * power(K + ALPHA * sum));
            }
        }
    }
}

// dx_i = dy_i s_i^-beta - 2 alpha beta x_i (sum of dy_j x_j s_j^(-beta-1) over the j whose window holds i).
@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < ITEMS; item += groups.x * WORKGROUP) {
        let start = origin(item);
        let column = item / BATCH % WIDTH;
        // For the SIZE columns whose windows hold this one, sums of squares of rows i to i + SIZE - 1.
        var rows: array<array<Numbers, SIZE>, SIZE>;
        var scaled: array<Numbers, BEFORE + 1u>; // dy s^-beta of rows i to j = i + BEFORE
        var pulls: array<Numbers, SIZE>; // sums of dy x s^(-beta-1) of rows i - AFTER to j
        for (var lead = 0u; lead < HEIGHT + SIZE - 1u; lead++) {
            // Zeros said aloud: through Dawn on Mesa, an array that a loop declares kept the last trip's.
            var squares = array<Numbers, SPAN>();
            if lead < HEIGHT {
                let row = start + lead * WIDTH * BATCH;
                for (var c = 0u; c < SPAN; c++) {
                    let v = Numbers(x[row + place(column + c, SIZE - 1u)]);
                    squares[c] = select(Numbers(), v * v, inside(column + c, SIZE - 1u));
                }
            }
            for (var e = 0u; e < SIZE; e++) {
                var sum = Numbers();
                for (var j = 1u; j < SIZE; j++) {
                    rows[e][j - 1u] = rows[e][j];
                }
                for (var c = 0u; c < SIZE; c++) {
                    sum += squares[e + c];
                }
                rows[e][SIZE - 1u] = sum;
            }
            for (var j = 1u; j < SIZE; j++) {
                pulls[j - 1u] = pulls[j];
            }
            for (var j = 1u; j <= BEFORE; j++) {
                scaled[j - 1u] = scaled[j];
            }
            var pull = Numbers();
            if lead >= AFTER && lead < HEIGHT + AFTER {
                let row = start + (lead - AFTER) * WIDTH * BATCH;
                for (var e = 0u; e < SIZE; e++) {
                    var sum = Numbers();
                    for (var j = 0u; j < SIZE; j++) {
                        sum += rows[e][j];
                    }
                    let s = K + ALPHA * sum;
                    let at = row + place(column + e, AFTER);
                    let p = Numbers(dy[at]) * power(s);
                    pull += select(Numbers(), p * Numbers(x[at]) / s, inside(column + e, AFTER));
                    if e == AFTER {
                        scaled[BEFORE] = p;
                    }
                }
            }
            pulls[SIZE - 1u] = pull;
            if lead >= SIZE - 1u {
                for (var j = 0u; j + 1u < SIZE; j++) {
                    pull += pulls[j];
                }
                let at = start + ((lead - (SIZE - 1u)) * WIDTH + column) * BATCH;
                dx[at] = MapNumbers(scaled[0] - 2.0 * ALPHA * BETA * Numbers(x[at]) * pull);
            }
        }
    }
}
