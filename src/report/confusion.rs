//! The confusion matrix: which class is taken for which.

use super::picture::{Anchor, Ink, Mark, Picture, TEXT, fitted};
use crate::data::called;

/// Side of the matrix, in pixels, and the room for names beside it.
const SIDE: f32 = 480.0;
const NAMES: f32 = 150.0;

/// Room between the names of columns.
const BETWEEN: f32 = 8.0;

/// Most classes whose names are written.
const NAMED: usize = 40;

/// Matrix of the counts `[class][best class]`: a row for every class, right answers on the diagonal.
pub fn confusion(counts: &[Vec<usize>], classes: &[String]) -> Picture {
    let count = counts.len().max(1);
    let named = count <= NAMED;
    let (left, cell) = (if named { NAMES } else { 12.0 }, SIDE / count as f32);
    let right: usize = (0..counts.len()).map(|i| counts[i][i]).sum();
    let all: usize = counts.iter().flatten().sum();
    let about = format!("Confusion matrix of {} classes: {right} of {all} images are on its diagonal.", counts.len());
    let top = if named { 3.4 * TEXT } else { 2.0 * TEXT };
    let mut picture = Picture::new(left + SIDE + 2.0, top + SIDE + 2.0 * TEXT, about);
    picture.text([left, TEXT], "across: what the network says; down: what it is", Ink::Faint, Anchor::Start);
    picture.area([left, top, SIDE, SIDE], Ink::Surface, 1.0, "");
    let name = |class: usize| classes.get(class).map_or_else(|| class.to_string(), |name| called(name).to_owned());
    for (class, row) in counts.iter().enumerate() {
        let images: usize = row.iter().sum();
        let y = top + class as f32 * cell;
        if named {
            let column = [left + (class as f32 + 0.5) * cell, top - 6.0];
            picture.text(column, fitted(&name(class), cell - BETWEEN), Ink::Faint, Anchor::Middle);
            picture.text(
                [left - 6.0, y + cell / 2.0 + 4.0],
                fitted(&name(class), NAMES - 10.0),
                Ink::Text,
                Anchor::End,
            );
        }
        for (best, &number) in row.iter().enumerate().filter(|(_, number)| **number > 0) {
            let share = number as f32 / images as f32;
            let (x, same) = (left + best as f32 * cell, best == class);
            let words = if same { "right".to_owned() } else { format!("taken for {}", name(best)) };
            let tip = format!("{}, {words}: {number} of {images} ({:.0} %)", name(class), 100.0 * share);
            // The root makes rare mistakes visible.
            let ink = Ink::Series(usize::from(!same));
            picture.area([x, y, cell, cell], ink, share.sqrt().max(0.08), tip);
            if named && cell > 26.0 {
                let ink = if share > 0.6 { Ink::Paper } else { Ink::Text };
                let at = [x + cell / 2.0, y + cell / 2.0 + 4.0];
                picture.marks.push(Mark::Text {
                    at,
                    text: number.to_string(),
                    ink,
                    size: TEXT - 1.0,
                    anchor: Anchor::Middle,
                });
            }
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_happened_is_drawn() {
        let counts = vec![vec![3, 1, 0], vec![0, 4, 0], vec![0, 0, 0]];
        let classes = ["cat", "dog", "eel"].map(str::to_owned);
        let picture = confusion(&counts, &classes);
        let tips: Vec<_> = picture
            .marks
            .iter()
            .filter_map(|mark| if let Mark::Area { tip, .. } = mark { Some(tip.as_str()) } else { None })
            .filter(|tip| !tip.is_empty())
            .collect();
        assert_eq!(
            tips,
            ["cat, right: 3 of 4 (75 %)", "cat, taken for dog: 1 of 4 (25 %)", "dog, right: 4 of 4 (100 %)"]
        );
        assert!(picture.about.contains("7 of 8"));
        assert!(confusion(&vec![vec![1; 100]; 100], &[]).marks.len() > 10_000, "classes without names");
        assert!(confusion(&[], &[]).marks.len() > 1);
    }
}
