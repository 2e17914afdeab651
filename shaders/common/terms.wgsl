// Terms of a tiled convolution's sum for one pixel: a rectangle of places (elements of the window forward, output pixels
// backward) by INNER maps or filters, which are innermost. The rectangle is the same for the whole workgroup.

// First images of the workgroup's tile, in vectors, and its pixel.
var<private> n0: u32;
var<private> pixel: vec2u;
// First row and column of the rectangle, and its rows and columns.
var<private> low: vec2u;
var<private> size: vec2u;

// Map or filter of a term.
fn inner(term: u32) -> u32 {
    return select(term % INNER, term, R * S == 1);
}

// Row and column of a term's place.
fn place(term: u32) -> vec2u {
    if R * S == 1 {
        return low;
    }
    // Divided as floats, which are exact for windows of any sane size and quicker where the divisor is not known.
    let index = term / INNER;
    let row = u32((f32(index) + 0.5) / f32(size.y));
    return low + vec2u(row, index - row * size.y);
}

// Number of terms of `elements`, so many rows and columns.
fn terms(elements: vec2u) -> u32 {
    return elements.x * elements.y * INNER;
}
