// Has Dawn's Tint, the WGSL compiler of Chrome, compile every variant of every kernel, and compares what comes out with
// the f64 twins. By hand, beside the test suite; it wants a Vulkan driver of the standing of Mesa 25.
//
//     npm install webgpu
//     alexnet kernels --wgsl shaders-out
//     node tests/tint.mjs shaders-out [PART/PARTS]
//
// A part of a few runs beside the others: `1/2` and `2/2` are all. Progress goes to stderr.
//
// What WGSL does not have is refused and counted: 64-bit integers (variants of the kind `wide`) and cooperative
// matrices. Variants for subgroups of a size that the adapter does not have are compiled, not run. Ends with 1 where
// anything else is refused or differs.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createRequire } from 'node:module';
import { pathToFileURL } from 'node:url';

const [folder, share = '1/1'] = process.argv.slice(2);
const [part, parts] = share.split('/').map(Number);
if (!folder || !(part >= 1 && part <= parts)) {
    console.error('usage: node tests/tint.mjs DIR [PART/PARTS], a folder written by `alexnet kernels --wgsl DIR`');
    process.exit(2);
}
// The package is looked for from where the script is started, since the repository has no node_modules.
const { create, globals } = await import(pathToFileURL(createRequire(join(process.cwd(), 'x.js')).resolve('webgpu')));
Object.assign(globalThis, globals);

// Kept: Dawn goes down with what made it. Without checks of indices, as the program runs them.
globalThis.gpu = create(['backend=vulkan', 'enable-dawn-features=disable_robustness']);
const adapter = await gpu.requestAdapter();
if (!adapter) {
    console.error('no adapter that Dawn takes; Mesa 25 has one: point VK_DRIVER_FILES at its ICD file');
    process.exit(1);
}
const wanted = ['shader-f16', 'subgroups'].filter((feature) => adapter.features.has(feature));
const limits = {};
for (const name of ['maxComputeWorkgroupStorageSize', 'maxStorageBufferBindingSize', 'maxBufferSize',
    'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX']) {
    limits[name] = adapter.limits[name];
}
const device = await adapter.requestDevice({ requiredFeatures: wanted, requiredLimits: limits });
const lanes = [adapter.info.subgroupMinSize, adapter.info.subgroupMaxSize];

const SIZES = { f32: 4, f16: 2, u32: 4 };
const padded = (bytes) => Math.ceil(bytes / 4) * 4;

function half(bits) {
    const [sign, exponent, fraction] = [bits >> 15, (bits >> 10) & 31, bits & 1023];
    const value = exponent === 31 ? (fraction ? NaN : Infinity)
        : exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
    return sign ? -value : value;
}

const halves = (bytes) => Array.from(new Uint16Array(bytes), half);

// The largest error of what a device gives, relative to the value plus the root mean square of what the twin gives.
function worst(got, want) {
    const finite = want.filter(Number.isFinite);
    const rms = Math.sqrt(finite.reduce((sum, value) => sum + value * value, 0) / Math.max(want.length, 1));
    let most = 0;
    for (let i = 0; i < want.length; i++) {
        const same = got[i] === want[i] || (Number.isNaN(got[i]) && Number.isNaN(want[i]));
        const error = same ? 0 : Math.abs(got[i] - want[i]) / (Math.abs(want[i]) + rms);
        if (Number.isNaN(error)) return NaN;
        most = Math.max(most, error);
    }
    return most;
}

