// The share that a workgroup has of `steps` steps: one of PARTS parts of about equal length, all of them where there is
// but one.

var<private> part: u32;

// First step of part `own` and the number of its steps.
fn share(steps: u32, own: u32) -> vec2u {
    let each = (steps + PARTS - 1) / PARTS;
    let first = min(own * each, steps);
    return vec2u(first, min(each, steps - first));
}
