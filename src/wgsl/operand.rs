//! Shaders that are written once and taken for two operands.
//!
//! A contraction brings both of its operands in the same ways, for which WGSL has no generics. A source that begins
//! with
//!
//! ```wgsl
//! @operand row
//! ```
//!
//! is taken for rows: `operand_…` in it becomes `row_…`, `OPERAND_…` `ROW_…` and `Operand…` `Row…`.

use std::borrow::Cow;

/// The attribute, at the beginning of a source.
const ATTRIBUTE: &str = "@operand ";

/// `source` for the operand that its first line names; itself where that names none.
pub(super) fn instance(source: &str) -> Cow<'_, str> {
    let Some((name, text)) = source.strip_prefix(ATTRIBUTE).and_then(|rest| rest.split_once('\n')) else {
        return Cow::Borrowed(source);
    };
    let (first, rest) = name.split_at(1);
    let (upper, title) = (name.to_uppercase(), first.to_uppercase() + rest);
    let text = text.replace("OPERAND_", &format!("{upper}_")).replace("operand_", &format!("{name}_"));
    Cow::Owned(text.replace("Operand", &title))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_written_for_the_operand_it_names() {
        let text = "// An operand.\nconst OPERAND_ALL = 3;\nalias OperandHeld = u32;\nfn operand_bring() {}\n";
        assert_eq!(instance(text), text);
        let row = "// An operand.\nconst ROW_ALL = 3;\nalias RowHeld = u32;\nfn row_bring() {}\n";
        assert_eq!(instance(&format!("@operand row\n{text}")), row);
    }
}
