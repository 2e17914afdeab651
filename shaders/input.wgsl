// From stored bytes to the network's input (sections 2 and 4.1): y = (pixel - mean + shift) scale gain, cropped and
// mirrored. Images are packed bytes [IMAGES][SIZE][SIZE][3], four a word, little end first; the mean is
// [SIZE][SIZE][3], y [3][CROP][CROP][IMAGES].

@group(0) @binding(0) var<storage, read> images: array<u32>;
// By image, as `common/views.wgsl` says.
@group(0) @binding(1) var<storage, read> views: array<vec4u>;
@group(0) @binding(2) var<storage, read> colours: array<vec4f>;
@group(0) @binding(3) var<storage, read> mean: array<f32>;
@group(0) @binding(4) var<storage, read_write> y: array<Map>;

const BORDER = (SIZE - CROP) / 2;
const PLANE = CROP * CROP * IMAGES;

fn byte(index: u32) -> f32 {
    return f32((images[index / 4] >> (index % 4 * 8)) & 0xffu);
}

// An invocation has the three colours of one pixel, which lie side by side.
@compute @workgroup_size(WORKGROUP)
fn crop(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var item = id.x; item < PLANE; item += groups.x * WORKGROUP) {
        let n = item % IMAGES;
        let j = item / IMAGES % CROP;
        let i = item / IMAGES / CROP;
        let view = views[n];
        // A view that does not fit is moved inside.
        let row = min(view[VIEW_ROW], SIZE - CROP) + i;
        let column = min(view[VIEW_COLUMN], SIZE - CROP) + select(j, CROP - 1 - j, view[VIEW_MIRROR] != 0);
        let at = (row * SIZE + column) * 3;
        let mean_at = select(at, ((BORDER + i) * SIZE + BORDER + j) * 3, MEAN_CENTRED);
        let first = n * SIZE * SIZE * 3 + at;
        let pixel = vec3f(byte(first), byte(first + 1), byte(first + 2));
        let average = vec3f(mean[mean_at], mean[mean_at + 1], mean[mean_at + 2]);
        let change = colours[n];
        let shift = vec3f(change[COLOUR_RED], change[COLOUR_GREEN], change[COLOUR_BLUE]);
        let colour = (pixel - average + shift) * vec3f(SCALE_R, SCALE_G, SCALE_B) * change[COLOUR_GAIN];
        y[item] = Map(colour.x);
        y[PLANE + item] = Map(colour.y);
        y[2 * PLANE + item] = Map(colour.z);
    }
}
