// Softmax over classes (section 3.5), p = exp(x - max) / sum of exp(x - max), its loss with the two errors, and the
// gradient (p - [class = label]) / images. x, p, dx are [CLASSES][IMAGES], loss and errors [IMAGES].
//
// A workgroup has IMAGE_LANES images, so that a row of lanes reads consecutive addresses, and CLASS_LANES lanes for
// each of them: a lane strides over the classes, then a tree of fixed order runs over the lanes.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read> labels: array<u32>;
@group(0) @binding(2) var<storage, read> step: array<u32>;
@group(0) @binding(3) var<storage, read_write> p: array<f32>;
@group(0) @binding(4) var<storage, read_write> loss: array<f32>;
@group(0) @binding(5) var<storage, read_write> top1: array<f32>;
@group(0) @binding(6) var<storage, read_write> top5: array<f32>;
@group(0) @binding(7) var<storage, read> p_saved: array<f32>;
@group(0) @binding(8) var<storage, read> health: array<f32>;
@group(0) @binding(9) var<storage, read_write> dx: array<Map>;

const LANES = IMAGE_LANES * CLASS_LANES;
const LOWEST = -3.4028234e38; // the least f32: with one digit more it would be rounded beyond
const INFINITY_BITS = 0x7f800000u;
const NAN_BITS = 0x7fc00000u;
const LOW_BITS = 0xff800000u; // -inf

var<workgroup> greatest: array<f32, LANES>;
var<workgroup> sizes: array<u32, LANES>;
var<workgroup> sums: array<vec3f, LANES>;

struct Extent {
    // The greatest logit of an image.
    most: f32,
    // One more than the greatest magnitude, as bits: compilers may assume that there are no NaN, but nothing about
    // bits. 0 where all are -inf and may be.
    size: u32,
}

// Whether `v` is a -inf that stands for a probability of 0.
fn never(v: f32) -> bool {
    return !FINITE && bitcast<u32>(v) == LOW_BITS;
}

fn ill(extent: Extent) -> bool {
    return extent.size > INFINITY_BITS || extent.size == 0u;
}

fn extent(image: u32, lane: vec3u) -> Extent {
    var most = select(f32(x[image]), LOWEST, never(f32(x[image])));
    var size = 0u;
    for (var k = lane.y; k < CLASSES; k += CLASS_LANES) {
        let v = f32(x[k * IMAGES + image]);
        if !never(v) {
            most = max(most, v);
            size = max(size, (bitcast<u32>(v) & 0x7fffffffu) + 1u);
        }
    }
    let at = lane.y * IMAGE_LANES + lane.x;
    greatest[at] = most;
    sizes[at] = size;
    workgroupBarrier();
    for (var half = CLASS_LANES / 2; half > 0; half /= 2) {
        if lane.y < half {
            greatest[at] = max(greatest[at], greatest[at + half * IMAGE_LANES]);
            sizes[at] = max(sizes[at], sizes[at + half * IMAGE_LANES]);
        }
        workgroupBarrier();
    }
    return Extent(greatest[lane.x], sizes[lane.x]);
}

// The sum over the lanes of an image.
fn tree(share: vec3f, lane: vec3u) -> vec3f {
    let at = lane.y * IMAGE_LANES + lane.x;
    sums[at] = share;
    workgroupBarrier();
    for (var half = CLASS_LANES / 2; half > 0; half /= 2) {
        if lane.y < half {
            sums[at] += sums[at + half * IMAGE_LANES];
        }
        workgroupBarrier();
    }
    return sums[lane.x];
}

@compute @workgroup_size(IMAGE_LANES, CLASS_LANES)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) lane: vec3u) {
    let image = id.x;
    let extent = extent(image, lane);
    var share = vec3f();
    for (var k = lane.y; k < CLASSES; k += CLASS_LANES) {
        let v = f32(x[k * IMAGES + image]);
        share.x += select(exp(v - extent.most), 0.0, never(v));
    }
    let sum = tree(share, lane).x;
    for (var k = lane.y; k < CLASSES; k += CLASS_LANES) {
        let v = f32(x[k * IMAGES + image]);
        let difference = v - extent.most;
        var value = select(exp(difference) / sum, difference - log(sum), LOG);
        if never(v) {
            value = select(0.0, v, LOG);
        }
        p[k * IMAGES + image] = select(value, bitcast<f32>(extent.size | NAN_BITS), ill(extent));
    }
}

@compute @workgroup_size(IMAGE_LANES, CLASS_LANES)
fn losses(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) lane: vec3u) {
    let image = id.x;
    let label = labels[image];
    let score = f32(x[min(label, CLASSES - 1) * IMAGES + image]);
    let extent = extent(image, lane);
    // Sum of exponentials; logits above the label's and equal to it. The counts are exact.
    var share = vec3f();
    for (var k = lane.y; k < CLASSES; k += CLASS_LANES) {
        let v = f32(x[k * IMAGES + image]);
        share += vec3f(exp(v - extent.most), select(0.0, 1.0, v > score), select(0.0, 1.0, v == score));
    }
    let sum = tree(share, lane);
    if lane.y != 0 {
        return;
    }
    if label == NO_LABEL {
        loss[image] = 0.0;
        top1[image] = 0.0;
        top5[image] = 0.0;
        return;
    }
    if ill(extent) {
        loss[image] = bitcast<f32>(extent.size | NAN_BITS);
        top1[image] = 1.0;
        top5[image] = 1.0;
        return;
    }
    // Near 1 the logarithm of a driver has only an absolute bound; a certain prediction costs exactly nothing.
    loss[image] = select(log(sum.x), 0.0, sum.x == 1.0) + (extent.most - score);
    top1[image] = 1.0 - credit(1.0, sum.y, sum.z);
    top5[image] = 1.0 - credit(5.0, sum.y, sum.z);
}

// The chance that the label is among the first `ranks`, when `above` logits are greater and `equal` tie in random
// order.
fn credit(ranks: f32, above: f32, equal: f32) -> f32 {
    return clamp((ranks - above) / equal, 0.0, 1.0);
}

@compute @workgroup_size(WORKGROUP)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let images = f32(max(step[STEP_IMAGES], 1u));
    let scale = health[HEALTH_SCALE];
    for (var i = id.x; i < CLASSES * IMAGES; i += groups.x * WORKGROUP) {
        let label = labels[i % IMAGES];
        let hit = select(0.0, 1.0, label == i / IMAGES);
        dx[i] = Map(select(scale * ((p_saved[i] - hit) / images), 0.0, label == NO_LABEL));
    }
}
