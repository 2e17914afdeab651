#!/usr/bin/env python3
"""Networks as PyTorch's exporters write them, in onnxruntime and in `alexnet run`.

    pip install torch torchvision onnx onnxscript onnxruntime
    cargo build --release
    python3 tests/onnx_exporters.py [--devices cpu 0] [--nets lenet ...] [--files FOLDER]

Every network is exported by the exporter of TorchScript and by that of torch.export (dynamo, its weights in a file beside
the graph), for each of the opsets, for a fixed and for any number of images. What an exporter itself refuses is listed and
not counted. With --files the exported files are kept there and used again. Classifiers are narrow: the graph stays the same.
"""

import argparse
import pathlib
import sys
import tempfile

import numpy
import onnx
import onnxruntime
import torch
import torchvision
from torch import nn

import onnx_common

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-5
OPSETS = [11, 13, 17, 20, None]
EXPORTED, FURTHER = 2, 3
LOGITS = 10


def narrow(inputs, width=64):
    """The classifier of AlexNet and VGG with fewer neurons."""
    first, second = nn.Linear(inputs, width), nn.Linear(width, width)
    return nn.Sequential(nn.Dropout(), first, nn.ReLU(True), nn.Dropout(), second, nn.ReLU(True), nn.Linear(width, LOGITS))


class TwoGroups(nn.Module):
    """The network of 2012: convolutions in two groups, normalisation across maps."""

    def __init__(self):
        super().__init__()
        lrn, pool = lambda: nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2), lambda: nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), lrn(), pool(),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), lrn(), pool(),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), pool(),
        )  # fmt: skip
        self.classifier = narrow(256 * 6 * 6)

    def forward(self, x):
        x = self.features(x)
        return self.classifier(x.view(x.size(0), -1))


class LeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, LOGITS)

    def forward(self, x):
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.relu(self.fc1(torch.flatten(x, 1)))
        return nn.functional.log_softmax(self.fc3(torch.sigmoid(self.fc2(x))), dim=1)


def torchvisions(name, inputs):
    """One of torchvision's networks with a narrow classifier."""
    net = getattr(torchvision.models, name)(num_classes=LOGITS) if inputs is None else getattr(torchvision.models, name)()
    if inputs is not None:
        net.classifier = narrow(inputs)
    return net


NETS = {
    "alexnet": (lambda: torchvisions("alexnet", 256 * 6 * 6), (3, 224, 224)),
    "alexnet-2-groups": (TwoGroups, (3, 227, 227)),
    "vgg11": (lambda: torchvisions("vgg11", 512 * 7 * 7), (3, 224, 224)),
    "vgg11-bn": (lambda: torchvisions("vgg11_bn", 512 * 7 * 7), (3, 224, 224)),
    "lenet": (LeNet, (1, 28, 28)),
    "resnet18": (lambda: torchvisions("resnet18", None), (3, 64, 64)),
    "mobilenet-v2": (lambda: torchvision.models.mobilenet_v2(width_mult=0.25, num_classes=LOGITS), (3, 64, 64)),
    "mobilenet-v3": (lambda: torchvision.models.mobilenet_v3_small(width_mult=0.5, num_classes=LOGITS), (3, 64, 64)),
}


def prepared(name):
    """A network in evaluation, with statistics that are not those of its beginning."""
    torch.manual_seed(1)
    net = NETS[name][0]()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return net.eval()


def export(net, shape, path, dynamo, opset, dynamic):
    """Writes the file; why not, where the exporter refuses."""
    images = torch.zeros(EXPORTED, *shape)
    settings = {"input_names": ["images"], "output_names": ["scores"], "opset_version": opset}
    if dynamic and dynamo:
        settings["dynamic_shapes"] = ({0: torch.export.Dim("batch")},)
    elif dynamic:
        settings["dynamic_axes"] = {"images": {0: "batch"}, "scores": {0: "batch"}}
    return onnx_common.export(net, (images,), path, dynamo=dynamo, **settings)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target" / "release" / "alexnet")
    parser.add_argument("--devices", nargs="+", default=["cpu"])
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=NETS)
    parser.add_argument("--files", type=pathlib.Path, help="folder to keep exported files in")
    parser.add_argument("--export-only", action="store_true", help="export, and run nothing")
    given = parser.parse_args()
    onnx_common.be_quiet()
    failed, count, worst, refused = 0, 0, dict.fromkeys(given.devices, 0.0), []
    with tempfile.TemporaryDirectory() as folder:
        for name in given.nets:
            net, shape = prepared(name), NETS[name][1]
            for dynamo, opset, dynamic in [(d, o, a) for d in (False, True) for o in OPSETS for a in (False, True)]:
                made = f"{name}-{'dynamo' if dynamo else 'script'}-{opset or 'newest'}-{'any' if dynamic else 'fixed'}"
                path = (given.files or pathlib.Path(folder)) / made / "net.onnx"
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    newest = onnx.defs.onnx_opset_version() if dynamo else 20
                    reason = export(net, shape, path, dynamo, opset or newest, dynamic)
                    if reason:
                        refused.append(f"{made}: {reason}")
                        continue
                if given.export_only:
                    continue
                images = numpy.random.default_rng(2).normal(size=(FURTHER if dynamic else EXPORTED, *shape)).astype(numpy.float32)
                inputs = {"images": images}
                wanted = {"scores": onnxruntime.InferenceSession(path).run(["scores"], inputs)[0]}
                for device in given.devices:
                    found, count = onnx_common.outcome(given.program, device, path, inputs, wanted), count + 1
                    if isinstance(found, float):
                        worst[device] = max(worst[device], found)
                    if not isinstance(found, float) or not found <= TOLERANCE:
                        failed += 1
                        print(f"{made} on {device}: {found}", flush=True)
                if not given.files:
                    [file.unlink() for file in path.parent.iterdir()]
            print(f"{name}: so far {count - failed} of {count}", flush=True)
    print(f"torch {torch.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}")
    print("\n".join(f"not exported: {line}" for line in refused))
    largest = ", ".join(f"{error:.1e} on {device}" for device, error in worst.items())
    print(f"{count - failed} of {count} agree within {TOLERANCE:g} of the largest number; the largest difference is {largest}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
