// An operand of a contraction (`steps.wgsl`) whose neighbours in a tile are neighbours in memory: threads bring vectors
// of four and lay them down as they are. `operand_offset(term, vector)` says where a vector lies from `operand_base` on and
// does not change from step to step; `operand_load(at)` loads it; `operand_mask(v, term)` makes what lies outside 0, when it is
// laid down and not when it is loaded, so that nothing waits for a load before it has to.

const OPERAND_VECTORS = OPERAND_EXTENT / 4;
const OPERAND_ALL = BK * OPERAND_VECTORS;
const OPERAND_LOADS = (OPERAND_ALL + THREADS - 1) / THREADS;

alias OperandHeld = array<TileVector, OPERAND_LOADS>;
alias OperandOwn = array<u32, OPERAND_LOADS>;

var<workgroup> operand_tiles: array<TileVector, 2 * OPERAND_ALL>;

// Offsets of the vectors that a thread brings.
fn operand_owns(thread: u32) -> OperandOwn {
    var own: OperandOwn;
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        let load = min(i * THREADS + thread, OPERAND_ALL - 1);
        own[i] = operand_offset(load / OPERAND_VECTORS, load % OPERAND_VECTORS);
    }
    return own;
}

fn operand_bring(own: OperandOwn) -> OperandHeld {
    var held: OperandHeld;
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        held[i] = operand_load(operand_base + own[i]);
    }
    return held;
}

fn operand_lay(held: OperandHeld, which: u32, thread: u32) {
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        let load = i * THREADS + thread;
        if OPERAND_ALL % THREADS == 0 || load < OPERAND_ALL {
            operand_tiles[which * OPERAND_ALL + load] = operand_mask(held[i], load / OPERAND_VECTORS);
        }
    }
}

// Where a term's vectors begin in a tile.
fn operand_term(which: u32, term: u32) -> u32 {
    return which * OPERAND_ALL + term * OPERAND_VECTORS;
}
