//! Ends of PNG and GIF files: whether they hold a whole image, which not every decoder says.

/// The chunks of a PNG file: kind, and its content where that is whole.
pub(super) fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], Option<&[u8]>)> {
    let mut at = 8_usize; // after the signature; length, kind, content and checksum of each chunk
    std::iter::from_fn(move || {
        let &[a, b, c, d, k, i, n, e, ref rest @ ..] = bytes.get(at..)? else { return None };
        let length = u32::from_be_bytes([a, b, c, d]) as usize;
        at = at.saturating_add(12).saturating_add(length);
        Some(([k, i, n, e], rest.get(..length).filter(|_| at <= bytes.len())))
    })
}

/// Whether a PNG file reaches its IEND chunk.
pub(super) fn png_is_complete(bytes: &[u8]) -> bool {
    png_chunks(bytes).any(|(kind, content)| kind == *b"IEND" && content.is_some())
}

/// Whether a GIF file reaches the end of its first frame, or another kind of block than it may hold, which is damage.
pub(super) fn gif_is_complete(bytes: &[u8]) -> bool {
    /// Bytes of a table of colours, by the flags before it.
    fn table(flags: u8) -> usize {
        if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) }
    }
    let walk = || -> Option<()> {
        let mut at = 13 + table(*bytes.get(10)?); // behind signature, screen and its colours
        loop {
            let frame = match bytes.get(at)? {
                0x21 => false,
                0x2C => true,
                _ => return Some(()),
            };
            // An extension has a label; a frame its place and size, colours, and the width of its codes.
            at += if frame { 11 + table(*bytes.get(at + 9)?) } else { 2 };
            while *bytes.get(at)? > 0 {
                at += 1 + usize::from(bytes[at]);
            }
            at += 1;
            if frame {
                return Some(());
            }
        }
    };
    walk().is_some()
}
