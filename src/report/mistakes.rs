//! Images with what the network says of them, as in the paper's Figure 4: on the left the best classes with their
//! probabilities, on the right the training images whose last hidden layer is nearest.

use super::picture::{Anchor, Ink, Mark, Picture, Pixels, TEXT, fitted};
use crate::data::{NO_LABEL, Split, called};
use crate::eval::Survey;

/// Largest side of an image in the file.
const PIXELS: usize = 128;

/// Side of an image on the page.
const SIDE: f32 = 112.0;

/// Width and height of an image with its bars.
const CARD: [f32; 2] = [172.0, 262.0];

/// Cards in a row.
const COLUMNS: usize = 4;

/// Classes that are shown of each image.
const BEST: usize = 5;

/// Images of a split that were shown to a network, and what it made of them.
pub struct Shown<'a> {
    /// The images, with their labels.
    pub split: &'a Split,
    /// What the network made of them.
    pub survey: &'a Survey,
    /// Names of the classes.
    pub classes: &'a [String],
}

impl Shown<'_> {
    fn class(&self, class: usize) -> String {
        self.classes.get(class).map_or_else(|| class.to_string(), |name| called(name).to_owned())
    }

    /// What an image is called: its class, or the name of its file where that has no label.
    pub fn title(&self, i: usize) -> String {
        let label = self.survey.labels[i];
        if label != NO_LABEL {
            return self.class(label as usize);
        }
        let name = self.file(i);
        name.rsplit(['/', '\\']).next().unwrap_or(&name).to_owned()
    }

    /// Pixels of image `i` of the survey; `None` where it can no longer be read.
    fn pixels(&self, i: usize) -> Option<Pixels> {
        let side = self.split.size();
        let bytes = self.split.decode(self.survey.images[i] as usize).ok()?;
        let mut pixels = Pixels { width: side, height: side, bytes };
        while pixels.width > PIXELS {
            pixels = pixels.halved();
        }
        Some(pixels)
    }

    /// Images of the survey, the worst mistakes first: those whose own class is the least probable.
    pub fn worst(&self, most: usize) -> Vec<usize> {
        let own = |i: usize| self.survey.of(i).get(self.survey.labels[i] as usize).copied().unwrap_or(0.0);
        let mut all: Vec<usize> = (0..self.survey.labels.len()).filter(|&i| !self.is_right(i)).collect();
        all.sort_by(|&a, &b| own(a).total_cmp(&own(b)));
        all.truncate(most);
        all
    }

    /// `most` images of the survey, the worst mistakes first.
    pub fn worst_first(&self, most: usize) -> Vec<usize> {
        let mut all = self.worst(most);
        let right = (0..self.survey.labels.len()).filter(|&i| self.is_right(i));
        all.extend(right.take(most - all.len()));
        all
    }

    /// Name of the file of image `i`.
    pub fn file(&self, i: usize) -> String {
        self.split.name(self.survey.images[i] as usize)
    }

    /// `most` images of the survey, spread over it.
    pub fn some(&self, most: usize) -> Vec<usize> {
        let count = self.survey.labels.len();
        let taken = count.min(most);
        (0..taken).map(|i| i * count / taken).collect()
    }

    fn is_right(&self, i: usize) -> bool {
        self.survey.best(i, 1).first().is_some_and(|(best, _)| *best == self.survey.labels[i] as usize)
    }

    /// Each of `images` above its name and bars for its best classes.
    pub fn predictions(&self, images: &[usize], title: &str) -> Picture {
        let [width, height] = CARD;
        let rows = images.len().div_ceil(COLUMNS);
        let right = images.iter().filter(|&&i| self.is_right(i)).count();
        let labelled = images.iter().any(|&i| self.survey.labels[i] != NO_LABEL);
        let right = if labelled { format!("; {right} are right") } else { String::new() };
        let about = format!("{title}: {} images with the best {BEST} classes of each{right}.", images.len());
        let mut picture = Picture::new(COLUMNS as f32 * width, rows as f32 * height, about);
        for (place, &i) in images.iter().enumerate() {
            let at = [(place % COLUMNS) as f32 * width, (place / COLUMNS) as f32 * height];
            self.card(&mut picture, i, at);
        }
        picture
    }

    fn card(&self, picture: &mut Picture, i: usize, [x, y]: [f32; 2]) {
        let label = self.survey.labels[i];
        let (room, name) = (CARD[0] - 14.0, self.title(i));
        if let Some(pixels) = self.pixels(i) {
            let tip = format!("{name}: {}", self.file(i));
            picture.marks.push(Mark::Image { frame: [x, y, SIDE, SIDE], pixels, tip });
        }
        picture.text([x, y + SIDE + 16.0], fitted(&name, room), Ink::Text, Anchor::Start);
        for (line, (class, share)) in self.survey.best(i, BEST).into_iter().enumerate() {
            let top = y + SIDE + 24.0 + 22.0 * line as f32;
            let ink = match label {
                NO_LABEL => Ink::Faint,
                label => Ink::Series(usize::from(class != label as usize)),
            };
            let tip = format!("{}: {:.1} %", self.class(class), 100.0 * share);
            picture.area([x, top, room, 19.0], Ink::Surface, 1.0, tip.as_str());
            picture.area([x, top, (room * share).max(1.0), 19.0], ink, 0.35, tip);
            picture.text([x + 4.0, top + 14.0], fitted(&self.class(class), room - 10.0), Ink::Text, Anchor::Start);
        }
    }

    /// Each of `images` beside those of `others`, so many, that the network finds most alike.
    pub fn alike(&self, images: &[usize], others: &Shown<'_>, neighbours: usize) -> Picture {
        let neighbours = neighbours.min(others.survey.labels.len());
        let step = SIDE + 8.0;
        let height = images.len() as f32 * (step + 1.4 * TEXT);
        let about = format!(
            "{} images, each beside the {neighbours} training images whose features are nearest to its own.",
            images.len()
        );
        let width = (neighbours + 1) as f32 * step + 16.0;
        let mut picture = Picture::new(width, height, about);
        for (line, &i) in images.iter().enumerate() {
            let y = line as f32 * (step + 1.4 * TEXT);
            self.named(&mut picture, i, [0.0, y]);
            let near = others.survey.nearest(self.survey.features_of(i), neighbours);
            for (column, (other, _)) in near.into_iter().enumerate() {
                others.named(&mut picture, other, [(column + 1) as f32 * step + 16.0, y]);
            }
        }
        picture
    }

    /// Image `i` above its class.
    fn named(&self, picture: &mut Picture, i: usize, [x, y]: [f32; 2]) {
        let name = self.title(i);
        if let Some(pixels) = self.pixels(i) {
            picture.marks.push(Mark::Image { frame: [x, y, SIDE, SIDE], pixels, tip: name.clone() });
        }
        picture.text([x, y + SIDE + 14.0], fitted(&name, SIDE), Ink::Faint, Anchor::Start);
    }
}
