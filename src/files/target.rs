//! Files that are to be written: what may lie there, and is replaced, and what never is.

use std::collections::BTreeSet;
use std::fs::{self, FileType};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::tensors::{entry, read_header};
use super::{FileError, METADATA, open_file};

/// Links that a target may be behind.
const MOST_LINKS: usize = 40;

/// Bytes that tell the format of a file which is not one of safetensors.
const START: u64 = 4096;

/// Extensions that say what a file holds.
const EXTENSIONS: &[&str] = &[
    "safetensors",
    "onnx",
    "json",
    "jsonl",
    "csv",
    "npy",
    "npz",
    "toml",
    "pth",
    "pt",
    "caffemodel",
    "prototxt",
    "binaryproto",
    "tar",
    "jpg",
    "jpeg",
    "png",
    "gif",
    "bmp",
    "webp",
    "tif",
    "tiff",
    "svg",
    "pdf",
    "html",
];

/// Content of an output file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// The state of a run, as safetensors.
    Checkpoint,
    /// Any other tensors, as safetensors.
    Tensors,
    /// A network with its weights.
    Onnx,
    /// Numbers for programs, or a trace.
    Json,
    /// A table with a line for each image or class.
    Csv,
    /// Numbers of classes, a line for each image.
    Contest,
    /// An array of numpy.
    Npy,
    /// A drawing of lines and text, of any size.
    Svg,
    /// A picture of pixels.
    Png,
    /// A page for a browser, whole in one file.
    Html,
}

impl FileKind {
    fn extension(self) -> &'static str {
        match self {
            Self::Checkpoint | Self::Tensors => "safetensors",
            Self::Onnx => "onnx",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Contest => "txt",
            Self::Npy => "npy",
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Html => "html",
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "a checkpoint",
            Self::Tensors => "a safetensors file without the state of a run",
            Self::Onnx => "an ONNX file",
            Self::Json => "JSON",
            Self::Csv => "a table",
            Self::Contest => "a file for the contest",
            Self::Npy => "a numpy array",
            Self::Svg => "an SVG drawing",
            Self::Png => "a PNG picture",
            Self::Html => "a page",
        }
    }

    /// Whether the file at `path` is of this kind, as far as its beginning tells.
    pub fn is_at(self, path: &Path) -> bool {
        let start = || -> io::Result<Vec<u8>> {
            let mut bytes = Vec::new();
            open_file(path)?.take(START).read_to_end(&mut bytes).map(|_| bytes)
        };
        let begins = |right: fn(&[u8]) -> bool| start().is_ok_and(|bytes| right(&bytes));
        match self {
            Self::Checkpoint => holds_state(path) == Some(true),
            Self::Tensors => holds_state(path) == Some(false),
            // The first field is the version of the format, the second a text or the graph.
            Self::Onnx => begins(|bytes| matches!(bytes, [0x08, 0..=127, tag, ..] if tag & 7 == 2)),
            // A trace that was not finished is blank.
            Self::Json => begins(|bytes| matches!(bytes.trim_ascii_start(), [] | [b'{' | b'[', ..])),
            Self::Csv => begins(|bytes| bytes.starts_with(b"image,class,") || bytes.starts_with(b"class,")),
            Self::Contest => begins(|bytes| {
                bytes.first().is_some_and(u8::is_ascii_digit) && bytes.iter().all(|b| b" \n0123456789".contains(b))
            }),
            Self::Npy => begins(|bytes| bytes.starts_with(b"\x93NUMPY")),
            Self::Svg => begins(|bytes| bytes.starts_with(b"<svg ")),
            Self::Png => begins(|bytes| bytes.starts_with(b"\x89PNG")),
            Self::Html => begins(|bytes| bytes.starts_with(b"<!doctype html>")),
        }
    }
}

/// Whether a safetensors file holds the state of a run; `None` for other files.
fn holds_state(path: &Path) -> Option<bool> {
    let header = read_header(open_file(path).ok()?)?;
    Some(entry(&header, METADATA).is_some_and(|state| state.contains("\"model\":")))
}

