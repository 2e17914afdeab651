// Local response normalisation across maps and its gradient (section 3.3 of the paper):
// y_i = x_i s_i^-beta,  s_i = k + alpha (sum of x_j^2 over j in i-BEFORE..i+AFTER, clipped to 0..MAPS).
// A thread owns one pixel of a few images and walks the maps; the window moves through registers, and every sum is
// taken afresh from it: a running sum would drift.

@group(0) @binding(0) var<storage, read> x: array<MapNumbers>;
@group(0) @binding(1) var<storage, read_write> y: array<MapNumbers>;
@group(0) @binding(2) var<storage, read> dy: array<MapNumbers>;
@group(0) @binding(3) var<storage, read_write> dx: array<MapNumbers>;

const COLUMNS = PIXELS * IMAGES / VECTOR;
const BEFORE = SIZE / 2u;
const AFTER = SIZE - 1u - BEFORE;

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var column = id.x; column < COLUMNS; column += groups.x * WORKGROUP) {
        var window: array<Numbers, SIZE>; // x of maps i - BEFORE to i + AFTER
        for (var lead = 0u; lead < MAPS + AFTER; lead++) {
            for (var j = 1u; j < SIZE; j++) {
                window[j - 1u] = window[j];
            }
            window[SIZE - 1u] = Numbers();
            if lead < MAPS {
                window[SIZE - 1u] = Numbers(x[lead * COLUMNS + column]);
            }
            if lead >= AFTER {
                var sum = Numbers();
                for (var j = 0u; j < SIZE; j++) {
                    sum += window[j] * window[j];
                }
                y[(lead - AFTER) * COLUMNS + column] = MapNumbers(window[BEFORE] * power(K + ALPHA * sum));
            }
        }
    }
}

// dx_i = dy_i s_i^-beta - 2 alpha beta x_i (sum of dy_j x_j s_j^(-beta-1) over the j whose window holds i).
@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var column = id.x; column < COLUMNS; column += groups.x * WORKGROUP) {
        var window: array<Numbers, SIZE>; // x of maps i to i + SIZE - 1, the window of j = i + BEFORE
        var scaled: array<Numbers, BEFORE + 1u>; // dy s^-beta of maps i to j
        var pulls: array<Numbers, SIZE>; // dy x s^(-beta-1) of maps i - AFTER to j
        for (var lead = 0u; lead < MAPS + SIZE - 1u; lead++) {
            for (var j = 1u; j < SIZE; j++) {
                window[j - 1u] = window[j];
                pulls[j - 1u] = pulls[j];
            }
            for (var j = 1u; j <= BEFORE; j++) {
                scaled[j - 1u] = scaled[j];
            }
            window[SIZE - 1u] = Numbers();
            pulls[SIZE - 1u] = Numbers();
            if lead < MAPS {
                window[SIZE - 1u] = Numbers(x[lead * COLUMNS + column]);
            }
            if lead >= AFTER && lead < MAPS + AFTER {
                var sum = Numbers();
                for (var j = 0u; j < SIZE; j++) {
                    sum += window[j] * window[j];
                }
                let s = K + ALPHA * sum;
                scaled[BEFORE] = Numbers(dy[(lead - AFTER) * COLUMNS + column]) * power(s);
                pulls[SIZE - 1u] = scaled[BEFORE] * window[BEFORE] / s;
            }
            if lead >= SIZE - 1u {
                var sum = Numbers();
                for (var j = 0u; j < SIZE; j++) {
                    sum += pulls[j];
                }
                var gradient = scaled[0] - 2.0 * ALPHA * BETA * window[0] * sum;
                if RELU {
                    gradient = select(gradient, Numbers(), window[0] <= Numbers());
                }
                dx[(lead - (SIZE - 1u)) * COLUMNS + column] = MapNumbers(gradient);
            }
        }
    }
}
