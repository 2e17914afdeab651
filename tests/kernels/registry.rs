//! The rules of the house, as loops over the kernels: what a kernel must be so that everything else can be derived.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path, PathBuf};

use alexnet::backend::{compare, cpu::Cpu};
use alexnet::kernel::{Access, Binding, Case, Elem, Fill, Holds, Kernel, Variant, WORKGROUP_BYTES};
use alexnet::ops::input::{colour, view};
use alexnet::ops::optimizer::OPTIMIZERS;
use alexnet::ops::{KERNELS, health, step};
use alexnet::program::{Pass, Slot};
use alexnet::tensor::NO_LABEL;
use alexnet::wgsl::{self, Shader, constants};
use naga::back::{hlsl, msl, spv};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn stem(kernel: &Kernel) -> &'static str {
    kernel.name.split('.').next().unwrap()
}

/// Every shader file with its text.
pub(super) fn shader_files() -> Vec<(PathBuf, String)> {
    let folders = [root().join("shaders"), root().join("shaders/common")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "wgsl"));
    paths.map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect()
}

/// WGSL without its comments.
pub(super) fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

fn words_of(text: &str) -> HashSet<String> {
    code(text).split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned).collect()
}

/// A kernel's cases, and once more with maps of halves.
fn cases(kernel: &Kernel) -> Vec<Case> {
    [Elem::F32, Elem::F16].into_iter().flat_map(|maps| kernel.cases_with(maps)).collect()
}

