//! NVIDIA's own back end as a compiler, without a driver: naga's MSL with a header that makes CUDA of it
//! (`nvidia/shim.h`), NVRTC, nvdisasm. The driver's Vulkan front end is another, its back end is the same: registers,
//! scheduling and the width of loads come out alike, checks of buffer bounds (robustBufferAccess2) are missing.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::step::Stage;
use crate::translate::Module;

/// Where the wheels `nvidia-cuda-nvrtc` and `nvidia-cuda-nvdisasm` put their files.
pub struct Nvidia {
    library: libloading::Library,
    disassembler: PathBuf,
    headers: PathBuf,
    architecture: String,
    scratch: PathBuf,
}

/// What came out.
pub struct Compiled {
    /// Machine code as nvdisasm prints it.
    pub sass: String,
    pub registers: u32,
    pub spills: u32,
}

const SHIM: &str = include_str!("../nvidia/shim.h");

impl Nvidia {
    /// `folder` is `site-packages/nvidia/cu13`.
    pub fn open(folder: &Path, architecture: &str, scratch: &Path) -> Result<Self> {
        // SAFETY: NVIDIA's library, whose constructors do nothing unusual.
        let library = unsafe { libloading::Library::new(folder.join("lib/libnvrtc.so.13")) }?;
        let disassembler = folder.join("bin/nvdisasm");
        let headers = folder.join("include");
        Ok(Self { library, disassembler, headers, architecture: architecture.into(), scratch: scratch.into() })
    }

    /// Compiles an entry point.
    pub fn compile(&self, module: &Module, stage: &Stage) -> Result<Compiled> {
        self.cuda(&cuda(module, stage)?)
    }

    /// Compiles CUDA.
    pub fn cuda(&self, source: &str) -> Result<Compiled> {
        let cubin = self.cubin(source)?;
        let file = self.scratch.join(format!("shaderstats-{}.cubin", std::process::id()));
        std::fs::write(&file, cubin)?;
        let out = Command::new(&self.disassembler).arg("-c").arg(&file).output().context("nvdisasm")?;
        let sass = String::from_utf8_lossy(&out.stdout).into_owned();
        std::fs::remove_file(&file)?;
        let code = |name: &str| sass.lines().filter(|line| line.contains("*/") && line.contains(name)).count() as u32;
        let spills = code(" LDL") + code(" STL");
        // REG appears as `.sectionentsize`-like header lines in nvdisasm's output: SHI_REGISTERS=n.
        let registers = sass
            .split("SHI_REGISTERS=")
            .nth(1)
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok());
        let registers = registers.unwrap_or_else(|| highest_register(&sass) + 1);
        Ok(Compiled { sass, registers, spills })
    }

    fn cubin(&self, source: &str) -> Result<Vec<u8>> {
        type Program = *mut c_void;
        let source = CString::new(source)?;
        let options: Vec<CString> = [
            format!("--gpu-architecture={}", self.architecture),
            format!("--include-path={}", self.headers.display()),
            "--std=c++17".into(),
            "--fmad=true".into(),
            "--prec-div=false".into(),
            "--prec-sqrt=false".into(),
            "--ftz=false".into(),
            "-w".into(),
        ]
        .into_iter()
        .map(|option| CString::new(option).unwrap_or_default())
        .collect();
        let pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        // SAFETY: NVRTC's interface as its header declares it.
        unsafe {
            let create: libloading::Symbol<
                unsafe extern "C" fn(
                    *mut Program,
                    *const c_char,
                    *const c_char,
                    c_int,
                    *const *const c_char,
                    *const *const c_char,
                ) -> c_int,
            > = self.library.get(b"nvrtcCreateProgram")?;
            let compile: libloading::Symbol<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int> =
                self.library.get(b"nvrtcCompileProgram")?;
            let log_size: libloading::Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> =
                self.library.get(b"nvrtcGetProgramLogSize")?;
            let log: libloading::Symbol<unsafe extern "C" fn(Program, *mut c_char) -> c_int> =
                self.library.get(b"nvrtcGetProgramLog")?;
            let size_of: libloading::Symbol<unsafe extern "C" fn(Program, *mut usize) -> c_int> =
                self.library.get(b"nvrtcGetCUBINSize")?;
            let get: libloading::Symbol<unsafe extern "C" fn(Program, *mut c_char) -> c_int> =
                self.library.get(b"nvrtcGetCUBIN")?;
            let destroy: libloading::Symbol<unsafe extern "C" fn(*mut Program) -> c_int> =
                self.library.get(b"nvrtcDestroyProgram")?;
            let mut program: Program = std::ptr::null_mut();
            if create(&mut program, source.as_ptr(), c"kernel.cu".as_ptr(), 0, std::ptr::null(), std::ptr::null()) != 0
            {
                bail!("NVRTC takes no program");
            }
            let status = compile(program, pointers.len() as c_int, pointers.as_ptr());
            let mut size = 0;
            if status != 0 {
                log_size(program, &mut size);
                let mut text = vec![0u8; size.max(1)];
                log(program, text.as_mut_ptr().cast());
                bail!("{}", CStr::from_bytes_until_nul(&text).unwrap_or_default().to_string_lossy());
            }
            size_of(program, &mut size);
            let mut cubin = vec![0u8; size];
            get(program, cubin.as_mut_ptr().cast());
            destroy(&mut program);
            Ok(cubin)
        }
    }
}

