// Sums over the lanes of a workgroup that is one subgroup, in the driver's fixed order.

fn sum_lanes(value: f32, lane: u32) -> f32 {
    return subgroupAdd(value);
}
