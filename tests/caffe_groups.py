#!/usr/bin/env python3
"""Compares training of networks whose convolutions have groups with PyTorch in float64, where they have `groups=` as well.

bvlc_alexnet goes the way of a user: a drawn .caffemodel is imported, steps are taken, and what is exported is what was
drawn. Needs numpy, safetensors and torch, and the built program; not part of `cargo test`:

    cargo build --release
    python3 tests/caffe_groups.py --devices cpu

`--write` writes what PyTorch makes of the small network of tests/fixtures/groups, with which `cargo test` compares.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import numpy
import torch
from safetensors.numpy import load_file, save_file
from torch.nn import functional

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from caffe_import import CONVOLUTIONS, FULL, NETWORKS, ROOT, caffemodel, drawn, stages  # noqa: E402

FIXTURE = ROOT / "tests" / "fixtures" / "groups"
# The loss of each step as a share of it, gradients of the first in the norm of each.
LOSS, GRADIENT = 1e-5, 1e-4
RATE, MOMENTUM, STEPS = 0.05, 0.9, 3
# Of the small network: filters, maps of one filter, window, stride, padding, groups.
SMALL = [(16, 3, 5, 2, 0, 1), (128, 8, 3, 1, 1, 2), (12, 32, 3, 1, 1, 4)]
IMAGES = 8


def mixed(tensor, count):
    """Numbers of -0.5 to 0.5 with 24 bits that stand for nothing, the same in tests/cli/groups.rs."""
    h = (numpy.arange(1, count + 1, dtype=numpy.uint64) + tensor * 1_000_003) * 0x9E3779B9 % 2**32
    for factor, shift in ((0x85EBCA6B, 16), (0xC2B2AE35, 13)):
        h = (h ^ h >> shift) * factor % 2**32
    return (((h ^ h >> 16) >> 8) / 2**24 - 0.5).astype(numpy.float32)


def small():
    """Weights of the small network under our names, images and labels."""
    shapes = [(f"conv{number}", (k, c, r, r)) for number, (k, c, r, *_) in enumerate(SMALL, 1)] + [("fc4", (10, 108))]
    weights = {}
    for number, (name, shape) in enumerate(shapes):
        # A power of two near the root of 24 over what one output reads leaves every number exact.
        scale = numpy.float32(2.0 ** numpy.floor(numpy.log2((24 / numpy.prod(shape[1:])) ** 0.5)))
        weights[name] = [scale * mixed(2 * number, numpy.prod(shape)).reshape(shape), mixed(2 * number + 1, shape[0])]
    images = 4 * mixed(100, IMAGES * 3 * 15 * 15).reshape(IMAGES, 3, 15, 15)
    return weights, images, numpy.arange(IMAGES) * 7 % 10


def small_scores(tensors, x):
    for number, (*_, stride, pad, groups) in enumerate(SMALL, 1):
        x = functional.conv2d(x, *tensors[f"conv{number}"], stride=stride, padding=pad, groups=groups).relu()
        # PyTorch divides alpha by the size.
        x = functional.local_response_norm(x, 5, 0.1, 0.75, 1) if number < 3 else x
        x = functional.max_pool2d(x, 3, 2, ceil_mode=True) if number == 2 else x
    return functional.linear(x.flatten(1), *tensors["fc4"])


def bvlc_scores(tensors, x):
    order = NETWORKS["bvlc_alexnet"][1]
    for number, (*_, stride, pad, groups) in enumerate(CONVOLUTIONS, 1):
        x = functional.conv2d(x, *tensors[f"conv{number}"], stride=stride, padding=pad, groups=groups).relu()
        for stage in stages(number, order):
            lrn = stage == "LRN"
            x = functional.local_response_norm(x, 5, 1e-4, 0.75, 1) if lrn else functional.max_pool2d(x, 3, 2, ceil_mode=True)
    x = x.flatten(1)
    for number in range(6, 6 + len(FULL)):
        x = functional.linear(x, *tensors[f"fc{number}"])
        x = x.relu() if number < 8 else x
    return x


def peer(scores, weights, images, labels, rate):
    """Losses of some steps, logits and gradients of the first, as PyTorch computes them in float64."""
    tensors = {name: [torch.from_numpy(values).double().requires_grad_() for values in pair] for name, pair in weights.items()}
    sgd = torch.optim.SGD([value for pair in tensors.values() for value in pair], lr=rate, momentum=MOMENTUM)
    out = {"loss": []}
    for step in range(STEPS):
        sgd.zero_grad()
        logits = scores(tensors, torch.from_numpy(images).double())
        loss = functional.cross_entropy(logits, torch.from_numpy(labels))
        loss.backward()
        out["loss"].append(loss.item())
        if step == 0:
            out["logits"] = logits.detach().numpy()
            for name, pair in tensors.items():
                out |= {f"grad.{name}.{end}": value.grad.numpy().copy() for end, value in zip(("weight", "bias"), pair)}
        sgd.step()
    return out


def named(weights):
    return {f"{name}.{end}": value for name, pair in weights.items() for end, value in zip(("weight", "bias"), pair)}


def compare(title, ours, theirs):
    """Prints how far tensors of a step are from PyTorch's; gives the names of those too far."""
    failed = []
    for name, want in theirs.items():
        got, want = ours[name].astype(numpy.float64), numpy.array(want)
        error = numpy.abs(got / want - 1).max() if name == "loss" else numpy.linalg.norm(got - want) / numpy.linalg.norm(want)
        values = f" {want.tolist()}" if name == "loss" else ""
        print(f"{title} {name:20} {error:.1e}{values}")
        if not error < (LOSS if name == "loss" else GRADIENT):
            failed.append(f"{title} {name}")
    return failed


