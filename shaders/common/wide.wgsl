// The wide tile of a contraction: one subgroup, VECTOR images a lane, TM rows of the other
// operand. Where a load costs as much as twenty multiplications (software drivers), four numbers at once cost little
// more than one; and whatever a loop keeps from trip to trip is loaded, masked and stored in each, so that a trip takes
// several steps of the contraction: two are faster than one, and four were slower than two.

alias Sums = array<vec4f, TM>;

// The sums, for a loop over them that is not written out: a store is hundreds of instructions of a software driver, and
// among too many its compiler loses the registers. One longer than the loop, or a driver might unroll it all the same.
alias Results = array<vec4f, TM + 1>;
