//! Loops over a register tile, written out before a driver sees them.
//!
//! An array that a loop indexes lives in registers only where the compiler unrolls the loop, and whether it does
//! depends on the driver, its version and the size of the tile: where one gives up, every sum goes through memory at
//! every multiplication. A loop with the attribute
//!
//! ```wgsl
//! @unroll for (var t = 0u; t < TQ; t++) {
//! ```
//!
//! reaches the driver as `TQ` copies of its body with `t` replaced by 0, 1, 2 and so on. WGSL has no such attribute, so
//! one that is mistyped, or stands where this module does not look for it, is refused by the parser.

use std::collections::HashMap;

use naga::{Expression, Literal};

use super::Slip;

/// The attribute of a loop, at the beginning of its first line.
const ATTRIBUTE: &str = "@unroll ";

/// `text`, a WGSL module with its constants, with every loop that has the attribute written out.
pub(super) fn unroll(text: &str) -> Result<String, Slip> {
    if !text.contains(ATTRIBUTE) {
        return Ok(text.to_owned());
    }
    // The constants alone: the rest is parsed once, when it is written out.
    let declarations: Vec<&str> = text.lines().filter(|line| line.starts_with("const ")).collect();
    let declarations = declarations.join("\n");
    let module =
        naga::front::wgsl::parse_str(&declarations).map_err(|e| Slip::Wgsl(e.emit_to_string(&declarations)))?;
    let lines: Vec<&str> = text.lines().collect();
    let mut out = String::with_capacity(8 * text.len());
    expand(&lines, &constants(&module), &mut out)?;
    Ok(out)
}

fn constants(module: &naga::Module) -> HashMap<&str, u32> {
    let value = |init| match module.global_expressions[init] {
        Expression::Literal(Literal::U32(value)) => Some(value),
        Expression::Literal(Literal::I32(value)) => u32::try_from(value).ok(),
        Expression::Literal(Literal::AbstractInt(value)) => u32::try_from(value).ok(),
        _ => None,
    };
    let constants = module.constants.iter().map(|(_, constant)| constant);
    constants.filter_map(|constant| Some((constant.name.as_deref()?, value(constant.init)?))).collect()
}

fn expand(lines: &[&str], constants: &HashMap<&str, u32>, out: &mut String) -> Result<(), Slip> {
    let mut at = 0;
    while at < lines.len() {
        let line = lines[at];
        at += 1;
        let Some(head) = line.trim().strip_prefix(ATTRIBUTE) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        let refuse = |problem| Slip::Loop { problem, line: line.trim().into() };
        let (variable, bound) = header(head).ok_or_else(|| refuse("not a loop that can be unrolled"))?;
        let times = bound.parse().ok().or_else(|| constants.get(bound).copied());
        let times = times.ok_or_else(|| refuse("the bound is no constant"))?;
        let length = length(&lines[at..]).ok_or_else(|| refuse("the loop does not end"))?;
        let body = &lines[at..at + length];
        if body.iter().any(|line| words(line).any(|word| matches!(word, "continue" | "break"))) {
            return Err(refuse("a loop that is left or continued cannot be unrolled"));
        }
        for index in 0..times {
            let value = format!("{index}u");
            let body: Vec<String> = body.iter().map(|line| replace(line, variable, &value)).collect();
            let body: Vec<&str> = body.iter().map(String::as_str).collect();
            out.push_str("{\n");
            expand(&body, constants, out)?;
            out.push_str("}\n");
        }
        // The line with the closing brace.
        at += length + 1;
    }
    Ok(())
}

/// Variable and bound of `for (var t = 0u; t < TQ; t++) {`.
fn header(head: &str) -> Option<(&str, &str)> {
    let head = head.strip_prefix("for (var ")?.strip_suffix('{')?;
    let (variable, rest) = head.split_once(" = 0u; ")?;
    let bound = rest.strip_prefix(variable)?.strip_prefix(" < ")?;
    let bound = bound.strip_suffix(" ")?.strip_suffix("++)")?.strip_suffix(variable)?.strip_suffix("; ")?;
    Some((variable, bound))
}

