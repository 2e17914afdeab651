//! The program run as a user runs it, in a temporary folder, on small data.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::tiny::TINY;

/// Training images of [`Place::blobs`], and how many steps of 16 they make.
const BLOBS: usize = 150;
pub(crate) const BLOB_STEPS: usize = BLOBS.div_ceil(16);

/// A temporary folder to work in, which holds the model file `tiny.toml`.
pub(crate) struct Place {
    folder: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        place.write("tiny.toml", TINY);
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    /// The names in a folder, sorted.
    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// A CIFAR-10 binary folder `blobs`: a coloured spot, in a place of its own for each of ten classes.
    pub(crate) fn blobs(&self) {
        let records = |first: usize, count: usize| (first..first + count).flat_map(blob).collect::<Vec<u8>>();
        self.write("blobs/data_batch_1.bin", records(0, 100));
        self.write("blobs/data_batch_2.bin", records(100, BLOBS - 100));
        self.write("blobs/test_batch.bin", records(BLOBS, 50));
        let names: Vec<_> = (0..10).map(|class| format!("spot {class}\n")).collect();
        self.write("blobs/batches.meta.txt", names.concat());
    }

    /// The program with `arguments`, in this folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alexnet"));
        command.current_dir(self.folder.path()).args(arguments);
        // What is measured once need not be measured again in the next test, nor be left in the user's cache.
        command.env("XDG_CACHE_HOME", Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache"));
        command
    }

    /// Standard output of a command that succeeds.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What a command prints as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    /// `train` with the tiny network on the CPU engine.
    #[track_caller]
    pub(crate) fn train(&self, out: &str, more: &[&str]) -> String {
        self.ok(&tiny(out, "cpu", more))
    }

    /// Checks that a command fails with exit code 1 and says all of `parts`.
    #[track_caller]
    pub(crate) fn refuses(&self, arguments: &[&str], parts: &[&str]) {
        refused(&self.command(arguments).output().unwrap(), 1, parts);
    }

    /// The program where no file may grow beyond `kib` KiB, as on a full disk.
    #[cfg(unix)]
    pub(crate) fn on_a_full_disk(&self, kib: usize, arguments: &[&str]) -> Output {
        self.within(&format!("trap '' XFSZ; ulimit -f {kib}"), arguments)
    }

    /// The program in a shell that was given `limits` first.
    #[cfg(unix)]
    pub(crate) fn within(&self, limits: &str, arguments: &[&str]) -> Output {
        let program = self.command(&[]);
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(program.get_program()).args(arguments);
        command.current_dir(self.folder.path()).output().unwrap()
    }

    /// The objects of `metrics.jsonl` in the run folder `run`.
    pub(crate) fn metrics(&self, run: &str) -> Vec<Value> {
        let text = String::from_utf8(self.read(&format!("{run}/metrics.jsonl"))).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
    }
}

/// Arguments of `train` with the tiny network on `device`.
pub(crate) fn tiny<'a>(out: &'a str, device: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["train", "--model", "tiny.toml", "--devices", device, "--out", out], more].concat()
}

/// Checks that a command ended with `code` and an error that says all of `parts`, and did not panic.
#[track_caller]
pub(crate) fn refused(output: &Output, code: i32, parts: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && !text.contains("panicked"), "{output:?}");
    let error = text.find("error: ").map_or("", |at| &text[at..]);
    contains(error, parts);
}

/// Checks that `text` has all of `parts`, in which paths are written with slashes.
#[track_caller]
pub(crate) fn contains(text: &str, parts: &[&str]) {
    let text = text.replace('\\', "/");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in:\n{text}");
    }
}

/// An image file of one colour, of the kind that the name says.
pub(crate) fn save_image(path: &Path, width: u32, height: u32, colour: [u8; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    image::RgbImage::from_pixel(width, height, image::Rgb(colour)).save(path).unwrap();
}

/// A CIFAR record: dim noise with a bright spot, whose place and colour are those of class `index` mod 10.
fn blob(index: usize) -> Vec<u8> {
    let class = index % 10;
    let centre = [4 + class % 5 * 6, 8 + class / 5 * 16];
    let mut record = vec![class as u8];
    for plane in 0..3 {
        for (y, x) in (0..32_usize).flat_map(|y| (0..32_usize).map(move |x| (y, x))) {
            let spot = x.abs_diff(centre[0]) < 4 && y.abs_diff(centre[1]) < 5;
            let noise = (index * 31 + y * 17 + x * 7 + plane * 5) % 23;
            record.push((noise + usize::from(spot) * (60 + 70 * ((class + plane) % 3))) as u8);
        }
    }
    record
}
