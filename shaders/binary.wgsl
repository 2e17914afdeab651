// y = a + b, a - b, a b, a / b, a^b, (a, a b where a < 0), max(a, b), min(a, b), comparisons as 1 and 0, or (a, 0 where
// b = 0), number by number, for COUNT numbers: sums of the towers' gradients, and the arithmetic of networks from other
// programs.

@group(0) @binding(0) var<storage, read> a: array<MapNumbers>;
@group(0) @binding(1) var<storage, read> b: array<MapNumbers>;
@group(0) @binding(2) var<storage, read_write> y: array<MapNumbers>;

const ADD = 0u;
const SUBTRACT = 1u;
const MULTIPLY = 2u;
const DIVIDE = 3u;
const POWER = 4u;
const LEAK = 5u;
const MAXIMUM = 6u;
const MINIMUM = 7u;
const LESS = 8u;
const AT_MOST = 9u;
const EQUAL = 10u;
const KEEP = 11u;

// x^e as C has it; WGSL leaves open what becomes of zeros and of negative numbers.
fn power(x: vec4f, e: vec4f) -> vec4f {
    let size = abs(x);
    // Infinity and NaN by their bits, which no compiler may take for an error or for impossible; compared with itself a
    // NaN may be equal or not.
    let infinity = bitcast<vec4f>(bitcast<vec4u>(size) | vec4u(0x7f800000u));
    let nan = bitcast<vec4f>(bitcast<vec4u>(size) | vec4u(0x7fc00000u));
    let unknown = (bitcast<vec4u>(size) > vec4u(0x7f800000u)) | (bitcast<vec4u>(abs(e)) > vec4u(0x7f800000u));
    let zero = size == vec4f();
    let negative = bitcast<vec4u>(x) > vec4u(0x7fffffffu);
    let whole = e == trunc(e);
    let odd = whole & (trunc(e * 0.5) * 2.0 != e);
    var y = pow(size, e);
    y = select(y, select(infinity, vec4f(), e > vec4f()), zero);
    y = select(y, select(select(nan, y, whole | zero), -y, odd), negative);
    y = select(y, x + e, unknown);
    return select(y, vec4f(1.0), (x == vec4f(1.0)) | (e == vec4f()));
}

// WGSL lets drivers take a number for one that is never NaN, but not its bits.
fn is_nan(v: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(v) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

fn pair(a: vec4f, b: vec4f) -> vec4f {
    switch OPERATION {
        case ADD: { return a + b; }
        case SUBTRACT: { return a - b; }
        case MULTIPLY: { return a * b; }
        case DIVIDE: { return a / b; }
        case LEAK: { return select(a, a * b, a < vec4f()); }
        case MAXIMUM: { return select(a, b, (b > a) | is_nan(b)); }
        case MINIMUM: { return select(a, b, (b < a) | is_nan(b)); }
        case LESS: { return select(vec4f(), vec4f(1.0), a < b); }
        case AT_MOST: { return select(vec4f(), vec4f(1.0), a <= b); }
        case EQUAL: { return select(vec4f(), vec4f(1.0), a == b); }
        case KEEP: { return select(a, vec4f(), b == vec4f()); }
        default: { return power(a, b); }
    }
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT / VECTOR; i += groups.x * WORKGROUP) {
        y[i] = MapNumbers(pair(vec4f(a[i]), vec4f(b[i])));
    }
}