/// Reason why a path may not become a file of results.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum TargetError {
    #[error(
        "this makes {}, which does not end in .{found}: choose a name that ends in .{}",
        kind.name(),
        kind.extension()
    )]
    Extension { kind: FileKind, found: String },
    #[error("belongs to a training run, which needs it: choose another name")]
    OfARun,
    #[error("holds something else than {}: choose another name, remove it{or_force}", kind.name())]
    OtherKind { kind: FileKind, or_force: &'static str },
    #[error("is what is to be read: choose another name")]
    Input,
    #[error("is to hold another result as well: choose another name for one of them")]
    Twice,
    #[error("its folder does not exist: make it first")]
    NoFolder,
    #[error("found {0}, expected a file or nothing: choose another name")]
    NotAFile(&'static str),
}

/// Checks that `path` may become a file of `kind`: its extension says nothing else, and what lies there is nothing, or
/// an empty file or one of the same kind, and no part of a run. `force`, of a command that has it, takes any other file
/// too.
pub fn check_target(path: &Path, kind: FileKind, force: Option<bool>) -> Result<(), FileError> {
    let refuse = |reason| Err(FileError::Target { path: path.into(), reason });
    let extension = path.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    if let Some(found) = extension.filter(|found| *found != kind.extension() && EXTENSIONS.contains(&found.as_str())) {
        return refuse(TargetError::Extension { kind, found });
    }
    let target = resolve(path)?;
    let Ok(found) = fs::metadata(&target) else {
        let missing = !super::atomic::folder(&target).exists();
        return if missing { refuse(TargetError::NoFolder) } else { Ok(()) };
    };
    if is_of_a_run(&target) {
        return refuse(TargetError::OfARun);
    }
    if found.len() == 0 || force == Some(true) || kind.is_at(&target) {
        return Ok(());
    }
    refuse(TargetError::OtherKind { kind, or_force: if force.is_some() { ", or say --force" } else { "" } })
}

/// Checks that writing to `path` replaces none of `inputs`, of which it is made.
pub fn expect_other<'a>(path: &Path, inputs: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), FileError> {
    let Ok(target) = fs::canonicalize(resolve(path)?) else { return Ok(()) };
    let same = inputs.into_iter().any(|input| fs::canonicalize(input).is_ok_and(|input| input == target));
    if same { Err(FileError::Target { path: path.into(), reason: TargetError::Input }) } else { Ok(()) }
}

/// Checks that no two of `paths`, to which results are written, are one file.
pub fn expect_distinct(paths: &[&Path]) -> Result<(), FileError> {
    let mut targets = BTreeSet::new();
    for &path in paths {
        let target = resolve(path)?;
        let folder = super::atomic::folder(&target);
        let folder = fs::canonicalize(folder).unwrap_or_else(|_| folder.into());
        if !targets.insert(folder.join(target.file_name().unwrap_or_default())) {
            return Err(FileError::Target { path: path.into(), reason: TargetError::Twice });
        }
    }
    Ok(())
}

/// Whether a training run keeps the file at `target`.
fn is_of_a_run(target: &Path) -> bool {
    let beside = |name: &str| target.with_file_name(name).is_file();
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let kept = ["last.", "best.", "step-"].iter().any(|start| name.starts_with(start));
    (kept || ["config.toml", "metrics.jsonl", "lock"].contains(&&*name))
        && beside("config.toml")
        && beside("metrics.jsonl")
}

/// The file that writing to `path` replaces, behind all links.
///
/// # Errors
/// [`FileError::Write`] for anything else than a file or nothing: a folder, a pipe, a device.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, FileError> {
    let refuse = |found| Err(FileError::write(path)(io::Error::other(TargetError::NotAFile(found))));
    // Behind links of the system's own, as /dev/stdout, names that are no paths may follow.
    if let Some(found) = fs::metadata(path).ok().filter(|found| !found.is_file()) {
        return refuse(describe(found.file_type()));
    }
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::symlink_metadata(&target) {
            Ok(found) if found.is_symlink() => {
                let link = fs::read_link(&target).map_err(FileError::write(path))?;
                target = super::atomic::folder(&target).join(link);
            }
            // What cannot be looked at cannot be written either, and then the system says why.
            _ => return Ok(target),
        }
    }
    refuse("links that end nowhere")
}

