#!/usr/bin/env python3
"""Compares networks of Caffe, whose weights are drawn, with the same layers in PyTorch after `alexnet import`.

Needs numpy, safetensors and torch, and the built program; not part of `cargo test`:

    cargo build --release
    python3 tests/caffe_import.py --devices cpu [--prototxt bvlc_alexnet=DEPLOY bvlc_reference_caffenet=DEPLOY]

Files are written as bvlc_alexnet.caffemodel (layers of 2014) and bvlc_reference_caffenet.caffemodel are.
"""

import argparse
import pathlib
import struct
import subprocess
import sys
import tempfile

import numpy
import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4
# Filters, maps of one filter, window, stride, padding, groups.
CONVOLUTIONS = [(96, 3, 11, 4, 0, 1), (256, 48, 5, 1, 2, 2), (384, 256, 3, 1, 1, 1), (384, 192, 3, 1, 1, 2), (256, 192, 3, 1, 1, 2)]
FULL = [(4096, 9216), (4096, 4096), (1000, 4096)]
NETWORKS = {"bvlc_alexnet": ("bvlc-alexnet", ["LRN", "Pooling"]), "bvlc_reference_caffenet": ("bvlc-caffenet", ["Pooling", "LRN"])}
# Numbers of the kinds of layers, and fields of their settings, in a layer of 2014.
KINDS = {"Convolution": 4, "InnerProduct": 14, "LRN": 15, "Pooling": 17, "ReLU": 18, "Softmax": 20, "Dropout": 6}
SETTINGS = {"Convolution": 10, "InnerProduct": 17, "LRN": 18, "Pooling": 19}


def varint(number):
    out = b""
    while number > 127:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def field(number, value):
    """A field of protobuf: a whole number, a float, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def blob(values):
    """Numbers with four extents, as they were written in 2014."""
    shape = (1,) * (4 - values.ndim) + values.shape
    return b"".join(field(number, extent) for number, extent in enumerate(shape, 1)) + field(5, values.astype("<f4").tobytes())


def layer(name, kind, bottom, top, settings=b"", blobs=()):
    body = field(2, bottom.encode()) + field(3, top.encode()) + field(4, name.encode()) + field(5, KINDS[kind])
    body += b"".join(field(6, blob(values)) for values in blobs)
    return field(2, body + (field(SETTINGS[kind], settings) if settings else b""))


def stages(number, order):
    """What follows a convolution."""
    return (order if number <= 2 else []) + (["Pooling"] if number == 5 else [])


def caffemodel(weights, order):
    out, last = field(1, b"drawn"), "data"
    for number, (filters, _, size, stride, pad, groups) in enumerate(CONVOLUTIONS, 1):
        settings = field(1, filters) + field(3, pad) + field(4, size) + field(5, groups) + field(6, stride)
        out += layer(f"conv{number}", "Convolution", last, f"conv{number}", settings, weights[f"conv{number}"])
        last = f"conv{number}"
        out += layer(f"relu{number}", "ReLU", last, last)
        for stage in stages(number, order):
            settings = field(1, 5) + field(2, 1e-4) + field(3, 0.75) if stage == "LRN" else field(2, 3) + field(3, 2)
            out += layer(f"{stage}{number}", stage, last, f"{stage}{number}", settings)
            last = f"{stage}{number}"
    for number, (outputs, _) in enumerate(FULL, 6):
        out += layer(f"fc{number}", "InnerProduct", last, f"fc{number}", field(1, outputs), weights[f"fc{number}"])
        last = f"fc{number}"
        if number < 8:
            out += layer(f"relu{number}", "ReLU", last, last) + layer(f"drop{number}", "Dropout", last, last)
    return out + layer("prob", "Softmax", last, "prob")


def drawn(rng):
    shapes = {f"conv{number}": (k, c, r, r) for number, (k, c, r, *_) in enumerate(CONVOLUTIONS, 1)}
    shapes |= {f"fc{number}": shape for number, shape in enumerate(FULL, 6)}

    def draw(shape):
        deviation = (2 / numpy.prod(shape[1:])) ** 0.5
        return [rng.normal(0, deviation, shape).astype(numpy.float32), rng.normal(0, 0.1, shape[0]).astype(numpy.float32)]

    return {name: draw(shape) for name, shape in shapes.items()}


def peer(weights, order, x):
    """Scores as Caffe defines them, in float64, of images in blue, green, red."""
    tensors = {name: [torch.from_numpy(values).double() for values in pair] for name, pair in weights.items()}
    for number, (*_, stride, pad, groups) in enumerate(CONVOLUTIONS, 1):
        x = functional.conv2d(x, *tensors[f"conv{number}"], stride=stride, padding=pad, groups=groups).relu()
        for stage in stages(number, order):
            x = functional.local_response_norm(x, 5, 1e-4, 0.75, 1) if stage == "LRN" else functional.max_pool2d(x, 3, 2, ceil_mode=True)
    x = x.flatten(1)
    for number in (6, 7, 8):
        x = functional.linear(x, *tensors[f"fc{number}"])
        x = x.relu() if number < 8 else x
    return x.numpy()


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default=ROOT / "target" / "release" / "alexnet")
    arguments.add_argument("--devices", default="cpu")
    arguments.add_argument("--prototxt", nargs="*", default=[], metavar="NETWORK=FILE")
    given = arguments.parse_args()
    prototxts = dict(text.split("=", 1) for text in given.prototxt)
    rng = numpy.random.default_rng(4)
    weights, images = drawn(rng), rng.normal(0, 60, (2, 3, 227, 227)).astype(numpy.float32)
    failed = []
    for name, (model, order) in NETWORKS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = {part: str(pathlib.Path(folder) / part) for part in ("it.caffemodel", "mean.npy", "made", "weights", "batch", "out")}
            pathlib.Path(path["it.caffemodel"]).write_bytes(caffemodel(weights, order))
            numpy.save(path["mean.npy"], rng.uniform(90, 130, (3, 256, 256)))
            run = lambda *arguments: subprocess.run([str(given.program), *arguments], check=True, stdout=subprocess.DEVNULL)
            checked = ["--prototxt", prototxts[name]] if name in prototxts else []
            run("import", path["it.caffemodel"], "--model", model, "--mean-file", path["mean.npy"], *checked, "--out", path["made"])
            run("export", path["made"], "--names", "caffe", "--out", path["weights"])
            save_file({"images": images, "labels": numpy.zeros(2, dtype=numpy.int64)}, path["batch"])
            files = ["--weights", path["weights"], "--batch", path["batch"], "--out", path["out"]]
            run("step", "--model", model, *files, "--lr", "0", "--devices", given.devices)
            ours = load_file(path["out"])["logits"]
        theirs = peer(weights, order, torch.from_numpy(images[:, ::-1].copy()).double())
        found = numpy.abs(ours - theirs).max() / numpy.abs(theirs).max()
        print(f"{name:24} scores differ by {found:.1e} of the largest, {numpy.abs(theirs).max():.3g}")
        if not found < TOLERANCE:
            failed.append(name)
    if failed:
        sys.exit(f"PyTorch disagrees on {', '.join(failed)}")
    print(f"agrees with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