/// Lines of a body up to the one that closes it.
fn length(lines: &[&str]) -> Option<usize> {
    let mut depth = 1;
    lines.iter().position(|line| {
        let code = line.split("//").next().unwrap_or_default();
        depth += code.matches('{').count() as i32 - code.matches('}').count() as i32;
        depth <= 0
    })
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c| !is_word(c))
}

/// `line` with `value` for the word `variable`.
fn replace(line: &str, variable: &str, value: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let end = rest.find(|c| !is_word(c)).filter(|&end| end > 0);
        let (piece, next) = rest.split_at(if is_word(c) { end.unwrap_or(rest.len()) } else { c.len_utf8() });
        out.push_str(if piece == variable { value } else { piece });
        rest = next;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "const TM: u32 = 2u;\nconst TQ = TM + 1;\nvar<private> sum: array<array<u32, TQ>, TM>;\n";

    fn function(body: &str) -> String {
        format!("{HEAD}fn f() {{\n{body}}}\n")
    }

    #[test]
    fn nested_loops_are_written_out_with_their_indices() {
        let text = function(
            "@unroll for (var j = 0u; j < TM; j++) {\nlet at = j;\n@unroll for (var t = 0u; t < TQ; t++) {\n\
             sum[at][t] += j * jt;\n}\n}\n",
        );
        let text = text.replace("jt", "t"); // a name that holds the variable's is another name
        let out = unroll(&text).unwrap();
        let sums: Vec<_> = out.lines().filter(|line| line.starts_with("sum")).collect();
        let want = ["0u * 0u", "0u * 1u", "0u * 2u", "1u * 0u", "1u * 1u", "1u * 2u"];
        let want: Vec<_> = want.iter().map(|w| format!("sum[at][{}] += {w};", w.split(' ').nth(2).unwrap())).collect();
        assert_eq!(sums, want);
        assert!(!out.contains("for") && naga::front::wgsl::parse_str(&out).is_ok(), "{out}");
    }

    #[test]
    fn only_whole_words_are_replaced() {
        assert_eq!(replace("sum[t][at + t0] = t*q.t;", "t", "3u"), "sum[3u][at + t0] = 3u*q.3u;");
    }

    #[test]
    fn other_loops_are_left_alone_and_others_are_refused() {
        let plain = function("for (var j = 0u; j < TM; j++) {\nsum[j][0] = j;\n}\n");
        assert_eq!(unroll(&plain).unwrap(), plain);
        let refused = |body: &str, what: &str| {
            let error = unroll(&function(body)).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        refused("@unroll while true {\n}\n", "not a loop that can be unrolled");
        refused("@unroll for (var j = 1u; j < TM; j++) {\n}\n", "not a loop that can be unrolled");
        refused("let x = 3u;\n@unroll for (var j = 0u; j < x; j++) {\n}\n", "the bound is no constant");
        refused("@unroll for (var j = 0u; j < TM; j++) {\nif j == 1 { continue; }\n}\n", "left or continued");
    }

    /// An attribute that is not consumed here is no WGSL, so a shader cannot lose its unrolled loops unnoticed.
    #[test]
    fn a_mistyped_attribute_is_refused_by_the_parser() {
        let body = "for (var j = 0u; j < TM; j++) {\nsum[j][0] = j;\n}\n";
        let parses = |attribute: &str| {
            let text = unroll(&function(&format!("{attribute}{body}"))).unwrap();
            naga::front::wgsl::parse_str(&text).is_ok()
        };
        assert!(parses("@unroll ") && parses(""));
        for mistyped in ["@unrol ", "@unrolled ", "@Unroll ", "@unroll(4) ", "{} @unroll "] {
            assert!(!parses(mistyped), "{mistyped}");
        }
    }
}
