// y = f(x), number by number, for COUNT numbers: functions of networks from other programs. NaN stays NaN.

@group(0) @binding(0) var<storage, read> x: array<Map>;
@group(0) @binding(1) var<storage, read_write> y: array<Map>;

const CLIP = 0u;
const LEAKY_RELU = 1u;
const ELU = 2u;
const SIGMOID = 3u;
const HARD_SIGMOID = 4u;
const HARD_SWISH = 5u;
const EXP = 6u;
const SQRT = 7u;
const ABS = 8u;
const UNBOUNDED = 3.4028234e38; // from here on a bound is none

fn function(v: f32) -> f32 {
    switch FUNCTION {
        case CLIP: {
            let low = select(v, A, v < A && A > -UNBOUNDED);
            return select(low, B, low > B && B < UNBOUNDED);
        }
        case LEAKY_RELU: { return select(v, A * v, v < 0.0); }
        case ELU: {
            // exp v - 1 loses all digits near 0; the series has them.
            let series = v * (1.0 + v * (0.5 + v * (1.0 / 6.0 + v * (1.0 / 24.0))));
            return select(v, A * select(exp(v) - 1.0, series, v > -0.05), v < 0.0);
        }
        case SIGMOID: { return 1.0 / (1.0 + exp(-v)); }
        case HARD_SIGMOID: { return clamp(A * v + B, 0.0, 1.0); }
        case HARD_SWISH: { return v * clamp(v / 6.0 + 0.5, 0.0, 1.0); }
        case EXP: { return exp(v); }
        case SQRT: { return sqrt(v); }
        case ABS: { return abs(v); }
        default: { return -v; }
    }
}

@compute @workgroup_size(WORKGROUP)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < COUNT; i += groups.x * WORKGROUP) {
        let v = f32(x[i]);
        // NaN by its bits: compilers may assume that there is none.
        y[i] = Map(select(function(v), v, (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u));
    }
}
