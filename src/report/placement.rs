//! The network on its devices, as in the paper's Figure 2: towers side by side, lines where maps pass, what crosses.

use super::picture::{Anchor, Ink, Mark, Picture, TEXT, fitted};
use crate::commands::describe::{Description, LayerInfo};

/// Width and height of a layer's box on one tower, and the space below it.
const BOX: [f32; 2] = [190.0, 34.0];
const BELOW: f32 = 34.0;

/// Space between neighbouring towers.
const BESIDE: f32 = 120.0;

/// Bytes of a number.
const FLOAT: u64 = 4;

/// The network that `it` describes.
pub fn placement(it: &Description) -> Picture {
    Drawing { it, towers: it.towers.max(1) }.draw()
}

struct Drawing<'a> {
    it: &'a Description,
    towers: usize,
}

impl Drawing<'_> {
    fn draw(&self) -> Picture {
        let rows: Vec<&LayerInfo> = self.it.layers.iter().filter(|layer| !layer.name.contains('.')).collect();
        let ([width, height], devices) = (BOX, &self.it.plan.devices);
        let whole = left(self.towers) - BESIDE;
        let about = format!(
            "{} layers on {} towers and {} devices, from the image at the top to the classes.",
            rows.len(),
            self.towers,
            devices.len()
        );
        let head = 3.0 * TEXT;
        let mut picture = Picture::new(whole, head + (rows.len() + 1) as f32 * (height + BELOW) - BELOW + 2.0, about);
        for tower in 0..self.towers {
            let name = devices.get(self.device(tower)).map_or("", |share| &share.device);
            let title = if self.towers > 1 { format!("tower {}", letter(tower)) } else { "one tower".into() };
            picture.text([middle(tower), TEXT], title, Ink::Series(self.device(tower)), Anchor::Middle);
            picture.text([middle(tower), 2.2 * TEXT], fitted(name, width), Ink::Faint, Anchor::Middle);
        }
        let mut top = head;
        picture.area([0.0, top, whole, height], Ink::Surface, 1.0, "");
        picture.text([whole / 2.0, top + 21.0], format!("image {}", shape(self.it.input)), Ink::Text, Anchor::Middle);
        let mut before: Option<&LayerInfo> = None;
        for row in rows {
            let above = top + height;
            top += height + BELOW;
            for tower in 0..row.towers.min(self.towers) {
                self.lines(&mut picture, row, before, [above, top], tower);
            }
            (0..row.towers.min(self.towers)).for_each(|tower| self.layer(&mut picture, row, tower, top));
            // What the next row reads is what the last stage of this one hands on.
            before = self.it.layers.iter().rfind(|layer| layer.name.split('.').next() == Some(row.name.as_str()));
        }
        picture
    }

    fn device(&self, tower: usize) -> usize {
        tower % self.it.plan.devices.len().max(1)
    }

    /// The box of `row` on one tower.
    fn layer(&self, picture: &mut Picture, row: &LayerInfo, tower: usize, top: f32) {
        let ([width, height], x) = (BOX, left(tower));
        picture.area([x, top, width, height], Ink::Surface, 1.0, format!("{}: {}", row.name, row.what));
        picture.area([x, top, 4.0, height], Ink::Series(self.device(tower)), 1.0, "");
        picture.text([middle(tower), top + 15.0], row.name.as_str(), Ink::Text, Anchor::Middle);
        picture.text([middle(tower), top + 28.0], shape(row.output), Ink::Faint, Anchor::Middle);
    }

    /// Lines to the box of `row` on one tower: from its own tower above, and from the others where it sees them. Those
    /// that cross from one device to another say how much does.
    fn lines(&self, picture: &mut Picture, row: &LayerInfo, before: Option<&LayerInfo>, ends: [f32; 2], tower: usize) {
        let sources = before.map_or(self.towers, |before| before.towers.min(self.towers));
        let sees = |other: usize| other == tower || sources == 1 || row.sees == "both" && before.is_some();
        for other in (0..sources).filter(|other| sees(*other)) {
            let crosses = before.is_some() && self.device(other) != self.device(tower);
            let points = vec![[middle(other), ends[0]], [middle(tower), ends[1]]];
            let (ink, width) = if crosses { (Ink::Series(1), 2.0) } else { (Ink::Faint, 1.2) };
            let dashed = other != tower && !crosses;
            picture.marks.push(Mark::Line { points, ink, width, dashed });
            if let Some(before) = before.filter(|_| crosses) {
                let bytes = before.output.iter().product::<usize>() as u64 * FLOAT;
                let words = format!("{} > {} {} KiB", letter(other), letter(tower), bytes.div_ceil(1024));
                // In the gap between neighbours, one direction above the other.
                let x = left(tower.max(other)) - BESIDE / 2.0;
                let line = if other < tower { 0.0 } else { 14.0 };
                picture.text([x, ends[0] - 8.0 + line], words, ink, Anchor::Middle);
            }
        }
    }
}

/// Left edge of a tower's boxes.
fn left(tower: usize) -> f32 {
    tower as f32 * (BOX[0] + BESIDE)
}

/// Middle of a tower's boxes.
fn middle(tower: usize) -> f32 {
    left(tower) + BOX[0] / 2.0
}

fn letter(tower: usize) -> char {
    char::from(b'A' + tower as u8)
}

fn shape([maps, height, width]: [usize; 3]) -> String {
    if height * width == 1 { maps.to_string() } else { format!("{maps}×{height}×{width}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{Job, Model, Net};

    #[test]
    fn every_layer_of_every_tower_has_a_box() {
        for (model, boxes) in [("alexnet", 16), ("torchvision", 9)] {
            let net = Net::new(Model::open(model).unwrap()).unwrap();
            let picture = placement(&Description::new(&net, &Job::training(8), &[]).unwrap());
            let found =
                picture.marks.iter().filter(|mark| matches!(mark, Mark::Area { ink: Ink::Surface, .. })).count();
            assert_eq!(found, boxes, "{model}: {}", picture.about);
        }
    }
}