async function run(shader, module) {
    const data = readFileSync(join(folder, shader.data));
    const file = data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength);
    const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST | GPUBufferUsage.COPY_SRC;
    const buffers = shader.bindings.map(({ element, count, given }) => {
        const bytes = count * SIZES[element];
        const buffer = device.createBuffer({ size: padded(bytes), usage });
        const contents = new Uint8Array(padded(bytes));
        contents.set(new Uint8Array(file, given, bytes));
        device.queue.writeBuffer(buffer, 0, contents);
        return buffer;
    });
    const entries = shader.bindings.map(({ binding }, i) => ({ binding, resource: { buffer: buffers[i] } }));
    if (shader.scratch) {
        const buffer = device.createBuffer({ size: shader.scratch.bytes, usage });
        buffers.push(buffer);
        entries.push({ binding: shader.scratch.binding, resource: { buffer } });
    }
    const encoder = device.createCommandEncoder();
    const pass = encoder.beginComputePass();
    for (const stage of shader.stages) {
        const pipeline = await device.createComputePipelineAsync({
            layout: 'auto', compute: { module, entryPoint: stage.entry },
        });
        const own = entries.filter(({ binding }) => stage.bindings.includes(binding));
        pass.setPipeline(pipeline);
        pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries: own }));
        pass.dispatchWorkgroups(...stage.workgroups);
    }
    pass.end();
    const read = [];
    shader.bindings.forEach((binding, i) => {
        if (binding.expected === undefined) return;
        const size = padded(binding.count * SIZES[binding.element]);
        const copy = device.createBuffer({ size, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
        encoder.copyBufferToBuffer(buffers[i], 0, copy, 0, size);
        read.push([binding, copy]);
    });
    device.queue.submit([encoder.finish()]);
    let most = 0;
    for (const [binding, copy] of read) {
        await copy.mapAsync(GPUMapMode.READ);
        const bytes = copy.getMappedRange().slice(0, binding.count * SIZES[binding.element]);
        copy.destroy();
        let got, want;
        if (binding.element === 'u32') {
            got = halves(bytes);
            want = halves(file.slice(binding.expected, binding.expected + binding.count * 4));
        } else {
            got = binding.element === 'f16' ? halves(bytes) : Array.from(new Float32Array(bytes));
            want = Array.from(new Float64Array(file, binding.expected, binding.count));
        }
        const error = worst(got, want);
        most = Number.isNaN(error) ? NaN : Math.max(most, error);
    }
    buffers.forEach((buffer) => buffer.destroy());
    return most;
}

const index = JSON.parse(readFileSync(join(folder, 'index.json'), 'utf8'));
const counts = { agree: 0, 'not run (subgroup size)': 0, 'refused: 64-bit integers': 0, 'refused: cooperative matrices': 0 };
const shaders = index.shaders.filter((_, i) => i % parts === part - 1);
let failed = 0;

function fail(shader, what) {
    failed++;
    console.log(`${shader.file} (${shader.case}): ${what}`);
}

async function compile(shader) {
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code: readFileSync(join(folder, shader.file), 'utf8') });
    const { messages } = await module.getCompilationInfo();
    await device.popErrorScope();
    return [module, messages.find((message) => message.type === 'error')];
}

// Tint takes a minute for all of them; the driver's compiler, which comes with the run, an hour.
const compiled = [];
for (const shader of shaders) {
    const [module, error] = await compile(shader);
    const size = shader.subgroup_size;
    if (shader.words || shader.matrix) {
        const extension = shader.words ? 'refused: 64-bit integers' : 'refused: cooperative matrices';
        if (error) counts[extension]++;
        else fail(shader, 'compiles, although it is listed with what WGSL does not have');
    } else if (error) {
        fail(shader, `line ${error.lineNum}: ${error.message.split('\n')[0]}`);
    } else if (size && (lanes[0] !== size || lanes[1] !== size)) {
        counts['not run (subgroup size)']++;
    } else {
        compiled.push([shader, module]);
    }
}
console.error(`${shaders.length} compiled, ${failed} failed`);
for (const [done, [shader, module]] of compiled.entries()) {
    if (done % 20 === 0) console.error(`${done} of ${compiled.length} run`);
    device.pushErrorScope('validation');
    let largest;
    try {
        largest = await run(shader, module);
    } catch (problem) {
        fail(shader, problem.message);
    }
    const invalid = await device.popErrorScope();
    if (invalid) fail(shader, invalid.message.split('\n')[0]);
    else if (largest !== undefined && !(largest <= shader.tolerance)) fail(shader, `error ${largest.toExponential(1)} of at most ${shader.tolerance}`);
    else if (largest !== undefined) counts.agree++;
}
console.log(`${adapter.info.description}: ${shaders.length} shaders`);
for (const [what, count] of Object.entries(counts)) console.log(`  ${what}: ${count}`);
console.log(`  failed: ${failed}`);
process.exit(failed ? 1 : 0);
