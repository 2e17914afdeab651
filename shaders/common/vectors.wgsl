// An operand of a contraction (`steps.wgsl`) whose neighbours in a tile are neighbours in memory: threads bring vectors
// of four and lay them down as they are. `operand_offset(term, vector)` says where a vector lies from `operand_base` on
// and does not change from step to step; `operand_load(at)` loads it; `operand_mask(v, term)` makes what lies outside
// 0, when it is laid down and not when it is loaded, so that nothing waits for a load before it has to.

const OPERAND_LINES = false;
const OPERAND_VECTORS = OPERAND_EXTENT / 4;
const OPERAND_ALL = BK * OPERAND_VECTORS;
// From term to term in a tile.
const OPERAND_STRIDE = OPERAND_VECTORS + PADDING;
const OPERAND_TILE = BK * OPERAND_STRIDE;
const OPERAND_LOADS = (OPERAND_ALL + THREADS - 1) / THREADS;
// Terms that all threads bring at once, where they divide evenly.
const OPERAND_ROUND = select(0u, THREADS / OPERAND_VECTORS, THREADS % OPERAND_VECTORS == 0);

alias OperandHeld = array<TileVector, OPERAND_LOADS>;
alias OperandOwn = array<u32, OPERAND_LOADS>;

var<workgroup> operand_tiles: array<TileVector, 2 * OPERAND_TILE>;

// Term and vector that a thread brings at its `i`-th load, so that from load to load either changes by a constant.
fn operand_place(i: u32, thread: u32) -> vec2u {
    let load = i * THREADS + thread;
    let even = vec2u(i * OPERAND_ROUND + thread / OPERAND_VECTORS, thread % OPERAND_VECTORS);
    return select(vec2u(load / OPERAND_VECTORS, load % OPERAND_VECTORS), even, OPERAND_ROUND > 0);
}

// Offsets of the vectors that a thread brings.
fn operand_owns(thread: u32) -> OperandOwn {
    var own: OperandOwn;
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        let place = operand_place(i, thread);
        own[i] = operand_offset(min(place.x, BK - 1), place.y);
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
        let place = operand_place(i, thread);
        if OPERAND_ALL % THREADS == 0 || place.x < BK {
            operand_tiles[operand_at(which, place.x, place.y * 4)] = operand_mask(held[i], place.x);
        }
    }
}

// Where four rows of a term lie in a tile.
fn operand_at(which: u32, term: u32, row: u32) -> u32 {
    return which * OPERAND_TILE + term * OPERAND_STRIDE + row / 4;
}
