// An operand of a contraction by threads (`steps.wgsl`) whose terms are neighbours in memory: they bring blocks of four
// rows by four terms, with four loads of whole vectors, and lay them down transposed. A vector of padding for every
// second term keeps stores of neighbouring threads in different banks. `operand_offset(term, row)` says where four
// terms of a row lie from `operand_base` on; `operand_element(row)` names the element of the window that the row is,
// and `operand_inside(elements)` whether four of them lie inside at this step: what does not becomes 0 when it is laid
// down (`vectors.wgsl`).

const OPERAND_VECTORS = OPERAND_EXTENT / 4;
const OPERAND_BLOCKS = BK / 4 * OPERAND_VECTORS;
// Vectors in a tile from the terms of which threads hold operands at once to the next.
const OPERAND_STRIDE = TERMS * OPERAND_VECTORS + TERMS / 2;
const OPERAND_TILE = BK / TERMS * OPERAND_STRIDE;
const OPERAND_LOADS = (OPERAND_BLOCKS + THREADS - 1) / THREADS;

struct OperandBlock {
    numbers: TileBlock,
    inside: vec4<bool>,
}

struct OperandPlace {
    offsets: vec4u,
    elements: vec4u,
}

alias OperandHeld = array<OperandBlock, OPERAND_LOADS>;
alias OperandOwn = array<OperandPlace, OPERAND_LOADS>;

var<workgroup> operand_tiles: array<TileVector, 2 * OPERAND_TILE>;

// Offsets and elements of the rows of which a thread brings blocks.
fn operand_owns(thread: u32) -> OperandOwn {
    var own: OperandOwn;
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        let block = min(i * THREADS + thread, OPERAND_BLOCKS - 1);
        let term = block % (BK / 4) * 4;
        let row = block / (BK / 4) * 4;
        own[i].offsets = vec4u(
            operand_offset(term, row),
            operand_offset(term, row + 1),
            operand_offset(term, row + 2),
            operand_offset(term, row + 3),
        );
        own[i].elements =
            vec4u(operand_element(row), operand_element(row + 1), operand_element(row + 2), operand_element(row + 3));
    }
    return own;
}

fn operand_bring(own: OperandOwn) -> OperandHeld {
    var held: OperandHeld;
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        var at = operand_base + own[i].offsets;
        if OPERAND_MASKED {
            held[i].inside = operand_inside(own[i].elements);
            at = select(vec4u(), at, held[i].inside);
        }
        held[i].numbers = TileBlock(operand_load(at.x), operand_load(at.y), operand_load(at.z), operand_load(at.w));
    }
    return held;
}

fn operand_lay(held: OperandHeld, which: u32, thread: u32) {
    @unroll for (var i = 0u; i < OPERAND_LOADS; i++) {
        let block = i * THREADS + thread;
        if OPERAND_BLOCKS % THREADS == 0 || block < OPERAND_BLOCKS {
            let turned = transpose(held[i].numbers);
            let at = operand_at(which, block % (BK / 4) * 4, block / (BK / 4) * 4);
            @unroll for (var t = 0u; t < 4; t++) {
                var vector = turned[t];
                if OPERAND_MASKED {
                    vector = select(TileVector(), vector, held[i].inside);
                }
                operand_tiles[operand_at(0, t, 0) + at] = vector;
            }
        }
    }
}

// Where four rows of a term lie in a tile.
fn operand_at(which: u32, term: u32, row: u32) -> u32 {
    let group = which * OPERAND_TILE + term / TERMS * OPERAND_STRIDE;
    return group + term % TERMS * OPERAND_VECTORS + row / 4;
}
