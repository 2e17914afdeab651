// Sums over the lanes of a workgroup, in the order of the lanes; lane 0 has the result.

var<workgroup> lane_values: array<f32, LANES>;

fn sum_lanes(value: f32, lane: u32) -> f32 {
    lane_values[lane] = value;
    workgroupBarrier();
    var sum = 0.0;
    if lane == 0 {
        for (var i = 0u; i < LANES; i++) {
            sum += lane_values[i];
        }
    }
    workgroupBarrier();
    return sum;
}
