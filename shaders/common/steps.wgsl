// A contraction by tiles in workgroup memory, for GPUs: BM rows (filters, maps, elements of the window) by BN columns
// (images, filters), BK terms of the sum a step. There are two of each tile: while one is multiplied, the next is on
// its way from memory. The loop has no branches, so that a compiler can leave loads on their way while it multiplies;
// what a thread loads lies at an offset of its own, found once, from a base that the whole workgroup moves from step to
// step.
//
// The kernel says where operands lie: `row_offset(term, row)` from `row_base` on, and so for columns; `advance(more)`
// moves both bases to the next step where there are more; without a step they are where something can be loaded.
// `vectors.wgsl`, `blocks.wgsl` and `lines.wgsl` say how they are brought (`row_owns`, `row_bring`, `row_lay`) and
// where they lie in a tile (`row_at`), `threads.wgsl` and `matrix.wgsl` who multiplies (`Sums`, `multiply`, `finish`).
// Of TERMS terms threads hold the operands at once: the more, the fewer other instructions, and the more registers.

const ROW_EXTENT = BM;
const COLUMN_EXTENT = BN;

// Sums up `steps` steps, the same number for the whole workgroup, and puts what comes out. The last is loaded once
// more, and not used.
fn contract(steps: u32, thread: u32) {
    let row_own = row_owns(thread);
    let column_own = column_owns(thread);
    var sum: Sums;
    var rows = row_bring(row_own);
    var columns = column_bring(column_own);
    for (var step = 0u; step < steps; step++) {
        let which = step % 2;
        row_lay(rows, which, thread);
        column_lay(columns, which, thread);
        workgroupBarrier();
        advance(step + 1 < steps);
        rows = row_bring(row_own);
        columns = column_bring(column_own);
        multiply(&sum, which, thread);
    }
    finish(&sum, thread);
}
