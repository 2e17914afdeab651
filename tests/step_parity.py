#!/usr/bin/env python3
"""Compares `alexnet step` with PyTorch: losses, logits, gradients, weights and momentum of a few steps, in float64 there.

Needs torch, numpy and safetensors, and the built program; not part of `cargo test`:

    cargo build --release
    python3 tests/step_parity.py --devices cpu

A window of a pool whose two largest values, or a neuron whose sum and zero, are the same to 32 bits sends its gradient
another way than in 64, which moves tensors by some thousandths. The images of seed 4 have none in the first step; about
half of all do. In later steps there may be some, so that the last increments are only held to a hundredth.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benches" / "peers"))
from pytorch import alexnet  # noqa: E402

RATE, MOMENTUM, DECAY = 0.001, 0.9, 0.0005
ROWS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
LOSS, GRADIENT, INCREMENT = 1e-5, 1e-4, 1e-2


def network():
    """The two-tower network without dropout, in float64, and its layers with weights by our names."""
    model = nn.Sequential(*(layer for layer in alexnet() if not isinstance(layer, nn.Dropout))).double()
    weighted = [layer for layer in model if isinstance(layer, (nn.Conv2d, nn.Linear))]
    return model, dict(zip(ROWS, weighted, strict=True))


def parameters(rows):
    return {f"{row}.{name}": value for row, layer in rows.items() for name, value in layer.named_parameters()}


def peer(model, weights, images, labels, steps):
    """What PyTorch makes of the steps, under the names of our file."""
    decayed = [value for name, value in weights.items() if name.endswith(".weight")]
    plain = [value for name, value in weights.items() if name.endswith(".bias")]
    groups = [{"params": decayed, "weight_decay": DECAY}, {"params": plain, "weight_decay": 0.0}]
    sgd = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM)
    # The last window of conv1 hangs over the edge of 224 pixels, where we have zeros.
    images = functional.pad(images.double(), (0, 3, 0, 3))
    out, losses = {}, []
    for step in range(steps):
        sgd.zero_grad()
        logits = model(images)
        loss = functional.cross_entropy(logits, labels)
        loss.backward()
        losses.append(loss.detach())
        if step == 0:
            out["logits"] = logits.detach()
            out |= {f"grad.{name}": value.grad.clone() for name, value in weights.items()}
        sgd.step()
    out["loss"] = torch.stack(losses)
    out |= {name: value.detach() for name, value in weights.items()}
    # The paper's v is the increment itself.
    out |= {f"momentum.{name}": -RATE * sgd.state[value]["momentum_buffer"] for name, value in weights.items()}
    return out


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default=ROOT / "target" / "release" / "alexnet")
    arguments.add_argument("--devices", default="cpu")
    arguments.add_argument("--batch", type=int, default=8)
    arguments.add_argument("--steps", type=int, default=3)
    arguments.add_argument("--seed", type=int, default=4)
    given = arguments.parse_args()
    torch.manual_seed(given.seed)
    model, rows = network()
    weights = parameters(rows)
    with torch.no_grad():
        # Both begin with the same 32-bit numbers.
        for value in weights.values():
            value.copy_(value.float())
    images = 50 * torch.randn(given.batch, 3, 224, 224)
    labels = torch.randint(1000, (given.batch,))
    with tempfile.TemporaryDirectory() as folder:
        files = [str(pathlib.Path(folder) / f"{name}.safetensors") for name in ("weights", "batch", "out")]
        save_file({name: value.detach().float().contiguous() for name, value in weights.items()}, files[0])
        save_file({"images": images, "labels": labels}, files[1])
        options = ["--lr", RATE, "--momentum", MOMENTUM, "--decay", DECAY, "--steps", given.steps]
        command = [given.program, "step", "--model", "alexnet", "--no-dropout", "--devices", given.devices, *options]
        command += ["--weights", files[0], "--batch", files[1], "--out", files[2]]
        subprocess.run([str(part) for part in command], check=True)
        ours = load_file(files[2])
    theirs = peer(model, weights, images, labels, given.steps)
    if ours.keys() != theirs.keys():
        sys.exit(f"other tensors: {sorted(ours.keys() ^ theirs.keys())}")
    failed = []
    for name, want in theirs.items():
        got = ours[name].double()
        error = ((got - want).norm() / want.norm()).item()
        if name == "loss":
            error = (got - want).abs().max().item()
            print(f"{name:24} {error:.1e} at most, of {want.tolist()}")
        else:
            print(f"{name:24} {error:.1e} of the norm {want.norm().item():.4g}")
        tolerance = LOSS if name == "loss" else INCREMENT if name.startswith("momentum.") else GRADIENT
        if not error < tolerance:
            failed.append(name)
    if failed:
        sys.exit(f"PyTorch disagrees on {', '.join(failed)}")
    print(f"agrees with PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
