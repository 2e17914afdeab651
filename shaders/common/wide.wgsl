// The wide tile of a contraction: one subgroup of 8 lanes, four images a lane (one vector), TM rows of the other
// operand. Where a load costs as much as twenty multiplications (software drivers), four numbers at once cost little
// more than one; and whatever a loop keeps from trip to trip is loaded, masked and stored in each, so that a trip takes
// STEPS steps of the contraction: two are faster than one, and four were slower than two.

alias Sums = array<vec4f, TM>;

// Weights a lane holds where its rows are 8 apart.
const LOADS = (TM + 7) / 8;

// The sums, for a loop over them that is not written out: a store is hundreds of instructions of a software driver, and
// among too many its compiler loses the registers. One longer than the loop, or a driver might unroll it all the same.
alias Results = array<vec4f, TM + 1>;

// sum[j] += weight j · value of every step, lane h of the subgroup holding the weights 4h to 4h+3.
fn add_quads(sum: ptr<function, Sums>, weights: array<vec4f, STEPS>, values: array<vec4f, STEPS>) {
    for (var j = 0u; j < TM; j++) { // unrolled
        var total = (*sum)[j];
        for (var t = 0u; t < STEPS; t++) { // unrolled
            total = fma(vec4f(subgroupShuffle(weights[t], j / 4)[j % 4]), values[t], total);
        }
        (*sum)[j] = total;
    }
}

// sum[j] += weight j · value of two steps, lane h of the subgroup holding the weights h, h+8, h+16 and so on.
fn add_rows(sum: ptr<function, Sums>, weights: array<vec2f, LOADS>, values: array<vec4f, 2>) {
    for (var j = 0u; j < TM; j++) { // unrolled
        let own = subgroupShuffle(weights[j / 8], j % 8);
        (*sum)[j] = fma(vec4f(own.y), values[1], fma(vec4f(own.x), values[0], (*sum)[j]));
    }
}