fn highest_register(sass: &str) -> u32 {
    let words = sass.split(|c: char| !c.is_ascii_alphanumeric());
    words.filter_map(|word| word.strip_prefix('R')?.parse().ok()).max().unwrap_or(0)
}

/// The shader as CUDA: naga's MSL, its entry point's parameters made such of a `__global__` function.
pub fn cuda(module: &Module, stage: &Stage) -> Result<String> {
    let text = without_wrappers(&module.metal(&stage.entry)?);
    let (threads, [x, y, z]) = (stage.all(), stage.threads);
    let mut out = String::from(if text.contains("simdgroup_half") { "#define SIMDGROUP_MATRICES\n" } else { "" });
    out.push_str(SHIM);
    let mut lines = text.lines().filter(|line| !line.starts_with("#include") && !line.starts_with("using metal"));
    while let Some(line) = lines.next() {
        if let Some(rest) = line.strip_prefix("constant ") {
            out.push_str(&format!("static constexpr {}\n", floats(rest)));
            continue;
        }
        let Some((_, name)) = line.split_once("kernel void ") else {
            out.push_str(&plain(line));
            out.push('\n');
            continue;
        };
        // The signature, up to the brace.
        let mut parameters = String::new();
        let mut prologue = String::new();
        for line in lines.by_ref() {
            if line.starts_with(") {") {
                break;
            }
            let line = line.trim_start_matches([',', ' ']);
            let declaration = line.split(" [[").next().unwrap_or(line);
            let attribute = line.split("[[").nth(1).unwrap_or_default();
            let name = declaration.rsplit([' ', '&']).next().unwrap_or_default();
            if let Some(shared) = declaration.strip_prefix("threadgroup ") {
                let kind = shared.split('&').next().unwrap_or_default();
                prologue.push_str(&format!("    __shared__ __align__(16) char {name}_bytes[sizeof({kind})]; {kind}& {name} = *({kind}*){name}_bytes;\n"));
            } else if declaration.contains('&') {
                let kind = declaration.replace("device ", "").replace("constant ", "");
                let kind =
                    kind.split('&').next().unwrap_or_default().trim().trim_end_matches("const").trim().to_owned();
                let constant = if declaration.contains("const&") { "const " } else { "" };
                parameters.push_str(&format!(
                    "{}{constant}void* {name}_bytes",
                    if parameters.is_empty() { "" } else { ", " }
                ));
                prologue.push_str(&format!("    {constant}{kind}& {name} = *({constant}{kind}*){name}_bytes;\n"));
            } else {
                let value = match attribute.split(']').next().unwrap_or_default() {
                    "threadgroup_position_in_grid" => "metal::uint3(blockIdx.x, blockIdx.y, blockIdx.z)".to_owned(),
                    "thread_position_in_threadgroup" => {
                        "metal::uint3(threadIdx.x, threadIdx.y, threadIdx.z)".to_owned()
                    }
                    "threads_per_threadgroup" => format!("metal::uint3({x}, {y}, {z})"),
                    "threadgroups_per_grid" => "metal::uint3(gridDim.x, gridDim.y, gridDim.z)".to_owned(),
                    "thread_position_in_grid" => format!(
                        "metal::uint3(blockIdx.x * {x} + threadIdx.x, blockIdx.y * {y} + threadIdx.y, blockIdx.z * {z} + threadIdx.z)"
                    ),
                    "simdgroup_index_in_threadgroup" => "threadIdx.x / 32".to_owned(),
                    "thread_index_in_simdgroup" => "threadIdx.x % 32".to_owned(),
                    "threads_per_simdgroup" => "32".to_owned(),
                    "thread_index_in_threadgroup" => format!("threadIdx.x + {x} * (threadIdx.y + {y} * threadIdx.z)"),
                    other => bail!("builtin {other}"),
                };
                prologue.push_str(&format!("    {declaration} = {value};\n"));
            }
        }
        let name = name.trim_end_matches('(');
        out.push_str(&format!(
            "extern \"C\" __global__ void __launch_bounds__({threads}) {name}({parameters}) {{\n{prologue}"
        ));
    }
    Ok(out)
}

