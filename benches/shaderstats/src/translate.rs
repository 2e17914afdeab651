//! From a file of WGSL to the languages of drivers, with the options that wgpu-hal 30 takes for shaders that are
//! trusted.

use anyhow::{Context, Result, anyhow};
use naga::back::{msl, spv};
use naga::proc::{BoundsCheckPolicies, BoundsCheckPolicy};
use naga::valid::{Capabilities, ModuleInfo, ShaderStages, SubgroupOperationSet, ValidationFlags, Validator};

use crate::step::{Shader, Step};

const UNCHECKED: BoundsCheckPolicies = BoundsCheckPolicies {
    index: BoundsCheckPolicy::Unchecked,
    buffer: BoundsCheckPolicy::Unchecked,
    image_load: BoundsCheckPolicy::Unchecked,
    binding_array: BoundsCheckPolicy::Unchecked,
};

/// A module, parsed and validated.
pub struct Module {
    pub text: String,
    naga: naga::Module,
    info: ModuleInfo,
}

impl Module {
    pub fn open(step: &Step, shader: &Shader) -> Result<Self> {
        let path = step.folder.join(&shader.file);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        // naga 30 neither needs nor takes it.
        let text = text.replace("enable subgroups;\n", "");
        let naga = naga::front::wgsl::parse_str(&text).map_err(|e| anyhow!("{}", e.emit_to_string(&text)))?;
        let capabilities = Capabilities::SUBGROUP
            | Capabilities::SHADER_INT64
            | Capabilities::SHADER_FLOAT16
            | Capabilities::SHADER_FLOAT16_IN_FLOAT32
            | Capabilities::COOPERATIVE_MATRIX;
        let mut validator = Validator::new(ValidationFlags::all(), capabilities);
        validator.subgroup_stages(ShaderStages::COMPUTE);
        validator.subgroup_operations(SubgroupOperationSet::all());
        let info = validator.validate(&naga).map_err(|e| anyhow!("{}", e.emit_to_string(&text)))?;
        Ok(Self { text, naga, info })
    }

    /// SPIR-V of one entry point.
    pub fn spirv(&self, entry: &str) -> Result<Vec<u32>> {
        let options = spv::Options {
            lang_version: (1, 6),
            flags: spv::WriterFlags::LABEL_VARYINGS | spv::WriterFlags::FORCE_POINT_SIZE,
            capabilities: None,
            bounds_check_policies: UNCHECKED,
            zero_initialize_workgroup_memory: spv::ZeroInitializeWorkgroupMemoryMode::None,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..spv::Options::default()
        };
        let entry = spv::PipelineOptions { shader_stage: naga::ShaderStage::Compute, entry_point: entry.into() };
        Ok(spv::write_vec(&self.naga, &self.info, &options, Some(&entry))?)
    }

    /// Metal's language of one entry point.
    pub fn metal(&self, entry: &str) -> Result<String> {
        let options = msl::Options {
            lang_version: (2, 4),
            bounds_check_policies: UNCHECKED,
            zero_initialize_workgroup_memory: false,
            force_loop_bounding: false,
            emit_int_div_checks: false,
            ..msl::Options::default()
        };
        let entry = msl::PipelineOptions {
            entry_point: Some((naga::ShaderStage::Compute, entry.into())),
            ..msl::PipelineOptions::default()
        };
        Ok(msl::write_string(&self.naga, &self.info, &options, &entry)?.0)
    }
}