/// Calls `check` for every variant and case; what it returns is reported together.
fn for_each_shader(check: impl Fn(&Kernel, &Variant, &Case, Shader) -> Result<(), String>) {
    let mut failures = Vec::new();
    for kernel in KERNELS {
        for variant in kernel.variants {
            for case in cases(kernel).into_iter().filter(|case| variant.needs.fit(&case.params)) {
                let shader = wgsl::shader(kernel, variant, &case.params).map_err(|e| e.to_string());
                if let Err(what) = shader.and_then(|shader| check(kernel, variant, &case, shader)) {
                    failures.push(format!("{} {} {}: {what}", kernel.name, variant.name, case.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn names_are_unique_and_lead_to_their_files() {
    let mut names = HashSet::new();
    for kernel in KERNELS {
        assert!(names.insert(kernel.name), "{} is registered twice", kernel.name);
        let parts: Vec<_> = kernel.name.split('.').collect();
        let plain = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        assert!(parts.len() == 2 && parts.iter().all(plain), "{}: a kernel is called op.direction", kernel.name);
        assert!(!kernel.doc.trim().is_empty(), "{} has no doc", kernel.name);
        let op = stem(kernel);
        // Optimisers share a shader, and each has its own part of it in its own file.
        let optimizer = OPTIMIZERS.iter().any(|optimizer| optimizer.kernel == **kernel);
        let op = if optimizer { format!("optimizer/{op}") } else { op.to_owned() };
        let rust = [format!("src/ops/{op}.rs"), format!("src/ops/{op}/mod.rs")];
        assert!(rust.iter().any(|file| root().join(file).is_file()), "{}: no {}", kernel.name, rust.join(" or "));
        let files = shader_files();
        let op = op.split('/').next().unwrap();
        let own = files.iter().filter(|(path, _)| path.file_name().unwrap().to_string_lossy().starts_with(op));
        let own: Vec<_> = own.map(|(_, text)| text.as_str()).collect();
        for variant in kernel.variants {
            let found = variant.sources.iter().any(|source| own.contains(source));
            assert!(found, "{}, {}: none of its sources is shaders/{op}*.wgsl", kernel.name, variant.name);
        }
    }
}

#[test]
fn every_kernel_runs_everywhere_and_is_tested() {
    for kernel in KERNELS {
        assert!(!(kernel.cases)().is_empty(), "{} has no case", kernel.name);
        let last = kernel.variants.last().unwrap_or_else(|| panic!("{} has no variant", kernel.name));
        let runs = |variant: &Variant, case: &Case| variant.needs.fit(&case.params);
        let common = last.needs.subgroup_size.is_none() && last.needs.workgroup_bytes == WORKGROUP_BYTES;
        let everywhere = common && (kernel.cases)().iter().all(|case| runs(last, case));
        assert!(
            last.name == "plain" && everywhere,
            "{}: the last variant is called plain and needs nothing",
            kernel.name
        );
        for variant in kernel.variants {
            let tested = cases(kernel).iter().any(|case| runs(variant, case));
            assert!(tested, "{}: no case can be computed by {}", kernel.name, variant.name);
        }
        let names: HashSet<_> = kernel.variants.iter().map(|variant| variant.name).collect();
        assert_eq!(names.len(), kernel.variants.len(), "{}: two variants of one name", kernel.name);
        assert!(kernel.tolerance >= 0.0 && kernel.tolerance < 1e-3, "{}: tolerance {}", kernel.name, kernel.tolerance);
    }
}

#[test]
fn cases_fit_their_bindings() {
    for kernel in KERNELS {
        let mut names = HashSet::new();
        for case in (kernel.cases)() {
            let place = format!("{} {}", kernel.name, case.name);
            assert!(names.insert(case.name.clone()), "{place}: two cases of one name");
            assert_eq!(case.buffers.len(), kernel.bindings.len(), "{place}: buffers");
            for (binding, (count, fill)) in kernel.bindings.iter().zip(&case.buffers) {
                let place = format!("{place}: {}", binding.name);
                assert!(*count > 0, "{place} is empty");
                match fill {
                    Fill::Output => assert_ne!(binding.access, Access::Read, "{place} is read and filled with nothing"),
                    Fill::Words(words) => assert_eq!(words.len(), *count, "{place}"),
                    Fill::Floats(floats) => assert_eq!(floats.len(), *count, "{place}"),
                    _ => {}
                }
                let of_words = matches!(fill, Fill::Words(_) | Fill::Random);
                let fits = matches!(fill, Fill::Output) || of_words == (binding.holds == Holds::Words);
                assert!(fits, "{place} holds {:?}, filled {fill:?}", binding.holds);
                assert!(binding.access != Access::Write || matches!(fill, Fill::Output), "{place}: fill it with NaN");
            }
        }
    }
}

/// The limits that every WebGPU device has.
#[test]
fn every_shader_is_valid_and_within_the_default_limits() {
    for_each_shader(|_, variant, case, shader| {
        // What needs more says so, and runs on adapters that have it.
        if shader.workgroup_bytes > variant.needs.workgroup_bytes {
            return Err(format!("{} bytes of workgroup memory", shader.workgroup_bytes));
        }
        if variant.adding.is_some() != (variant.parts_bytes(&case.params) > 0) {
            return Err("parts that are not added up".into());
        }
        for stage in &shader.stages {
            let invocations: u32 = stage.workgroup.iter().product();
            if invocations > 256 || stage.workgroup.iter().zip([256, 256, 64]).any(|(size, most)| *size > most) {
                return Err(format!("workgroup {:?}", stage.workgroup));
            }
            if stage.bindings.len() > 8 {
                return Err("more than 8 storage buffers".into());
            }
            let distinct: HashSet<u32> = stage.bindings.iter().map(|bound| bound.number).collect();
            if distinct.len() != stage.bindings.len() {
                return Err("two bindings share a number".into());
            }
            if stage.invocations.contains(&0) {
                return Err("its grid is empty".into());
            }
        }
        Ok(())
    });
}

/// A parameter that several kernels of one op share must be used by one of them; a tile constant by its own variant.
#[test]
fn every_parameter_is_used() {
    let mut used: std::collections::HashMap<&str, HashSet<String>> = std::collections::HashMap::new();
    for kernel in KERNELS {
        for source in kernel.variants.iter().flat_map(|variant| variant.sources) {
            used.entry(stem(kernel)).or_default().extend(words_of(source));
        }
    }
    let names = |declarations: String| -> Vec<String> {
        let constants = declarations.lines().filter_map(|line| line.strip_prefix("const "));
        constants.map(|line| line.split(':').next().unwrap().to_owned()).collect()
    };
    let mut stale = BTreeSet::new();
    for kernel in KERNELS {
        for case in (kernel.cases)() {
            let params = names(constants(&case.params));
            let unused = params.iter().filter(|name| !used[stem(kernel)].contains(*name));
            stale.extend(unused.map(|name| format!("{}: parameter {name}", stem(kernel))));
            for variant in kernel.variants {
                let own: HashSet<String> = variant.sources.iter().flat_map(|source| words_of(source)).collect();
                let tile = names(constants(&case.params.with(&(variant.tile)(&case.params)))).split_off(params.len());
                let unused = tile.iter().filter(|name| !own.contains(*name));
                stale.extend(unused.map(|name| format!("{} {}: tile constant {name}", kernel.name, variant.name)));
            }
        }
    }
    assert!(stale.is_empty(), "no shader reads\n{}", Vec::from_iter(stale).join("\n"));
}

#[test]
fn every_shader_file_belongs_to_a_kernel() {
    let variants = || KERNELS.iter().flat_map(|kernel| kernel.variants);
    let words = [Elem::F32, Elem::F16].map(wgsl::words);
    let sources: HashSet<&str> = variants().flat_map(|variant| variant.sources).copied().chain(words).collect();
    for (path, text) in shader_files() {
        let operands = ["row", "column"].map(|operand| format!("@operand {operand}\n{text}"));
        let used = sources.contains(text.as_str()) || operands.iter().any(|text| sources.contains(text.as_str()));
        assert!(used, "{} is used by no kernel: remove it", path.display());
    }
}

/// The first word of SPIR-V.
const MAGIC: u32 = 0x0723_0203;

/// The three languages that wgpu hands to drivers.
#[test]
fn every_shader_translates_to_every_driver_language() {
    for_each_shader(|_, variant, _, shader| {
        shader.stages.iter().try_for_each(|stage| translates(variant, &shader.module, stage.entry.to_owned()))
    });
}

fn translates(variant: &Variant, module: &wgsl::Module, entry: String) -> Result<(), String> {
    let (module, info, stage) = (&module.naga, &module.info, naga::ShaderStage::Compute);
    let options = spv::PipelineOptions { shader_stage: stage, entry_point: entry.clone() };
    // Subgroups need SPIR-V 1.3, Metal 2.1 and shader model 6.0; maps of halves 6.2.
    let target = spv::Options { lang_version: (1, 3), ..Default::default() };
    let words = spv::write_vec(module, info, &target, Some(&options)).map_err(|e| format!("SPIR-V: {e}"))?;
    if variant.needs.matrix.is_some() {
        // Matrices of halves are offered on Vulkan only.
        return if words.first() == Some(&MAGIC) { Ok(()) } else { Err("no SPIR-V".into()) };
    }
    let target = msl::Options { lang_version: (2, 4), ..Default::default() };
    let options = msl::PipelineOptions { entry_point: Some((stage, entry.clone())), ..Default::default() };
    let (metal, _) = msl::write_string(module, info, &target, &options).map_err(|e| format!("MSL: {e}"))?;
    let target = hlsl::Options { shader_model: hlsl::ShaderModel::V6_2, ..Default::default() };
    let options = hlsl::PipelineOptions { entry_point: Some((stage, entry)) };
    let mut direct = String::new();
    let mut writer = hlsl::Writer::new(&mut direct, &target, &options);
    writer.write(module, info, None).map_err(|e| format!("HLSL: {e}"))?;
    let whole = words.first() == Some(&MAGIC) && metal.contains("kernel void") && direct.contains("numthreads");
    if whole { Ok(()) } else { Err("a translation has no entry point".into()) }
}

/// Runs a kernel's case on the f64 twin in pieces of at most `limit` bytes, and gives what is written and the number of
/// pieces; `None` where it cannot be cut so far.
fn in_pieces(kernel: &'static Kernel, case: &Case, limit: u64) -> Option<(Vec<Vec<f64>>, usize)> {
    let program = compare::program(kernel, case, 0).split(limit).ok()?;
    let pieces = program.commands(Pass::Evaluate).len();
    let mut cpu = Cpu::<f64>::new(program);
    compare::compare(&mut cpu, kernel, case).unwrap();
    let written = kernel.bindings.iter().enumerate().filter(|(_, binding)| binding.access != Access::Read);
    Some((written.map(|(index, _)| cpu.read_exact(Slot(index))).collect(), pieces))
}

#[test]
fn every_kernel_that_can_be_cut_gives_the_same_in_pieces() {
    for kernel in KERNELS {
        let Some(split) = &kernel.split else { continue };
        assert_eq!(split.outermost.len(), kernel.bindings.len(), "{}", kernel.name);
        let mut most = 0;
        for case in cases(kernel) {
            let (whole, _) = in_pieces(kernel, &case, u64::MAX).unwrap();
            let bytes = |(binding, (count, _)): (&Binding, &(usize, Fill))| binding.elem(&case.params).bytes() * count;
            let largest = kernel.bindings.iter().zip(&case.buffers).map(bytes).max().unwrap() as u64;
            for (parts, pieces) in [2, 3, 4, 6].into_iter().filter_map(|by| in_pieces(kernel, &case, largest / by)) {
                let place = format!("{} {} in {pieces} pieces", kernel.name, case.name);
                assert!(pieces > 1, "{place}");
                most = most.max(pieces);
                let written = kernel.bindings.iter().zip(split.outermost).filter(|(b, _)| b.access != Access::Read);
                for ((binding, outermost), (part, whole)) in written.zip(parts.iter().zip(&whole)) {
                    let rms = (whole.iter().map(|v| v * v).sum::<f64>() / whole.len() as f64).sqrt();
                    // An output that is cut is computed as before; one that is summed, in another order, and where it
                    // is made of halves, with a rounding after each piece: of 2^-11 of the largest, some rms.
                    let rounding = if binding.elem(&case.params) == Elem::F16 { pieces as f64 / 256.0 } else { 1e-13 };
                    let tolerance = if *outermost { 0.0 } else { rounding * rms };
                    let error = part.iter().zip(whole).map(|(part, whole)| (part - whole).abs()).fold(0.0, f64::max);
                    let finite = part.iter().chain(whole).all(|v| v.is_finite());
                    assert!(finite && error <= tolerance, "{place}: {} is {error:e} off", binding.name);
                }
            }
        }
        assert!(most > 2, "{}: no case can be cut into three or more pieces, so no cut is tested", kernel.name);
    }
}

/// `const NAME = VALUEu;` in a shader.
fn constant(text: &str, name: &str) -> Option<u32> {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("const {name} = ")))?;
    let digits = line.split(';').next()?.trim_end_matches('u');
    digits.strip_prefix("0x").map_or_else(|| digits.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok())
}

/// Asserts that the constants of `shaders/common/{file}.wgsl` that begin with `prefix` are `rust`, all of them.
fn assert_layout(file: &str, prefix: &str, rust: &[(&str, usize)], count: usize) {
    let text = std::fs::read_to_string(root().join(format!("shaders/common/{file}.wgsl"))).unwrap();
    for (name, place) in rust {
        assert_eq!(constant(&text, &format!("{prefix}{name}")), Some(*place as u32), "{prefix}{name}");
        assert!(*place < count, "{prefix}{name} lies beyond the slot's {count} words");
    }
    let places: HashSet<usize> = rust.iter().map(|(_, place)| *place).collect();
    assert_eq!(places.len(), rust.len(), "two constants of {file}.wgsl share a place");
    let declared = text.matches(&format!("const {prefix}")).count();
    assert_eq!(declared, rust.len(), "a constant {prefix}… of {file}.wgsl is not in Rust");
}

#[test]
fn the_step_slot_has_one_layout() {
    let rust = [
        ("SEED_LOW", step::SEED_LOW),
        ("SEED_HIGH", step::SEED_HIGH),
        ("STEP", step::STEP),
        ("IMAGES", step::IMAGES),
        ("FIRST_IMAGE", step::FIRST_IMAGE),
    ];
    assert_layout("step", "STEP_", &rust, step::COUNT);
    assert_eq!(constant(step::LAYOUT, "NO_LABEL"), Some(NO_LABEL));
    assert_eq!(step::words(0x0123_4567_89AB_CDEF, 3, 4, 5)[..5], [0x89AB_CDEF, 0x0123_4567, 3, 4, 5]);
}

#[test]
fn the_health_slot_has_one_layout() {
    let rust = [
        ("ILL", health::ILL),
        ("STEP", health::STEP),
        ("SCALE", health::SCALE),
        ("INVERSE", health::INVERSE),
        ("GOOD", health::GOOD),
        ("SKIP", health::SKIP),
    ];
    assert_layout("health", "HEALTH_", &rust, health::COUNT);
    assert_eq!(health::COUNT, rust.len());
}

#[test]
fn the_views_and_colours_slots_have_one_layout() {
    let rust = [("ROW", view::ROW), ("COLUMN", view::COLUMN), ("MIRROR", view::MIRROR)];
    assert_layout("views", "VIEW_", &rust, view::COUNT);
    assert_eq!(view::words(5, 7, true), [5, 7, 1, 0]);
    let rust = [("RED", colour::RED), ("GREEN", colour::GREEN), ("BLUE", colour::BLUE), ("GAIN", colour::GAIN)];
    assert_layout("views", "COLOUR_", &rust, colour::COUNT);
    assert_eq!(colour::floats([1.0, 2.0, 3.0], 4.0), [1.0, 2.0, 3.0, 4.0]);
}

#[test]
fn an_optimiser_binds_its_states_and_reads_every_number_of_its_rule() {
    for optimizer in OPTIMIZERS {
        let bound: Vec<_> = optimizer.kernel.bindings.iter().map(|binding| binding.name).collect();
        assert_eq!((&bound[..4], &bound[4..]), (&["g", "rule", "health", "w"][..], optimizer.states));
        for variant in optimizer.kernel.variants {
            let case = &(optimizer.kernel.cases)()[0];
            let constants = constants(&case.params.with(&(variant.tile)(&case.params)));
            let names = ["begin", "rate", "decay"].into_iter().chain(optimizer.hyper.iter().map(|(name, _)| *name));
            for (place, name) in names.enumerate() {
                let name = name.to_uppercase();
                assert!(constants.contains(&format!("const {name}: u32 = {place}u;")), "{}: {name}", optimizer.name);
                let read = variant.sources.iter().any(|source| source.contains(&format!("rule[row + {name}]")));
                assert!(read, "{} {}: no source reads rule[row + {name}]", optimizer.name, variant.name);
            }
            let tensors = [(0, 1.0, 2.0), (64, 3.0, 4.0)];
            assert_eq!(optimizer.rule(tensors, &[].into()).len(), optimizer.rule_len(tensors.len()));
        }
    }
}
