//! What GPU compilers make of the shaders of a training step, without a GPU. See README.md.

mod driver;
mod isa;
mod nvidia;
mod step;
mod translate;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::isa::{Class, Code, Counts, Dialect, Hot};
use crate::step::{Shader, Stage, Step};
use crate::translate::Module;

const USAGE: &str = "usage: shaderstats amd|nvidia STEP [--only WORDS] [--dump DIR] [--nvrtc DIR] [--arch sm_90], or\n\
                     shaderstats list STEP; STEP is a folder written by\n\
                     alexnet kernels --wgsl STEP --model alexnet";

/// Options of the command line.
struct Args {
    command: String,
    path: PathBuf,
    /// Words that the description of a shader holds.
    only: Vec<String>,
    /// Folder for machine code and so on.
    dump: Option<PathBuf>,
    /// `site-packages/nvidia/cu13`.
    nvrtc: Option<PathBuf>,
    architecture: String,
}

fn args() -> Result<Args> {
    let mut given = std::env::args().skip(1);
    let (command, path) = (given.next().context(USAGE)?, given.next().context(USAGE)?.into());
    let mut args =
        Args { command, path, only: Vec::new(), dump: None, nvrtc: None, architecture: "sm_90".into() };
    while let Some(option) = given.next() {
        let mut value = || given.next().with_context(|| format!("{option} needs a value"));
        match option.as_str() {
            "--only" => args.only.push(value()?),
            "--dump" => args.dump = Some(value()?.into()),
            "--nvrtc" => args.nvrtc = Some(value()?.into()),
            "--arch" => args.architecture = value()?,
            other => bail!("unknown option {other}\n{USAGE}"),
        }
    }
    Ok(args)
}

fn main() -> Result<()> {
    let args = args()?;
    match args.command.as_str() {
        "list" => list(&Step::open(&args.path)?),
        "amd" => amd(&args, &Step::open(&args.path)?),
        "nvidia" => nvidia(&args, &Step::open(&args.path)?),
        _ => bail!("{USAGE}"),
    }
}

/// Every run of a step, tab-separated.
fn list(step: &Step) -> Result<()> {
    println!("pass\tphase\tlayer\tkernel\tGFLOP\tMB\tparams");
    for run in &step.runs {
        let (work, bytes) = (run.flops as f64 * 1e-9, run.bytes as f64 * 1e-6);
        println!("{}\t{}\t{}\t{}\t{work:.4}\t{bytes:.3}\t{}", run.pass, run.phase, run.layer, run.kernel, run.params);
    }
    Ok(())
}

/// The shaders asked for, each with its layer.
fn chosen<'a>(args: &'a Args, step: &'a Step) -> impl Iterator<Item = (&'a str, &'a Shader)> {
    let wanted = |(layer, shader): &(&str, &Shader)| {
        let text = format!("{layer} {} {} {}", shader.kernel, shader.variant, shader.params);
        args.only.iter().all(|word| text.contains(word.as_str()))
    };
    step.of_gpus().filter(wanted)
}

const HEAD: &str = "layer\tkernel\tvariant\tfile\tgroups\tthreads\tregisters\twaves\tspills\tLDS bytes\tcode\tFMA\tmatrix\tother\tscalar\t\
                    LDS load\tLDS store\tload\tspill\twait\tbarrier\tFMA/vector\tFMA/all\tinner trips";

/// Counts of the hot loop, tab-separated.
fn row(counts: &Counts) -> String {
    let sums = counts.get(Class::Fma) + counts.get(Class::Matrix);
    let numbers: Vec<String> = [
        Class::Fma,
        Class::Matrix,
        Class::Other,
        Class::Scalar,
        Class::LdsLoad,
        Class::LdsStore,
        Class::Load,
        Class::Spill,
        Class::Wait,
        Class::Barrier,
    ]
    .iter()
    .map(|&class| format!("{:.0}", counts.get(class)))
    .collect();
    format!("{}\t{:.2}\t{:.2}", numbers.join("\t"), sums / counts.vector().max(1.0), sums / counts.all().max(1.0))
}

fn hot_counts(hot: Option<&Hot>) -> (Counts, f64, String) {
    hot.map(|hot| (hot.counts.clone(), hot.inner_trips, hot.text.join("\n"))).unwrap_or_default()
}

fn dump(args: &Args, layer: &str, shader: &Shader, name: &str, text: &str) -> Result<()> {
    let Some(folder) = &args.dump else { return Ok(()) };
    std::fs::create_dir_all(folder)?;
    let name = format!("{layer} {} {} {name}", shader.kernel, shader.variant).replace([' ', '/'], "_");
    Ok(std::fs::write(folder.join(name), text)?)
}

