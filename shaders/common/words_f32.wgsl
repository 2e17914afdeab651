// Loads of maps stored as 32-bit floats, by words: four or two neighbouring numbers, where loads are dear. A software
// driver pays by the word, for every lane by itself, and a word of 64 bits costs no more than one of 32.

alias Quad = vec2<u64>;
alias Pair = u64;

fn pair(numbers: Pair) -> vec2f {
    return vec2f(bitcast<f32>(u32(numbers)), bitcast<f32>(u32(numbers >> 32u)));
}

fn quad(numbers: Quad) -> vec4f {
    return vec4f(pair(numbers.x), pair(numbers.y));
}
