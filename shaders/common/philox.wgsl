// Philox4x32-10 (Salmon et al. 2011), counter-based random words: the same bits as `random.rs`.

// High and low word of a 32 x 32 bit product; WGSL has no 64-bit integers.
fn multiply(a: u32, b: u32) -> vec2u {
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a0 * b0;
    let middle = a1 * b0 + (low >> 16u);
    let cross = a0 * b1 + (middle & 0xffffu);
    return vec2u(a1 * b1 + (middle >> 16u) + (cross >> 16u), a * b);
}

fn philox(counter: vec4u, key: vec2u) -> vec4u {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        let a = multiply(0xD2511F53u, c.x);
        let b = multiply(0xCD9E8D57u, c.z);
        c = vec4u(b.x ^ c.y ^ k.x, b.y, a.x ^ c.w ^ k.y, a.y);
        k += vec2u(0x9E3779B9u, 0xBB67AE85u);
    }
    return c;
}

// Uniform in [0, 1) from the upper 24 bits, exact in f32.
fn unit(words: vec4u) -> vec4f {
    return vec4f(words >> vec4u(8u)) * (1.0 / 16777216.0);
}
