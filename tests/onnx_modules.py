#!/usr/bin/env python3
"""Layers as people put them together in PyTorch, exported, in onnxruntime and in `alexnet run`.

    pip install torch onnx onnxscript onnxruntime
    cargo build --release
    python3 tests/onnx_modules.py [--devices cpu 0] [--modules gelu ...] [--files FOLDER]

Every module is exported by the exporter of TorchScript and by that of torch.export. What it computes must agree with
onnxruntime, or be refused in words that name the operator. What an exporter itself refuses is not counted.
"""

import argparse
import pathlib
import re
import sys
import tempfile

import numpy
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

from onnx_common import be_quiet, export, outcome

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-5
MAPS, ROWS = (2, 8, 12, 12), (3, 12)


class Of(nn.Module):
    """A function as a module, with the modules that it uses."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.modules_ = function, nn.ModuleList(modules)

    def forward(self, *inputs):
        return self.function(*inputs, *self.modules_)


class Preprocessed(nn.Module):
    """Pixels of 0 to 255 normalised inside of the network, by buffers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        return self.conv((x[:, [2, 1, 0]] / 255 - self.mean) / self.std)


def conv(inputs, outputs, window=1, **settings):
    return nn.Conv2d(inputs, outputs, window, padding=window // 2, **settings)


def fire():
    squeeze, narrow, wide = conv(8, 3), conv(3, 4), conv(3, 4, 3)
    return Of(lambda x, s, a, b: torch.cat([F.relu(part(F.relu(s(x)))) for part in (a, b)], 1), squeeze, narrow, wide)


def inception():
    parts = [conv(8, 3), nn.Sequential(conv(8, 2), nn.ReLU(), conv(2, 4, 3)), nn.Sequential(conv(8, 2), conv(2, 3, 5)), conv(8, 2)]
    return Of(lambda x, a, b, c, d: torch.cat([a(x), b(x), c(x), d(F.max_pool2d(x, 3, 1, 1))], 1), *parts)


def convnext():
    depthwise, norm, out, back = nn.Conv2d(8, 8, 7, padding=3, groups=8), nn.LayerNorm(8), nn.Linear(8, 32), nn.Linear(32, 8)
    return Of(lambda x, d, n, o, b: x + b(F.gelu(o(n(d(x).permute(0, 2, 3, 1))))).permute(0, 3, 1, 2), depthwise, norm, out, back)


def inverted():
    layers = [conv(8, 24, bias=False), nn.BatchNorm2d(24), nn.ReLU6(), nn.Conv2d(24, 24, 3, 1, 1, groups=24, bias=False)]
    body = nn.Sequential(*layers, nn.BatchNorm2d(24), nn.Hardswish(), conv(24, 8, bias=False), nn.BatchNorm2d(8))
    return Of(lambda x, body: x + body(x), body)


def dense_block():
    layers = [nn.Sequential(nn.BatchNorm2d(8 + 4 * i), nn.ReLU(), conv(8 + 4 * i, 4, 3)) for i in range(3)]

    def forward(x, *layers):
        for layer in layers:
            x = torch.cat([x, layer(x)], 1)
        return F.avg_pool2d(x, 2)

    return Of(forward, *layers)


def u_net():
    down, deep, up, out = conv(8, 12, 3), conv(12, 16, 3), nn.ConvTranspose2d(16, 12, 2, 2), conv(24, 3)

    def forward(x, down, deep, up, out):
        first = F.relu(down(x))
        return out(torch.cat([first, up(F.relu(deep(F.max_pool2d(first, 2))))], 1))

    return Of(forward, down, deep, up, out)


def squeeze_and_excite():
    return Of(lambda x, a, b: x * torch.sigmoid(b(F.relu(a(x.mean((2, 3), keepdim=True))))), conv(8, 2), conv(2, 8))


def spatial_attention():
    return Of(lambda x, c: x * c(torch.cat([x.mean(1, True), x.amax(1, True)], 1)).sigmoid(), conv(2, 1, 7))


def shuffled(x):
    return x.view(x.size(0), 2, 4, 12, 12).transpose(1, 2).reshape(x.size(0), 8, 12, 12)


def pyramid(x):
    parts = [F.interpolate(F.adaptive_avg_pool2d(x, size), (12, 12), mode="bilinear") for size in (1, 2, 3)]
    return torch.cat([x, *parts], 1)


torch.manual_seed(1)
# Modules, and shapes of their inputs where those are not maps.
MODULES = {
    "adaptive average 6": nn.AdaptiveAvgPool2d(6),
    "adaptive average 1": nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    "adaptive average 3x4": nn.AdaptiveAvgPool2d((3, 4)),
    "adaptive average uneven": nn.AdaptiveAvgPool2d((5, 7)),
    "adaptive maximum 4": nn.AdaptiveMaxPool2d(4),
    "maximum, ceil_mode": (nn.MaxPool2d(3, 2, 1, ceil_mode=True), (2, 8, 13, 12)),
    "maximum, dilated": nn.MaxPool2d(3, 1, dilation=2),
    "average, ceil_mode": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (2, 8, 12, 13)),
    "average without padding": (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (2, 8, 12, 13)),
    "average by another divisor": nn.AvgPool2d(3, 2, divisor_override=4),
    "power average": nn.LPPool2d(2, 3),
    "depthwise": nn.Conv2d(8, 8, 3, groups=8, padding=1),
    "depthwise, several": nn.Conv2d(8, 24, 3, groups=8, stride=2),
    "separable": nn.Sequential(nn.Conv2d(8, 8, 3, groups=8, bias=False), nn.ReLU(), nn.Conv2d(8, 5, 1)),
    "grouped": nn.Conv2d(8, 12, (3, 5), groups=4, padding=(2, 1), stride=(1, 3)),
    "dilated": nn.Conv2d(8, 4, 3, dilation=(2, 3), padding=(2, 3)),
    "without bias": nn.Conv2d(8, 4, 3, bias=False),
    "same": nn.Conv2d(8, 4, 4, padding="same"),
    "replicated edges": nn.Conv2d(8, 4, 3, padding=2, padding_mode="replicate"),
    "circular": nn.Conv2d(8, 4, 3, padding=1, padding_mode="circular"),
    "zero padding": nn.Sequential(nn.ZeroPad2d((1, 2, 0, 1)), nn.Conv2d(8, 4, 3, stride=2)),
    "reflection padding": nn.Sequential(nn.ReflectionPad2d((1, 2, 3, 1)), nn.Conv2d(8, 4, 3)),
    "constant padding": Of(lambda x: F.avg_pool2d(F.pad(x, (1, 1, 1, 1), value=1.5), 2)),
    "transposed": nn.ConvTranspose2d(8, 4, 2, stride=2),
    "transposed, overlapping": nn.ConvTranspose2d(8, 6, 4, 2, 1, groups=2),
    "transposed, dilated": nn.ConvTranspose2d(8, 4, 3, 3, dilation=2, output_padding=(1, 2), bias=False),
    "weight normalisation": nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 3, 3)),
    "filters as an input": (Of(lambda x, w: F.conv2d(x, w)), MAPS, (3, 8, 3, 3)),
    "nearest": Of(lambda x: F.interpolate(x, scale_factor=2)),
    "nearest to a size": nn.Upsample(size=(15, 7)),
    "bilinear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "bilinear, corners": nn.Upsample(size=(17, 20), mode="bilinear", align_corners=True),
    "bilinear, smaller": nn.Upsample(scale_factor=0.5, mode="bilinear"),
    "bicubic": nn.Upsample(scale_factor=1.5, mode="bicubic"),
    "pixel shuffle": nn.PixelShuffle(2),
    "pixel unshuffle": nn.PixelUnshuffle(3),
    "channel shuffle": Of(shuffled),
    "pooling pyramid": Of(pyramid),
    "prelu": nn.PReLU(8), "prelu, one": nn.PReLU(), "leaky": nn.LeakyReLU(0.2), "relu6": nn.ReLU6(), "elu": nn.ELU(0.7),
    "selu": nn.SELU(), "celu": nn.CELU(0.5), "gelu": nn.GELU(), "gelu, tanh": nn.GELU("tanh"), "silu": nn.SiLU(),
    "mish": nn.Mish(), "hardswish": nn.Hardswish(), "hardsigmoid": nn.Hardsigmoid(), "hardtanh": nn.Hardtanh(-0.5, 0.7),
    "softplus": nn.Softplus(), "softplus 2": nn.Softplus(2.0), "softsign": nn.Softsign(), "logsigmoid": nn.LogSigmoid(),
    "tanhshrink": nn.Tanhshrink(), "hardshrink": nn.Hardshrink(), "threshold": nn.Threshold(0.1, 0.2), "glu": nn.GLU(1),
    "rectified by where": Of(lambda x: torch.where(x > 0, x, x * 0.1)),
    "group norm": nn.GroupNorm(2, 8), "instance norm": nn.InstanceNorm2d(8, affine=True), "layer norm": nn.LayerNorm(12),
    "layer norm of maps": nn.LayerNorm((8, 12, 12)), "rms norm": nn.RMSNorm(12), "l2 norm": Of(lambda x: F.normalize(x.flatten(1))),
    "response norm 4": nn.LocalResponseNorm(4, alpha=0.3), "response norm 5": nn.LocalResponseNorm(5, alpha=1e-4, k=2),
    "batch norm alone": nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 3, 3, bias=False), nn.BatchNorm2d(3)),
    "batch norm, plain": nn.BatchNorm2d(8, affine=False),
    "batch norm of rows": (nn.Sequential(nn.Linear(12, 6), nn.BatchNorm1d(6), nn.ReLU()), ROWS),
    "fire": fire(), "inception": inception(), "inverted residual": inverted(), "dense block": dense_block(),
    "convnext": convnext(), "u-net": u_net(), "squeeze and excite": squeeze_and_excite(), "spatial attention": spatial_attention(),
    "three residuals": Of(lambda x, a, b: F.relu(x + a(x) + b(x) + x * 0.5), conv(8, 8, 3), conv(8, 8)),
    "attention": (Of(lambda x, m: m(x, x, x)[0], nn.MultiheadAttention(12, 2, batch_first=True)), (2, 5, 12)),
    "gram": Of(lambda x: (lambda f: f @ f.transpose(1, 2) / f.shape[2])(x.flatten(2))),
    "softmax of maps": nn.Softmax(1), "log softmax of maps": nn.LogSoftmax(1), "softmin": nn.Softmin(1),
    "mean": Of(lambda x: x.mean((2, 3))), "largest": Of(lambda x: x.amax((2, 3))), "smallest": Of(lambda x: x.amin((2, 3))),
    "variance": Of(lambda x: x.var((2, 3))), "norm": Of(lambda x: x.norm(dim=1)), "all": Of(lambda x: x.mean()),
    "logsumexp": Of(lambda x: torch.logsumexp(x, 1)), "product": Of(lambda x: x.prod(1)),
    "view": Of(lambda x, l: l(x.view(-1, 8 * 12 * 12)), nn.Linear(1152, 5)),
    "flatten": Of(lambda x, l: l(torch.flatten(x, 1)), nn.Linear(1152, 5)),
    "unflatten": nn.Sequential(nn.Flatten(), nn.Unflatten(1, (8, 12, 12)), nn.Conv2d(8, 3, 3)),
    "first maps": Of(lambda x, c: c(x[:, :3]), nn.Conv2d(3, 4, 3)), "crop": Of(lambda x: x[:, :, 2:-2, 1:11]),
    "every second": Of(lambda x: F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))), "flip": Of(lambda x: x.flip(3)),
    "chunks": Of(lambda x: torch.cat(x.chunk(3, 1)[::-1], 1)), "stack": Of(lambda x: torch.stack([x, x * 2], 1).sum(1)),
    "split": Of(lambda x: torch.cat([part * i for i, part in enumerate(x.split([1, 3, 4], 1), 1)], 1)),
    "tiles": Of(lambda x: x.repeat(1, 2, 1, 1)), "windows": Of(lambda x: x.view(2, 8, 3, 4, 3, 4).permute(0, 2, 4, 1, 3, 5)),
    "linear on pixels": Of(lambda x, l: l(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), nn.Linear(8, 3)),
    "linear without bias": (nn.Linear(12, 5, bias=False), ROWS), "linear on sequences": (nn.Linear(12, 5), (3, 4, 12)),
    "larger and smaller": (Of(lambda a, b: torch.maximum(a, b) - torch.minimum(a, b) / 2), MAPS, (8, 1, 1)),
    "clamp between maps": (Of(lambda a, b: a.clamp(-b.abs(), b.abs())), MAPS, MAPS),
    "two outputs": Of(lambda x, c: (c(x), x.mean((2, 3))), nn.Conv2d(8, 3, 3)),
    "preprocessing": (Preprocessed(), (2, 3, 9, 9)), "dropouts": nn.Sequential(nn.Dropout2d(), conv(8, 3), nn.AlphaDropout()),
    "powers": Of(lambda x: x**3 + 1 / (x * x + 1) + torch.rsqrt(x * x + 1) + torch.log1p(x * x)),
    "einsum": Of(lambda x: torch.einsum("nchw,cd->ndhw", x, torch.ones(8, 3))), "cumulative": Of(lambda x: x.cumsum(1)),
    "classes": Of(lambda x: x.mean((2, 3)).argmax(1)),
    "best two": Of(lambda x: x.topk(2, 1)[0]), "unfold": Of(lambda x: F.unfold(x, 3)),
    "one dimension": (nn.Conv1d(8, 4, 3), (2, 8, 12)), "three dimensions": (nn.Conv3d(2, 4, 3), (2, 2, 6, 6, 6)),
    "halves": nn.Conv2d(8, 3, 3).half(), "doubles": nn.Conv2d(8, 3, 3).double(),
    "bytes": Of(lambda x, c: c(x.float() / 255), nn.Conv2d(8, 3, 3)),
}  # fmt: skip
KINDS = {"halves": numpy.float16, "doubles": numpy.float64, "bytes": numpy.uint8}


