//! Operators side by side without parentheses, where the grammar of WGSL wants them. The parser of naga does without;
//! that of Chrome refuses the shader ("mixing '%' and '<<' requires parenthesis").

use super::registry::{code, shader_files};

const TEMPLATES: [&str; 10] =
    ["array", "atomic", "bitcast", "coopLoad", "coopLoadT", "ptr", "var", "vec2", "vec3", "vec4"];
const NO_OPERANDS: [&str; 7] = ["return", "if", "else", "while", "switch", "case", "for"];
const OPERATORS: [&str; 39] = [
    "<<=", ">>=", "->", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
    "++", "--", "+", "-", "*", "/", "%", "&", "|", "^", "<", ">", "=", "!", "~", ",", ";", ":", "{", "}",
];

/// What is wrong with the operators between two separators, in their order.
fn mixed(operators: &[&str]) -> Option<String> {
    let is_bitwise = |operator: &&str| ["&", "|", "^"].contains(operator);
    let is_shift = |operator: &&str| ["<<", ">>"].contains(operator);
    let compares = |operator: &&str| ["==", "!=", "<", ">", "<=", ">="].contains(operator);
    let connects = |operator: &&str| ["&&", "||"].contains(operator);
    let differ = |of: &[&str]| of.windows(2).any(|pair| pair[0] != pair[1]);
    let connecting: Vec<&str> = operators.iter().copied().filter(connects).collect();
    let wrong = operators.iter().any(is_bitwise) && differ(operators)
        || differ(&connecting)
        || operators.split(connects).any(|part| {
            let terms = || part.split(compares);
            terms().count() > 2 || terms().any(|term| term.len() > 1 && term.iter().any(&is_shift))
        });
    wrong.then(|| operators.join(" "))
}

/// Lines of WGSL without comments, from 1, and the operators there that want parentheses.
fn without_parentheses(text: &str) -> Vec<(usize, String)> {
    let (mut found, mut open, mut operand, mut line) = (Vec::new(), vec![Vec::new()], false, 1);
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '.').unwrap_or(rest.len());
        let mut length = first.len_utf8();
        if word > 0 {
            length = word;
            let name = &rest[..word];
            operand = !NO_OPERANDS.contains(&name);
            let exponent =
                name.starts_with(|c: char| c.is_ascii_digit()) && !name.starts_with("0x") && name.ends_with('e');
            if exponent {
                length += 1;
            } else if TEMPLATES.contains(&name) && rest[word..].starts_with('<') {
                let mut depth = 0;
                length += 1 + rest[word..]
                    .find(|c| {
                        depth += i32::from(c == '<') - i32::from(c == '>');
                        depth == 0
                    })
                    .expect("a template ends");
            }
        } else if "([".contains(first) {
            open.push(Vec::new());
            operand = false;
        } else if ")]".contains(first) {
            found.extend(mixed(&open.pop().expect("it is opened")).map(|operators| (line, operators)));
            operand = true;
        } else if let Some(operator) = OPERATORS.into_iter().find(|operator| rest.starts_with(operator)) {
            length = operator.len();
            let separates = [",", ";", ":", "{", "}", "->"].contains(&operator)
                || operator.ends_with('=') && !["==", "!=", "<=", ">="].contains(&operator);
            let current = open.last_mut().expect("one is open");
            if separates {
                found.extend(mixed(&std::mem::take(current)).map(|operators| (line, operators)));
            } else if operand && !["++", "--"].contains(&operator) {
                current.push(operator);
            }
            operand = false;
        }
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    found
}

#[test]
fn operators_that_the_grammar_keeps_apart_have_parentheses() {
    for (wrong, operators) in [
        ("return (at / S % R << 16u) | (at % S);", "/ % <<"),
        ("let a = b & c == d;", "& =="),
        ("x[i + 1 >> 2] = 0;", "+ >>"),
        ("if (a && b || c) {}", "&& ||"),
        ("y += f(a << 1 << 2, b);", "<< <<"),
        ("let on = a < b < c;", "< <"),
        ("let a = vec4<u32>(b) | c ^ d;", "| ^"),
    ] {
        assert_eq!(without_parentheses(wrong), [(1, operators.to_owned())], "{wrong}");
    }
    for right in [
        "return ((at / S % R) << 16u) | (at % S);",
        "let a = array<vec4<f32>, 4>(b, c * -d + 1e-5);",
        "if (a << 1u < b >> 2u && -c * d <= e && !f) { i++; }",
        "var<workgroup> x: array<f32, 4>; let p = &x; *p = a | b | c;",
        "for (var i = 0u; i < n; i += 4u) { y = select(a, b, c == 1u) - 0x1e; }",
    ] {
        assert_eq!(without_parentheses(right), [], "{right}");
    }
    let files = shader_files();
    assert!(files.len() > 20);
    let found = files.iter().flat_map(|(path, text)| {
        without_parentheses(&code(text))
            .into_iter()
            .map(move |(line, what)| format!("{}:{line}: {what}", path.display()))
    });
    assert_eq!(found.collect::<Vec<_>>(), Vec::<String>::new());
}
