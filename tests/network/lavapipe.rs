//! More than one adapter on any Linux machine: to the Vulkan loader a copy of Mesa's software driver, lavapipe, is
//! another driver. Drivers are named in the environment, so what uses them runs in a process of its own.

use std::env;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::child;
use crate::devices::not_run;

/// Names the driver files the Vulkan loader is to use; loaders before 1.3.207 know the second name only.
const DRIVERS: [&str; 2] = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES"];

/// Driver of the installed lavapipe, the software adapter of Mesa.
pub(crate) struct Lavapipe {
    /// The JSON file by which the Vulkan loader finds it.
    pub(crate) file: PathBuf,
    content: Value,
    library: PathBuf,
}

impl Lavapipe {
    /// The lavapipe of this machine.
    ///
    /// `None` where there is none, which it says; with ALEXNET_REQUIRE_GPU=1 that is a failure on Linux.
    pub(crate) fn find() -> Option<Self> {
        if !cfg!(target_os = "linux") {
            println!("NOT RUN: lavapipe is for Linux");
            return None;
        }
        let places = places();
        let found = places.iter().flat_map(|place| driver_files(place)).find_map(Self::read);
        if found.is_none() {
            let missing = format!("no driver file of lavapipe (*lvp*.json) whose library is there in {places:?}");
            let fix = "./setup --software installs it";
            not_run(&format!("{missing}; {fix}"));
        }
        found
    }

    /// `None` where the library is not there, or is for another processor than this program.
    fn read(file: PathBuf) -> Option<Self> {
        let content: Value = serde_json::from_slice(&fs::read(&file).ok()?).ok()?;
        let path = Path::new(content["ICD"]["library_path"].as_str()?);
        let own = processor(&env::current_exe().ok()?);
        let candidates = match path.parent() {
            Some(folder) if folder != Path::new("") => vec![file.parent()?.join(path)],
            _ => libraries(path),
        };
        let library = candidates.into_iter().find(|library| own.is_some() && processor(library) == own)?;
        Some(Self { file, content, library })
    }

    /// Copies it to `folder`, and gives the driver file of the copy.
    pub(crate) fn copy_to(&self, folder: &Path) -> PathBuf {
        let library = folder.join("libvulkan_lvp_second.so");
        fs::copy(&self.library, &library).unwrap_or_else(|e| panic!("{}: {e}", self.library.display()));
        let mut content = self.content.clone();
        content["ICD"]["library_path"] = library.to_str().unwrap().into();
        let file = folder.join("lvp_icd_second.json");
        fs::write(&file, content.to_string()).unwrap();
        file
    }
}

/// Files and folders in which driver files are looked for.
fn places() -> Vec<PathBuf> {
    if let Some(files) = DRIVERS.iter().find_map(|variable| env::var_os(variable).filter(|files| !files.is_empty())) {
        return env::split_paths(&files).collect();
    }
    let shared = env::var_os("XDG_DATA_DIRS").unwrap_or_default();
    let shared = env::split_paths(&shared).filter(|folder| folder.is_absolute());
    let folders = ["/usr/share", "/usr/local/share", "/etc"].map(PathBuf::from).into_iter().chain(shared);
    folders.map(|folder| folder.join("vulkan/icd.d")).collect()
}

/// The driver files of lavapipe at `place`, a file or a folder.
fn driver_files(place: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(place).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let mut files: Vec<PathBuf> = entries.unwrap_or_else(|_| vec![place.into()]);
    files.retain(|file| file.file_name().is_some_and(|name| name.to_string_lossy().contains("lvp")));
    files.sort();
    files
}

/// Where the dynamic linker may find the library `name`.
fn libraries(name: &Path) -> Vec<PathBuf> {
    let cache = ["ldconfig", "/sbin/ldconfig"].iter().find_map(|program| Command::new(program).arg("-p").output().ok());
    let cache = cache.map_or_else(String::new, |output| String::from_utf8_lossy(&output.stdout).into_owned());
    let cached = cache.lines().filter_map(|line| line.split_once(" => ")).map(|(_, path)| PathBuf::from(path));
    let own = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let multiarch = format!("/usr/lib/{}-linux-gnu", env::consts::ARCH);
    let usual = ["/usr/lib64", "/usr/lib", "/usr/local/lib", &multiarch].map(PathBuf::from);
    let own = env::split_paths(&own).map(|folder| folder.join(name));
    own.chain(cached.filter(|path| path.ends_with(name))).chain(usual.iter().map(|folder| folder.join(name))).collect()
}

/// For which processor an ELF file is: word size, byte order and machine.
fn processor(file: &Path) -> Option<[u8; 4]> {
    let mut header = [0; 20];
    File::open(file).ok()?.read_exact(&mut header).ok()?;
    header.starts_with(b"\x7fELF").then(|| [header[4], header[5], header[18], header[19]])
}

/// What the ignored test `name` reports from a process that has the drivers `files` only.
#[track_caller]
pub(crate) fn run_with(files: &[&Path], name: &str) -> Value {
    let files = env::join_paths(files).unwrap();
    child::run(name, &DRIVERS.map(|variable| (variable, files.as_os_str())))
}