def steps(run, path, model, weights, images, labels, rate, options):
    save_file({"images": images, "labels": labels.astype(numpy.int64)}, path["batch"])
    files = ["--weights", weights, "--batch", path["batch"], "--out", path["out"]]
    rates = ["--lr", str(rate), "--momentum", str(MOMENTUM), "--decay", "0", "--steps", str(STEPS), "--no-dropout"]
    run("step", "--model", model, *files, *rates, *options)
    return load_file(path["out"])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default=ROOT / "target" / "release" / "alexnet")
    arguments.add_argument("--devices", default="cpu")
    arguments.add_argument("--batch", type=int, default=4)
    arguments.add_argument("--seed", type=int, default=4)
    arguments.add_argument("--write", action="store_true")
    given = arguments.parse_args()
    theirs = peer(small_scores, *small(), RATE)
    if given.write:
        # Of each gradient its norm, and its product with numbers that stand for nothing.
        probe = lambda value: [numpy.linalg.norm(value), float(value.ravel() @ mixed(7, value.size).astype(numpy.float64))]
        gradients = {name: probe(value) for name, value in theirs.items() if name.startswith("grad.")}
        (FIXTURE / "groups.json").write_text(json.dumps({"loss": theirs["loss"], "gradients": gradients}, indent=1) + "\n")
        return
    with tempfile.TemporaryDirectory() as folder:
        names = ("it.caffemodel", "mean.npy", "made", "again", "weights", "batch", "out")
        path = {part: str(pathlib.Path(folder) / part) for part in names}
        run = lambda *parts: subprocess.run([str(given.program), *parts], check=True, stdout=subprocess.DEVNULL)
        options = ["--devices", given.devices]
        weights, images, labels = small()
        save_file(named(weights), path["weights"])
        ours = steps(run, path, str(FIXTURE / "groups.toml"), path["weights"], images, labels, RATE, options)
        failed = compare("small", ours, theirs)

        rng = numpy.random.default_rng(4)
        model, order = NETWORKS["bvlc_alexnet"]
        weights = drawn(rng)
        # Scores near 0, so that the loss of every image has a gradient.
        weights["fc8"][0] *= numpy.float32(0.01)
        pathlib.Path(path["it.caffemodel"]).write_bytes(caffemodel(weights, order))
        numpy.save(path["mean.npy"], rng.uniform(90, 130, (3, 256, 256)))
        run("import", path["it.caffemodel"], "--model", model, "--mean-file", path["mean.npy"], "--out", path["made"])
        trained = sum(value.size for name, value in load_file(path["made"]).items() if name.endswith((".weights", ".bias")))
        print(f"bvlc_alexnet has {trained:,} trained parameters")
        if trained != 60_965_224:
            failed.append("the number of parameters")
        # Colours of a .caffemodel are blue, green, red.
        weights["conv1"][0] = weights["conv1"][0][:, ::-1].copy()
        run("export", path["made"], "--names", "caffe", "--out", path["weights"])
        exported = load_file(path["weights"])
        if not all((exported[name] == value).all() for name, value in named(weights).items()):
            failed.append("what is exported")
        run("import", path["weights"], "--model", model, "--out", path["again"])
        if not all((value == load_file(path["again"])[name]).all() for name, value in load_file(path["made"]).items()):
            failed.append("what is imported again")
        rng = numpy.random.default_rng(given.seed)
        images = rng.normal(0, 60, (given.batch, 3, 227, 227)).astype(numpy.float32)
        labels = rng.integers(1000, size=given.batch)
        rate = 1e-5
        ours = steps(run, path, model, path["weights"], images, labels, rate, options)
        failed += compare("bvlc_alexnet", ours, peer(bvlc_scores, weights, images, labels, rate))
    if failed:
        sys.exit(f"PyTorch disagrees on {', '.join(failed)}")
    print(f"agrees with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
