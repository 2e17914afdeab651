// The activation f: ReLU (section 3.1), tanh (Figure 1) or none. NaN passes through: a network that diverges must not
// look healthy.

const LINEAR = 0u;
const RELU = 1u;
const TANH = 2u;

fn activate(v: f32) -> f32 {
    if ACTIVATION == RELU {
        return select(v, 0.0, v <= 0.0);
    }
    if ACTIVATION == TANH {
        // tanh of the driver may overflow for large arguments; 15 is past the last digit of f32.
        // NaN by its bits: compilers may assume that a number equals itself.
        return select(tanh(clamp(v, -15.0, 15.0)), v, (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u);
    }
    return v;
}

// The gradient by x of y = f(x), from that by y: relu' = [y > 0], tanh' = 1 - y^2.
fn through(dy: vec4f, y: vec4f) -> vec4f {
    if ACTIVATION == RELU {
        return select(dy, vec4f(), y <= vec4f());
    }
    if ACTIVATION == TANH {
        return dy * (1.0 - y * y);
    }
    return dy;
}
