#!/usr/bin/env python3
"""Networks of the light/ folder of the PyPI package onnx, with drawn weights, in onnxruntime and in `alexnet run`.

    pip install onnx==1.16.2 onnxruntime numpy
    cargo build --release
    python3 tests/onnx_light.py [--devices cpu 0] [--folder FOLDER]

These are AlexNet, DenseNet-121, Inception v1 and v2, ResNet-50, ShuffleNet, SqueezeNet, VGG-19 and ZFNet-512 of ONNX's model
zoo, a constant in place of every tensor of weights. That is replaced by an initializer, drawn so that no layer's maps vanish.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy
import onnx
import onnxruntime
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-4


def place(graph, name):
    """The node that reads a value, and as which input; past changes of shape."""
    for node in graph.node:
        if name in node.input:
            passes = node.op_type in ("Unsqueeze", "Reshape")
            return place(graph, node.output[0]) if passes else (node.op_type, list(node.input).index(name))
    return "nothing", 0


def drawn(graph, name, shape, rng):
    """Weights, factors near 1, or offsets near 0."""
    reader, index = place(graph, name)
    if reader == "Mul" or reader == "BatchNormalization" and index in (1, 4):
        return rng.uniform(0.5, 1.5, shape)
    if reader in ("Conv", "Gemm") and index == 1:
        return rng.normal(size=shape) * (2 / numpy.prod(shape[1:])) ** 0.5
    return rng.normal(size=shape) * 0.1


def with_weights(path):
    """The network with drawn weights."""
    model, rng = onnx.load(path), numpy.random.default_rng(3)
    graph = model.graph
    shapes = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in [node for node in graph.node if node.op_type == "ConstantOfShape"]:
        shape = [int(extent) for extent in shapes[node.input[0]]]
        values = drawn(graph, node.output[0], shape, rng).astype(numpy.float32)
        graph.initializer.append(numpy_helper.from_array(values, node.output[0]))
        graph.node.remove(node)
    if graph.node[-1].op_type == "Softmax":
        # Probabilities alone would agree where one class has them all.
        graph.output.append(onnx.helper.make_empty_tensor_value_info(graph.node[-1].input[0]))
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", default=ROOT / "target" / "release" / "alexnet")
    parser.add_argument("--devices", nargs="+", default=["cpu"])
    parser.add_argument("--folder", type=pathlib.Path, default=pathlib.Path(onnx.__file__).parent / "backend/test/data/light")
    given = parser.parse_args()
    onnxruntime.set_default_logger_severity(3)
    paths, failed = sorted(given.folder.glob("light_*.onnx")), 0
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            model = with_weights(path)
            onnx.save(model, folder / "net.onnx")
            initial = {tensor.name for tensor in model.graph.initializer}
            name = next(info.name for info in model.graph.input if info.name not in initial)
            images = numpy.random.default_rng(2).normal(size=(1, 3, 224, 224)).astype(numpy.float32)
            numpy.save(folder / "images.npy", images)
            wanted = onnxruntime.InferenceSession(folder / "net.onnx").run(None, {name: images})
            for device in given.devices:
                command = [given.program, "run", folder / "net.onnx", "--input", f"{name}={folder / 'images.npy'}"]
                command += ["--output-dir", folder / "out", "--devices", device]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode != 0:
                    failed += 1
                    print(f"{path.stem} on {device}: {(done.stderr.strip() or 'no message').splitlines()[-1]}", flush=True)
                    continue
                off = []
                for output, want in zip(model.graph.output, wanted):
                    got = numpy.load(folder / "out" / f"{output.name.replace('/', '_')}.npy")
                    off.append(numpy.abs(got - want).max() / numpy.abs(want).max() if got.shape == want.shape else numpy.inf)
                agrees = max(off) <= TOLERANCE
                failed += not agrees
                note = "" if agrees else ", which is wrong"
                print(f"{path.stem} on {device}: {', '.join(f'{error:.1e}' for error in off)} off{note}", flush=True)
    count = len(paths) * len(given.devices)
    print(f"onnxruntime {onnxruntime.__version__}: {count - failed} of {count} agree within {TOLERANCE:g} of the largest number")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
