// Loads of maps stored as 16-bit floats, by words: four or two neighbouring numbers (`words_f32.wgsl`).

alias Quad = u64;
alias Pair = u32;

fn pair(numbers: Pair) -> vec2f {
    return unpack2x16float(numbers);
}

fn quad(numbers: Quad) -> vec4f {
    return vec4f(pair(u32(numbers)), pair(u32(numbers >> 32u)));
}
