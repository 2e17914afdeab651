//! Pages: parts with text, tables and pictures, written as one HTML file that asks for nothing else.

use std::fmt::Write as _;

use super::picture::Picture;
use super::svg::{STYLE, escaped, svg_inline};

/// Style of the page besides that of its pictures.
const PAGE: &str = include_str!("../../assets/report/page.css");

/// Letters of a cell that is not folded.
const CELL: usize = 32;

/// Rows of a table that are shown before it has to be opened.
const OPEN: usize = 24;

/// A page about one run or several.
#[derive(Clone, Debug, Default)]
pub struct Page {
    pub title: String,
    /// What there is to know, in a sentence.
    pub verdict: String,
    /// Parts in the order of reading.
    pub parts: Vec<Part>,
}

/// A part of a page, with a heading.
#[derive(Clone, Debug)]
pub struct Part {
    pub title: &'static str,
    /// Texts, pictures and tables in the order of reading.
    pub blocks: Vec<Block>,
}

/// A piece of a part.
#[derive(Clone, Debug)]
pub enum Block {
    /// A paragraph of plain text.
    Text(String),
    /// Lines as they are, such as a file.
    Lines(String),
    /// A list with a bullet for each item.
    List(Vec<String>),
    /// A picture, perhaps with a version for narrow screens.
    Figure {
        /// Name, that of its file too.
        name: String,
        caption: String,
        picture: Box<Picture>,
        /// The same for narrow screens.
        narrow: Option<Box<Picture>>,
    },
    /// A table, whose first column names the rows.
    Table {
        caption: String,
        /// Headings of the columns.
        header: Vec<String>,
        /// Cells, row by row, as many as the header has.
        rows: Vec<Vec<String>>,
    },
}

impl Page {
    /// The page as HTML.
    pub fn html(&self) -> String {
        let (title, verdict) = (escaped(&self.title), escaped(&self.verdict));
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title>\n\
             <link rel=\"icon\" href=\"data:,\">\n<style>{STYLE}{PAGE}</style></head>\n<body>\
             <a class=\"skip\" href=\"#content\">Skip to the content</a>\n\
             <header><h1>{title}</h1><p class=\"verdict\">{verdict}</p>\n<nav aria-label=\"Parts\"><ul>"
        );
        for (index, part) in self.parts.iter().enumerate() {
            let _ = write!(html, "<li><a href=\"#part-{index}\">{}</a></li>", escaped(part.title));
        }
        html.push_str("</ul></nav></header>\n<main id=\"content\">\n");
        for (index, part) in self.parts.iter().enumerate() {
            let _ = writeln!(
                html,
                "<section aria-labelledby=\"part-{index}\"><h2 id=\"part-{index}\">{}</h2>",
                escaped(part.title)
            );
            html.extend(part.blocks.iter().map(Block::html));
            html.push_str("</section>\n");
        }
        html.push_str("</main></body></html>\n");
        html
    }

    /// Pictures by their names.
    pub fn pictures(&self) -> impl Iterator<Item = (&str, &Picture)> {
        self.parts.iter().flat_map(|part| &part.blocks).filter_map(|block| match block {
            Block::Figure { name, picture, .. } => Some((name.as_str(), picture.as_ref())),
            _ => None,
        })
    }
}

impl Block {
    /// A picture that is shown at its size, or smaller.
    pub(super) fn figure(name: &str, caption: impl Into<String>, picture: Picture) -> Self {
        Self::Figure { name: name.into(), caption: caption.into(), picture: Box::new(picture), narrow: None }
    }

    fn html(&self) -> String {
        match self {
            Self::Text(text) => format!("<p>{}</p>\n", escaped(text)),
            Self::Lines(lines) => {
                let lines = lines.lines().map(escaped).collect::<Vec<_>>().join("\n");
                format!("<pre tabindex=\"0\">{lines}</pre>\n")
            }
            Self::List(items) => {
                format!("<ul>{}</ul>\n", elements("li", items))
            }
            Self::Figure { caption, picture, narrow, .. } => figure(&escaped(caption), picture, narrow.as_deref()),
            Self::Table { caption, header, rows } => table(&escaped(caption), header, rows),
        }
    }
}

/// Each of `texts` in an element of its own, whose start tag is `tag`.
fn elements(tag: &str, texts: &[String]) -> String {
    let name = tag.split(' ').next().unwrap_or(tag);
    let mut html = String::new();
    for text in texts {
        let _ = write!(html, "<{tag}>{}</{name}>", escaped(text));
    }
    html
}

fn figure(caption: &str, picture: &Picture, narrow: Option<&Picture>) -> String {
    let caption = if caption.is_empty() { String::new() } else { format!("<figcaption>{caption}</figcaption>") };
    if let Some(narrow) = narrow {
        let [wide, narrow] = [picture, narrow].map(svg_inline);
        return format!(
            "<figure><div class=\"wide\">{wide}</div><div class=\"narrow\">{narrow}</div>{caption}</figure>\n"
        );
    }
    // What does not fit is scrolled by itself, with the keyboard too.
    let (label, svg) = (escaped(&picture.about), svg_inline(picture));
    let scroll = format!("<div class=\"scroll\" role=\"group\" tabindex=\"0\" aria-label=\"{label}\">{svg}</div>");
    format!("<figure>{scroll}{caption}</figure>\n")
}

fn table(caption: &str, header: &[String], rows: &[Vec<String>]) -> String {
    let head = elements("th scope=\"col\"", header);
    let row = |cells: &Vec<String>| {
        let (first, rest) = cells.split_at(cells.len().min(1));
        format!("<tr>{}{}</tr>\n", elements("th scope=\"row\"", first), elements("td", rest))
    };
    let body: String = rows.iter().map(row).collect();
    // Numbers stay on their line; what does not fit is scrolled. Sentences are folded.
    let short = rows.iter().flatten().all(|cell| cell.chars().count() <= CELL);
    let class = if short { " class=\"short\"" } else { "" };
    let table = format!(
        "<div class=\"scroll\" role=\"group\" tabindex=\"0\" aria-label=\"{caption}\"><table{class}><caption>{caption}</caption>\
         <thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>\n"
    );
    if rows.len() <= OPEN {
        return table;
    }
    format!("<details><summary>{caption} ({} rows)</summary>{table}</details>\n", rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_asks_for_nothing_and_lets_no_name_out_of_its_place() {
        let evil = "<img src=x onerror=alert(1)>";
        let page = Page {
            title: evil.into(),
            verdict: evil.into(),
            parts: vec![Part {
                title: "Part",
                blocks: vec![
                    Block::Text(evil.into()),
                    Block::Lines(format!("a\n{evil}")),
                    Block::List(vec![evil.into()]),
                    Block::figure("x", evil, Picture::new(1.0, 1.0, evil)),
                    Block::Table {
                        caption: evil.into(),
                        header: vec![evil.into()],
                        rows: vec![vec![evil.into(); 2]; 30],
                    },
                ],
            }],
        };
        let html = page.html();
        assert!(!html.contains("<img") && !html.contains("http") && !html.contains("<script"), "{html}");
        assert!(html.contains("<details><summary>") && html.starts_with("<!doctype html>"));
        assert_eq!(page.pictures().count(), 1);
    }
}
