// The wide tile of a contraction: one subgroup of 8 lanes, four images a lane (one vector), TM rows of the other
// operand. Where a load costs as much as ten multiplications (software drivers), four numbers at once cost little more
// than one; and the body of the innermost loop stays so short that the compiler keeps what it loads in registers.

alias Sums = array<vec4f, TM>;

// Weights a lane holds where its rows are 8 apart.
const LOADS = (TM + 7) / 8;

// The sums, for a loop over them that is not written out: a store is hundreds of instructions of a software driver, and
// among too many its compiler loses the registers. One longer than the loop, or a driver might unroll it all the same.
alias Results = array<vec4f, TM + 1>;

// sum[j] += weight j · value, lane h of the subgroup holding the weights 4h to 4h+3.
fn add_quads(sum: ptr<function, Sums>, weights: vec4f, value: vec4f) {
    for (var j = 0u; j < TM; j++) { // unrolled
        (*sum)[j] = fma(vec4f(subgroupShuffle(weights, j / 4)[j % 4]), value, (*sum)[j]);
    }
}

// sum[j] += weight j · value, lane h of the subgroup holding the weights h, h+8, h+16 and so on.
fn add_rows(sum: ptr<function, Sums>, weights: array<f32, LOADS>, value: vec4f) {
    for (var j = 0u; j < TM; j++) { // unrolled
        (*sum)[j] = fma(vec4f(subgroupShuffle(weights[j / 8], j % 8)), value, (*sum)[j]);
    }
}