/// MSL without naga's functions around matrices, which the header has for pointers to vectors too.
fn without_wrappers(text: &str) -> String {
    let (mut out, mut wrapper) = (String::with_capacity(text.len()), false);
    for line in text.lines() {
        wrapper |= line.starts_with("metal::simdgroup_") && line.contains(" NagaCooperative") && line.ends_with('{');
        if !wrapper {
            out.push_str(line);
            out.push('\n');
        }
        wrapper &= line != "}";
    }
    out
}

/// Metal's literals are floats, CUDA's doubles.
fn floats(line: &str) -> String {
    let bytes = line.as_bytes();
    let mut out = String::with_capacity(line.len() + 8);
    let mut at = 0;
    while at < bytes.len() {
        let begins = bytes[at].is_ascii_digit()
            && (at == 0 || !(bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_'));
        if !begins {
            out.push(bytes[at] as char);
            at += 1;
            continue;
        }
        let begin = at;
        let exponent = |at: usize| matches!(bytes[at - 1], b'e' | b'E') && matches!(bytes[at], b'-' | b'+');
        while at < bytes.len() && (bytes[at].is_ascii_alphanumeric() || bytes[at] == b'.' || exponent(at)) {
            at += 1;
        }
        let number = &line[begin..at];
        let float = number.contains('.') || (number.contains('e') && !number.starts_with("0x"));
        out.push_str(number);
        out.push_str(if float && !number.ends_with('f') { "f" } else { "" });
    }
    out
}

/// A line of a function or a type without Metal's address spaces.
fn plain(line: &str) -> String {
    let mut line = line.to_owned();
    for space in ["device ", "threadgroup ", "thread ", "constant "] {
        line = line.replace(space, "");
    }
    line = floats(&line);
    // Functions begin at the margin.
    if !line.starts_with([' ', '}', '/']) && line.ends_with('(') {
        line = format!("__device__ __forceinline__ {line}");
    } else if !line.starts_with([' ', '}', '/']) && line.ends_with(") {") && line.contains('(') {
        line = format!("__device__ __forceinline__ {line}");
    }
    line
}
