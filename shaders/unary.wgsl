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
const NEGATE = 9u;
const ERF = 10u;
const LOG = 11u;
const SOFTPLUS = 12u;
const SIGN = 13u;
const RECIPROCAL = 14u;
const SELU = 15u;
const CELU = 16u;
const MISH = 17u;
const GELU = 18u;
const GELU_TANH = 19u;
const SWISH = 20u;
const UNBOUNDED = 3.4028234e38; // from here on a bound is none

// exp v - 1 for v < 0. The difference loses all digits near 0; the series has them.
fn exp_minus_one(v: f32) -> f32 {
    let series = v * (1.0 + v * (0.5 + v * (1.0 / 6.0 + v * (1.0 / 24.0))));
    return select(exp(v) - 1.0, series, v > -0.05);
}

// log(1 + e) for 0 <= e <= 1, likewise.
fn log_of_one_and(e: f32) -> f32 {
    let series = e * (1.0 - e * (0.5 - e * (1.0 / 3.0 - e * 0.25)));
    return select(log(1.0 + e), series, e < 0.02);
}

// The error function as a quotient of polynomials, 6.5e-8 off at most; from 3.9 on it is 1, so that GELU vanishes.
fn erf(v: f32) -> f32 {
    let x = clamp(v, -4.0, 4.0);
    let s = x * x;
    var above = -2.72614225801306e-10 * s + 2.77068142495902e-8;
    above = (above * s - 2.10102402082508e-6) * s - 5.69250639462346e-5;
    above = ((above * s - 7.34990630326855e-4) * s - 2.95459980854025e-3) * s - 1.60960333262415e-2;
    let below = (-1.45660718464996e-5 * s - 2.13374055278905e-4) * s - 1.68282697438203e-3;
    let quotient = x * above / ((below * s - 7.37332916720468e-3) * s - 1.42647390514189e-2);
    return select(quotient, sign(v), abs(v) > 3.9);
}

fn function(v: f32) -> f32 {
    switch FUNCTION {
        case CLIP: {
            let low = select(v, A, v < A && A > -UNBOUNDED);
            return select(low, B, low > B && B < UNBOUNDED);
        }
        case LEAKY_RELU: { return select(v, A * v, v < 0.0); }
        case ELU: { return select(v, A * exp_minus_one(v), v < 0.0); }
        case SIGMOID: { return 1.0 / (1.0 + exp(-v)); }
        case HARD_SIGMOID: { return clamp(A * v + B, 0.0, 1.0); }
        case HARD_SWISH: { return v * clamp(v / 6.0 + 0.5, 0.0, 1.0); }
        case EXP: { return exp(v); }
        case SQRT: { return sqrt(v); }
        case ABS: { return abs(v); }
        case NEGATE: { return -v; }
        case ERF: { return erf(v); }
        case LOG: { return log(v); }
        case SOFTPLUS: { return max(v, 0.0) + log_of_one_and(exp(-abs(v))); }
        case SIGN: { return sign(v); }
        case RECIPROCAL: { return 1.0 / v; }
        case SELU: { return B * select(v, A * exp_minus_one(v), v < 0.0); }
        case CELU: { return select(v, A * exp_minus_one(v / A), v < 0.0); }
        case MISH: {
            let e = exp(min(v, 20.0));
            let part = e * (e + 2.0);
            return v * (part / (part + 2.0));
        }
        case GELU: { return v * (0.5 + 0.5 * erf(v * 0.7071067811865476)); }
        case GELU_TANH: {
            // Beyond 10 the hyperbolic tangent is 1, but some drivers' is a quotient of infinities.
            let inner = 0.7978845608028654 * (v + 0.044715 * v * v * v);
            return v * (0.5 + 0.5 * tanh(clamp(inner, -10.0, 10.0)));
        }
        case SWISH: { return v / (1.0 + exp(-A * v)); }
        default: { return v / (1.0 + abs(v)); }
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