def prepared(name):
    """A module in evaluation, with statistics that are not those of its beginning, and its inputs."""
    module, *shapes = MODULES[name] if isinstance(MODULES[name], tuple) else (MODULES[name], MAPS)
    for part in module.modules():
        if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)):
            nn.init.normal_(part.running_mean, 0, 0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
    rng, kind = numpy.random.default_rng(1), KINDS.get(name, numpy.float32)
    drawn = [rng.integers(0, 256, shape) if kind == numpy.uint8 else rng.normal(size=shape) for shape in shapes]
    return module.eval(), [array.astype(kind) for array in drawn]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target" / "release" / "alexnet")
    parser.add_argument("--devices", nargs="+", default=["cpu"])
    parser.add_argument("--modules", nargs="+", default=list(MODULES), choices=MODULES)
    parser.add_argument("--files", type=pathlib.Path, help="folder to keep exported files in")
    given = parser.parse_args()
    be_quiet()
    agree, refused, wrong, worst = 0, 0, 0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for name, dynamo in [(name, dynamo) for name in given.modules for dynamo in (False, True)]:
            module, drawn = prepared(name)
            inputs = {f"x{i}": array for i, array in enumerate(drawn)}
            made = f"{re.sub('[^a-z0-9]+', '-', name)}-{'dynamo' if dynamo else 'script'}"
            path = (given.files or pathlib.Path(folder)) / made / "net.onnx"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                tensors = tuple(torch.from_numpy(array) for array in drawn)
                opset = 20 if dynamo else 17
                reason = export(module, tensors, path, dynamo=dynamo, input_names=list(inputs), opset_version=opset)
                if reason:
                    print(f"{made}: not exported: {reason[:100]}", flush=True)
                    continue
            try:
                session = onnxruntime.InferenceSession(path)
            except onnxruntime.capi.onnxruntime_pybind11_state.NotImplemented as error:
                print(f"{made}: not run by onnxruntime: {str(error)[:100]}", flush=True)
                continue
            names = [output.name for output in session.get_outputs()]
            wanted = dict(zip(names, session.run(names, inputs)))
            for device in given.devices:
                found = outcome(given.program, device, path, inputs, wanted)
                if isinstance(found, float) and found <= TOLERANCE:
                    agree, worst = agree + 1, max(worst, found)
                    continue
                # A refusal names a node with its operator, or an input or output.
                named = isinstance(found, str) and re.search(r"node \S+ \(\w+\): |(input|output) \S+: ", found)
                refused, wrong = refused + bool(named), wrong + (not named)
                said = re.sub("known are .*: export", "export", str(found))
                print(f"{made} on {device}: {said}", flush=True)
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}: {agree} agree within {TOLERANCE:g} of the")
    print(f"largest number (the largest difference is {worst:.1e}), {refused} are refused by name, {wrong} are wrong")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
