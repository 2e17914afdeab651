// From stored bytes to the network's input: crop, mirror, subtract the mean image, change the colours, scale.
// Images are packed bytes [N][size][size][3], four a word, little end first; the input is [3][crop][crop][N].

@group(0) @binding(0) var<storage, read> images: array<u32>;
// Row and column of the crop's corner, whether it is mirrored, unused.
@group(0) @binding(1) var<storage, read> views: array<vec4u>;
// What is added to red, green and blue, and what all is multiplied with.
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
        let row = min(view.x, SIZE - CROP) + i;
        let column = min(view.y, SIZE - CROP) + select(j, CROP - 1 - j, view.z != 0);
        let at = (row * SIZE + column) * 3;
        let mean_at = select(at, ((BORDER + i) * SIZE + BORDER + j) * 3, MEAN_CENTRED);
        let first = n * SIZE * SIZE * 3 + at;
        let pixel = vec3f(byte(first), byte(first + 1), byte(first + 2));
        let average = vec3f(mean[mean_at], mean[mean_at + 1], mean[mean_at + 2]);
        let colour = (pixel - average + colours[n].xyz) * vec3f(SCALE_R, SCALE_G, SCALE_B) * colours[n].w;
        y[item] = Map(colour.x);
        y[PLANE + item] = Map(colour.y);
        y[2 * PLANE + item] = Map(colour.z);
    }
}
