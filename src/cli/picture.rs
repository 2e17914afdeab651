//! Pictures that commands write: SVG or PNG, by the name of the file.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use super::output::{quoted, say};
use alexnet::files::{FileKind, check_target, write_file};
use alexnet::report::{Picture, png_file, svg_file};

/// A picture to write.
pub(super) struct PictureFile {
    path: PathBuf,
    svg: bool,
}

impl PictureFile {
    /// Checks the path before there is anything to draw.
    pub(super) fn new(path: &Path) -> Result<Self> {
        let svg = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
        check_target(path, if svg { FileKind::Svg } else { FileKind::Png }, None)?;
        Ok(Self { path: path.into(), svg })
    }

    /// Writes `picture`, and says where it is.
    pub(super) fn finish(&self, picture: &Picture) -> Result<()> {
        self.write(picture)?;
        say(format_args!("the picture is in {}", quoted(&self.path)));
        Ok(())
    }

    /// Writes `picture` as the kind of file that the name says; fails where a PNG would be too large.
    pub(super) fn write(&self, picture: &Picture) -> Result<()> {
        let path = &self.path;
        let bytes = if self.svg { Some(svg_file(picture).into_bytes()) } else { png_file(picture) };
        let Some(bytes) = bytes else { bail!("{}: the picture is too large for a PNG file", path.display()) };
        Ok(write_file(path, &bytes)?)
    }
}
