// An operand of a contraction on matrix units (`steps.wgsl`) whose terms are neighbours in memory: threads bring
// vectors of four terms and lay them down as they are, a line of BK terms for each row. `operand_offset(term, row)`,
// `operand_element(row)` and `operand_inside(elements)` are those of `blocks.wgsl`.

const OPERAND_LINES = true;
const OPERAND_VECTORS = BK / 4;
const OPERAND_STRIDE = OPERAND_VECTORS + PADDING;
const OPERAND_TILE = OPERAND_EXTENT * OPERAND_STRIDE;
const OPERAND_ALL = OPERAND_EXTENT * OPERAND_VECTORS;
const OPERAND_LOADS = (OPERAND_ALL + THREADS - 1) / THREADS;

struct OperandVector {
    numbers: TileVector,
    inside: bool,
}

struct OperandPlace {
    offset: u32,
    element: u32,
}

alias OperandHeld = array<OperandVector, OPERAND_LOADS>;
alias OperandOwn = array<OperandPlace, OPERAND_LOADS>;

var<workgroup> operand_tiles: array<TileVector, 2 * OPERAND_TILE>;

// Offsets and elements of the vectors that a thread brings.
fn operand_owns(thread: u32) -> OperandOwn {
    var own: OperandOwn;
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        let load = min(i * THREADS + thread, OPERAND_ALL - 1);
        let row = load / OPERAND_VECTORS;
        own[i].offset = operand_offset(load % OPERAND_VECTORS * 4, row);
        own[i].element = operand_element(row);
    }
    return own;
}

fn operand_bring(own: OperandOwn) -> OperandHeld {
    var held: OperandHeld;
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        var at = operand_base + own[i].offset;
        if OPERAND_MASKED {
            held[i].inside = operand_inside(vec4u(own[i].element)).x;
            at = select(0, at, held[i].inside);
        }
        held[i].numbers = operand_load(at);
    }
    return held;
}

fn operand_lay(held: OperandHeld, which: u32, thread: u32) {
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        let load = i * THREADS + thread;
        if OPERAND_ALL % THREADS == 0 || load < OPERAND_ALL {
            var vector = held[i].numbers;
            if OPERAND_MASKED {
                vector = select(TileVector(), vector, held[i].inside);
            }
            operand_tiles[operand_at(which, load % OPERAND_VECTORS * 4, load / OPERAND_VECTORS)] = vector;
        }
    }
}

// Where four terms of a row lie in a tile.
fn operand_at(which: u32, term: u32, row: u32) -> u32 {
    return which * OPERAND_TILE + row * OPERAND_STRIDE + term / 4;
}