fn describe(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if found.is_fifo() {
            return "a pipe";
        }
        if found.is_char_device() || found.is_block_device() {
            return "a device";
        }
        if found.is_socket() {
            return "a socket";
        }
    }
    if found.is_dir() { "a folder" } else { "something else" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::{Elements, serialize, write_file};

    /// What is said against writing `kind` to `name`, nothing if it may be.
    fn refused(folder: &Path, name: &str, kind: FileKind, force: Option<bool>) -> String {
        check_target(&folder.join(name), kind, force).map_or_else(|error| error.to_string(), |()| String::new())
    }

    fn safetensors(state: Option<&str>) -> Vec<u8> {
        let tensors = [("x", &[1][..], Elements::F32(&[1.0]))];
        serialize(tensors, state.map(|state| (METADATA, state.to_owned()))).unwrap()
    }

    #[test]
    fn files_of_the_same_kind_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = r#"{"model":"","classes":[]}"#;
        let files: [(&str, FileKind, Vec<u8>); 10] = [
            ("checkpoint", FileKind::Checkpoint, safetensors(Some(state))),
            ("tensors", FileKind::Tensors, safetensors(None)),
            ("predictions", FileKind::Tensors, safetensors(Some(r#"{"classes":[]}"#))),
            ("onnx", FileKind::Onnx, vec![8, 8, 18]),
            ("json", FileKind::Json, b" [1]".into()),
            ("csv", FileKind::Csv, b"image,class,label1\n".into()),
            ("npy", FileKind::Npy, b"\x93NUMPY\x01\x00".into()),
            ("svg", FileKind::Svg, b"<svg xmlns=\"\">".into()),
            ("png", FileKind::Png, b"\x89PNG\r\n".into()),
            ("html", FileKind::Html, b"<!doctype html>".into()),
        ];
        fs::write(folder.path().join("empty"), "").unwrap();
        for (name, _, bytes) in &files {
            fs::write(folder.path().join(name), bytes).unwrap();
        }
        for (_, kind, _) in &files {
            for (name, other, _) in &files {
                let said = refused(folder.path(), name, *kind, None);
                assert_eq!(said.is_empty(), kind == other, "{kind:?} over {name}: {said}");
                assert_eq!(refused(folder.path(), name, *kind, Some(true)), "", "{kind:?} over {name}");
            }
            assert_eq!(refused(folder.path(), "empty", *kind, None), "");
            assert_eq!(refused(folder.path(), "nothing", *kind, None), "");
        }
        assert!(refused(folder.path(), "json", FileKind::Csv, Some(false)).contains("--force"));
    }

    #[test]
    fn neither_an_input_nor_another_result_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let [there, roundabout, new] = ["x.png", "./x.png", "new.png"].map(|name| folder.path().join(name));
        fs::write(&there, "").unwrap();
        let said = expect_other(&roundabout, [&new, &there]).unwrap_err().to_string();
        assert!(said.contains("x.png") && said.contains("to be read"), "{said}");
        expect_other(&new, [&there]).unwrap();
        expect_distinct(&[&there, &new]).unwrap();
        let again = folder.path().join("./new.png");
        let said = expect_distinct(&[&new, &there, &again]).unwrap_err().to_string();
        assert!(said.contains("new.png") && said.contains("another result"), "{said}");
        let said = refused(folder.path(), "nowhere/x.png", FileKind::Png, None);
        assert!(said.contains("nowhere/x.png: its folder does not exist"), "{said}");
    }

    #[test]
    fn an_extension_says_what_a_file_holds() {
        let folder = tempfile::tempdir().unwrap();
        let said = refused(folder.path(), "x.ONNX", FileKind::Tensors, Some(true));
        assert!(said.contains("x.ONNX") && said.contains("ends in .safetensors"), "{said}");
        assert!(refused(folder.path(), "x.gif", FileKind::Png, None).contains("ends in .png"));
        for name in ["x", "x.onnx", "x.bin", "x.v2"] {
            assert_eq!(refused(folder.path(), name, FileKind::Onnx, None), "");
        }
    }

    #[test]
    fn no_part_of_a_run_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let state = safetensors(Some(r#"{"model":""}"#));
        fs::write(folder.path().join("best.safetensors"), state).unwrap();
        assert_eq!(refused(folder.path(), "best.safetensors", FileKind::Checkpoint, None), "");
        for name in ["config.toml", "metrics.jsonl"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::write(folder.path().join("lock"), "1\n").unwrap();
        for (name, kind) in [("best.safetensors", FileKind::Checkpoint), ("lock", FileKind::Contest)] {
            let said = refused(folder.path(), name, kind, Some(true));
            assert!(said.contains("training run"), "{said}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_and_only_files_replaced() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("there")).unwrap();
        symlink("there/x.json", at("link.json")).unwrap();
        symlink("link.json", at("far.json")).unwrap();
        for _ in 0..2 {
            write_file(&at("far.json"), b"{}").unwrap();
            assert_eq!(fs::read(at("there/x.json")).unwrap(), b"{}");
        }
        assert!(fs::symlink_metadata(at("far.json")).unwrap().is_symlink());
        symlink("loop", at("loop")).unwrap();
        assert!(write_file(&at("loop"), b"").unwrap_err().to_string().contains("links"));
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (name, what) in [("pipe", "a pipe"), ("socket", "a socket"), ("there", "a folder")] {
            for error in [write_file(&at(name), b""), check_target(&at(name), FileKind::Json, Some(true))] {
                let error = error.unwrap_err().to_string();
                assert!(error.contains(name) && error.contains(&format!("found {what}")), "{error}");
            }
        }
        drop(socket);
    }
}
