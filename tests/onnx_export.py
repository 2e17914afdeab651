#!/usr/bin/env python3
"""Compares networks as ONNX files in onnxruntime with the same networks in this program.

Needs numpy, onnx, onnxruntime and safetensors (and pillow for --trunk), and the built program; not part of `cargo test`:

    cargo build --release
    python3 tests/onnx_export.py --devices cpu
    python3 tests/onnx_export.py --trunk alexnet_owt_trunk.safetensors A.JPEG B.JPEG

The first draws weights; the second takes those of the convolutions of torchvision's AlexNet and two photographs, and
compares what every layer makes of them.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from safetensors.numpy import load_file, save_file

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4
# Networks, and the shape of the first layer's filters: what the others' weights are drawn beside.
FIRST = {
    "alexnet": ("conv1.weight", (96, 3, 11, 11)),
    "alexnet-2012": ("conv1.weight", (96, 3, 11, 11)),
    "mini": ("conv1.weight", (16, 3, 5, 5)),
    "torchvision": ("features.0.weight", (64, 3, 11, 11)),
}


class Place:
    """A folder to work in, and the program."""

    def __init__(self, folder, program, devices):
        self.folder, self.program, self.devices = pathlib.Path(folder), program, devices

    def path(self, name):
        return str(self.folder / name)

    def run(self, *arguments):
        subprocess.run([str(self.program), *arguments], check=True, stdout=subprocess.DEVNULL)

    def network(self, model, tensors):
        """A checkpoint with `tensors`, the others drawn, as weights.safetensors and network.onnx."""
        save_file(tensors, self.path("first.safetensors"))
        made = self.path("made.safetensors")
        arguments = ["--mean", "120,110,100"] if model != "torchvision" else []
        self.run("import", self.path("first.safetensors"), "--model", model, "--missing", "random", *arguments, "--out", made)
        self.run("export", made, "--names", "caffe", "--out", self.path("weights.safetensors"))
        self.run("export", made, "--format", "onnx", "--out", self.path("network.onnx"))
        return onnx.load(self.path("network.onnx"))

    def step(self, model, images, *arguments):
        """What `step` writes."""
        labels = numpy.zeros(len(images), dtype=numpy.int64)
        save_file({"images": images, "labels": labels}, self.path("batch.safetensors"))
        names = [self.path(f"{name}.safetensors") for name in ("weights", "batch", "out")]
        self.run("step", "--model", model, "--weights", names[0], "--batch", names[1], "--out", names[2],
                 "--devices", self.devices, "--lr", "0", *arguments)
        return load_file(names[2])

    def read_back(self, graph, images):
        """What `run` makes of the file that was written."""
        numpy.save(self.path("images.npy"), images)
        self.run("run", self.path("network.onnx"), "--input", f"{graph.input[0].name}={self.path('images.npy')}",
                 "--output-dir", self.path("read"), "--devices", self.devices)
        return numpy.load(self.path(f"read/{graph.output[0].name}.npy"))


def outputs(model, names, images):
    """These values of the graph, all of which onnxruntime is told to give."""
    onnx.checker.check_model(model, full_check=True)
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def error(got, want):
    """The largest difference, of the largest number."""
    return float(numpy.abs(got - want).max() / numpy.abs(want).max())


def drawn(place):
    """Logits of networks with weights that are drawn; gives what disagrees."""
    rng = numpy.random.default_rng(4)
    failed = []
    for model, (name, shape) in FIRST.items():
        filters = rng.normal(size=shape).astype(numpy.float32) * (4 / numpy.prod(shape[1:])) ** 0.5
        graph = place.network(model, {name: filters})
        size = graph.graph.input[0].type.tensor_type.shape.dim[2].dim_value
        # As large as pixels less their mean, or as these are scaled.
        images = rng.normal(size=(5, 3, size, size)).astype(numpy.float32) * (1 if model in ("mini", "torchvision") else 60)
        logits, read = place.step(model, images)["logits"], place.read_back(graph.graph, images)
        last, output = graph.graph.node[-1].input[0], graph.graph.output[0].name
        theirs = outputs(graph, [last, output], images)
        found = error(logits, theirs[last]), error(read, theirs[output])
        print(f"{model:14} {len(graph.graph.node):3} nodes, logits differ by {found[0]:.1e} of the largest, "
              f"probabilities of the file as `run` reads it by {found[1]:.1e}")
        if not max(found) < TOLERANCE:
            failed.append(model)
    return failed


def photographs(paths):
    """The centres of images as torchvision sees them."""
    from PIL import Image

    def photograph(path):
        image = Image.open(path).convert("RGB")
        image = image.crop(((image.width - 224) // 2, (image.height - 224) // 2, (image.width + 224) // 2, (image.height + 224) // 2))
        pixels = numpy.asarray(image, dtype=numpy.float32) / 255
        return ((pixels - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]).transpose(2, 0, 1)

    return numpy.ascontiguousarray([photograph(path) for path in paths], dtype=numpy.float32)


def trunk(place, weights, paths):
    """What every layer makes of photographs; gives what disagrees."""
    images = photographs(paths)
    graph = place.network("torchvision", load_file(weights))
    ours = place.step("torchvision", images, "--features")
    ours = {name.removeprefix("feature."): value for name, value in ours.items() if name.startswith("feature.")}
    # Dropout does nothing there, and is a factor here. A layer is called by its row, its neuron apart in ONNX.
    known = {node.output[0] for node in graph.graph.node}
    names = {name: next(other for other in (f"{name}.relu", name) if other in known) for name in ours if "dropout" not in name}
    theirs = outputs(graph, list(names.values()), images)
    failed = []
    for name, other in names.items():
        want = theirs[other].reshape(ours[name].shape)
        found = error(ours[name], want)
        print(f"{name:12} {str(want.shape):20} differs by {found:.1e} of the largest, {numpy.abs(want).max():.4g}")
        if not found < TOLERANCE:
            failed.append(name)
    return failed


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default=ROOT / "target" / "release" / "alexnet")
    arguments.add_argument("--devices", default="cpu")
    arguments.add_argument("--trunk", nargs="+", metavar="FILE", help="weights, then images of at least 224 pixels a side")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder, given.program, given.devices)
        failed = trunk(place, given.trunk[0], given.trunk[1:]) if given.trunk else drawn(place)
    if failed:
        sys.exit(f"onnxruntime disagrees on {', '.join(failed)}")
    print(f"agrees with onnxruntime {onnxruntime.__version__}")


if __name__ == "__main__":
    main()
