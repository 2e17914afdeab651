#!/usr/bin/env python3
"""Times AlexNet in PyTorch: a forward pass and a training step, one line of JSON each. See README.md."""

import argparse
import json
import statistics
import time

import torch
from torch import nn
from torch.nn import functional

WARM_UP = 3


class Normalise(nn.Module):
    """Response normalisation across the maps of one tower; PyTorch divides alpha by the size, the paper does not."""

    def forward(self, x):
        n, c, h, w = x.shape
        towers = x.reshape(2 * n, c // 2, h, w)
        return functional.local_response_norm(towers, size=5, alpha=5 * 1e-4, beta=0.75, k=2.0).reshape(n, c, h, w)


def alexnet():
    """The paper's network: towers are groups of a convolution, which meet in conv3 and the full layers."""
    return nn.Sequential(
        nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(inplace=True), Normalise(), nn.MaxPool2d(3, 2),
        nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(inplace=True), Normalise(), nn.MaxPool2d(3, 2),
        nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(inplace=True),
        nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2),
        nn.Flatten(),
        nn.Linear(9216, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, 4096), nn.ReLU(inplace=True), nn.Dropout(0.5),
        nn.Linear(4096, 1000),
    )  # fmt: skip


def forward(model, images, _labels):
    model.eval()

    @torch.inference_mode()
    def run():
        functional.softmax(model(images), dim=1)

    return run


def train(model, images, labels):
    model.train()
    sgd = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=0.0005)

    def run():
        sgd.zero_grad(set_to_none=True)
        functional.cross_entropy(model(images), labels).backward()
        sgd.step()

    return run


def median_seconds(run, device, repeats):
    """Time of a run, waited for, after some that do not count."""

    def timed():
        begin = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - begin

    for _ in range(WARM_UP):
        timed()
    return statistics.median(timed() for _ in range(repeats))


def set_precision(mode):
    """`default` leaves what PyTorch comes with, which is TF32 in convolutions alone."""
    if mode in ("f32", "tf32"):
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = mode == "tf32"


def measure(device, mode, batch, repeats, layout):
    set_precision(mode)
    torch.manual_seed(1)
    model = alexnet().to(device, memory_format=layout)
    images = torch.randn(batch, 3, 227, 227, device=device).to(memory_format=layout)
    labels = torch.randint(1000, (batch,), device=device)
    name = torch.cuda.get_device_name() if device == "cuda" else f"cpu, {torch.get_num_threads()} threads"
    for make in (forward, train):
        run = make(model, images, labels)

        def cast():
            with torch.autocast(device, dtype=torch.bfloat16, enabled=mode == "bf16"):
                run()

        seconds = median_seconds(cast, device, repeats)
        row = {"engine": "PyTorch", "version": torch.__version__, "device": name, "mode": mode, "batch": batch}
        row |= {"layout": str(layout).removeprefix("torch.")}
        print(json.dumps(row | {"pass": make.__name__, "images_per_second": batch / seconds}), flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments.add_argument("--mode", choices=["default", "f32", "tf32", "bf16"], default="default")
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--channels-last", action="store_true")
    given = arguments.parse_args()
    layout = torch.channels_last if given.channels_last else torch.contiguous_format
    # Our tiles are tuned when a network is set up; so may theirs be.
    torch.backends.cudnn.benchmark = True
    measure(given.device, given.mode, given.batch, given.repeats, layout)


if __name__ == "__main__":
    main()