/// Tells which shader could not be compiled, and why; the table goes on.
fn skip(layer: &str, shader: &Shader, error: &anyhow::Error) {
    let reason: Vec<String> = error.to_string().lines().take(6).map(str::to_owned).collect();
    eprintln!("{layer} {} {}: {}", shader.kernel, shader.variant, reason.join(" | "));
}

fn amd(args: &Args, step: &Step) -> Result<()> {
    let driver = driver::Driver::open()?;
    eprintln!("{}\n{}", driver.name, driver.cooperative_matrices().join("\n"));
    println!("{HEAD}\tinverse throughput\tlatency\twave");
    for (layer, shader) in chosen(args, step) {
        let (stage, module) = (&shader.stages[0], Module::open(step, shader)?);
        let bindings = 1 + stage.bindings.iter().max().copied().unwrap_or(0);
        let compiled = match driver.compile(&module.spirv(&stage.entry)?, &stage.entry, bindings) {
            Ok(compiled) => compiled,
            Err(error) => {
                skip(layer, shader, &error);
                continue;
            }
        };
        let code = Code::parse(compiled.texts.get("Assembly").map_or("", String::as_str), Dialect::Amd);
        let (counts, trips, hot) = hot_counts(code.hot(shader.work()).as_ref());
        let s = |name: &str| compiled.statistics.get(name).copied().unwrap_or(f64::NAN);
        println!(
            "{layer}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{trips:.1}\t{}\t{}\t{}",
            shader.kernel,
            shader.variant,
            shader.file,
            shader.groups(),
            stage.all(),
            s("VGPRs"),
            s("Subgroups per SIMD"),
            s("Spilled VGPRs"),
            s("LDS size"),
            code.len(),
            row(&counts),
            s("Inverse Throughput"),
            s("Latency"),
            s("Subgroup size"),
        );
        for (name, text) in &compiled.texts {
            dump(args, layer, shader, name, text)?;
        }
        dump(args, layer, shader, "hot loop", &hot)?;
        dump(args, layer, shader, "WGSL", &module.text)?;
    }
    Ok(())
}

fn nvidia(args: &Args, step: &Step) -> Result<()> {
    let nvidia = open_nvidia(args)?;
    println!("{HEAD}");
    // Its subgroups have 32 lanes.
    for (layer, shader) in chosen(args, step).filter(|(_, shader)| shader.subgroup_size.is_none_or(|lanes| lanes == 32)) {
        let (stage, module): (&Stage, Module) = (&shader.stages[0], Module::open(step, shader)?);
        let compiled = match nvidia.compile(&module, stage) {
            Ok(compiled) => compiled,
            Err(error) => {
                skip(layer, shader, &error);
                dump(args, layer, shader, "cu", &nvidia::cuda(&module, stage).unwrap_or_default())?;
                continue;
            }
        };
        let code = Code::parse(&compiled.sass, Dialect::Nvidia);
        let (counts, trips, hot) = hot_counts(code.hot(shader.work()).as_ref());
        println!(
            "{layer}\t{}\t{}\t{}\t{}\t{}\t{}\t{:.1}\t{}\t{}\t{}\t{}\t{trips:.1}",
            shader.kernel,
            shader.variant,
            shader.file,
            shader.groups(),
            stage.all(),
            compiled.registers,
            warps(compiled.registers, stage.all(), shader.workgroup_bytes) / 4.0,
            compiled.spills,
            shader.workgroup_bytes,
            code.len(),
            row(&counts),
        );
        dump(args, layer, shader, "sass", &compiled.sass)?;
        dump(args, layer, shader, "hot sass", &hot)?;
        dump(args, layer, shader, "cu", &nvidia::cuda(&module, stage)?)?;
    }
    Ok(())
}

fn open_nvidia(args: &Args) -> Result<nvidia::Nvidia> {
    let folder = args.nvrtc.as_deref().context("--nvrtc DIR says where the wheels of NVRTC are; see README.md")?;
    nvidia::Nvidia::open(Path::new(folder), &args.architecture, &std::env::temp_dir())
}

/// Warps that an SM of Hopper holds at once: 64 at most, 64 Ki registers in units of 256 a warp, 227 KiB of shared
/// memory with 1 KiB for each workgroup, 32 workgroups.
fn warps(registers: u32, threads: u32, shared: u32) -> f64 {
    let warps = f64::from(threads.div_ceil(32));
    let of_registers = (65_536 / (registers.max(1) * 32).next_multiple_of(256)) as f64 / warps;
    let of_memory = 227.0 * 1024.0 / f64::from(shared + 1024);
    let groups = of_registers.floor().min(of_memory.floor()).min(32.0).min((64.0 / warps).floor());
    groups * warps
}
