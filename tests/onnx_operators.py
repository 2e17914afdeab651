"""Runs the operator tests that come with the PyPI package onnx through `alexnet run`.

    pip install onnx==1.16.2 numpy
    python tests/onnx_operators.py [--alexnet target/release/alexnet] [--devices 0]

Takes every test of node, pytorch-operator and pytorch-converted whose operators are all among those that are supported,
says which of them are floats in two dimensions, how many of these pass, and lists the others with what was said.
"""

import argparse
import collections
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

OPERATORS = set(
    "Conv Relu Tanh LRN MaxPool AveragePool GlobalAveragePool Gemm MatMul Flatten Reshape Dropout Softmax LogSoftmax "
    "Concat Split Add Sub Mul Div Pow Identity Constant".split()
)
KINDS = ["node", "pytorch-operator", "pytorch-converted"]
# Those of onnx.backend.test.runner.
RTOL, ATOL = 1e-3, 1e-7


def outside(model):
    """Why a test is not one of floats in two dimensions."""
    for info in [*model.graph.input, *model.graph.output]:
        if not info.type.HasField("tensor_type"):
            return "not a tensor"
        elem = info.type.tensor_type.elem_type
        if elem not in (TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL):
            return f"of {TensorProto.DataType.Name(elem).lower()}"
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "kernel_shape" and len(attribute.ints) != 2:
                return f"windows in {len(attribute.ints)} dimensions"
    return None


def values(folder, kind, infos):
    """The inputs or outputs of a data set, by name."""
    loaded = {}
    for index, info in enumerate(infos):
        tensor = onnx.TensorProto()
        tensor.ParseFromString((folder / f"{kind}_{index}.pb").read_bytes())
        loaded[info.name] = numpy_helper.to_array(tensor)
    return loaded


def run(program, devices, test, model, data):
    """What is wrong with the outputs for one data set; None if nothing."""
    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = values(data, "input", [info for info in model.graph.input if info.name not in initial])
    wanted = values(data, "output", model.graph.output)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        command = [program, "run", test / "model.onnx", "--output-dir", folder / "out", "--devices", devices]
        for index, (name, array) in enumerate(inputs.items()):
            np.save(folder / f"{index}.npy", array)
            command += ["--input", f"{name}={folder / f'{index}.npy'}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            return "refused", done.stderr.strip().splitlines()[-1]
        for name, array in wanted.items():
            got = np.load(folder / "out" / f"{name.replace('/', '_')}.npy")
            if got.shape != array.shape:
                return "wrong", f"{name} has shape {got.shape} instead of {array.shape}"
            if not np.allclose(got, array, rtol=RTOL, atol=ATOL, equal_nan=True):
                return "wrong", f"{name} is {np.abs(got - array).max():.1e} off"
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alexnet", default="target/release/alexnet", help="the program")
    parser.add_argument("--devices", default="cpu", help="where it runs")
    arguments = parser.parse_args()
    root = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
    found, other = [], collections.defaultdict(list)
    for test in sorted(test for kind in KINDS for test in (root / kind).iterdir()):
        model = onnx.load(test / "model.onnx")
        if {node.op_type for node in model.graph.node} <= OPERATORS:
            reason = outside(model)
            (other[reason] if reason else found).append((test, model))
    failed, wrong = [], 0
    for test, model in found:
        outcomes = (run(arguments.alexnet, arguments.devices, test, model, data) for data in test.glob("test_data_set_*"))
        trouble = next(filter(None, outcomes), None)
        if trouble:
            failed.append((test.name, *trouble))
            wrong += trouble[0] == "wrong"
    print(f"onnx {onnx.__version__}, --devices {arguments.devices}")
    print(f"{len(found) - len(failed)} of {len(found)} pass in float and two dimensions; {wrong} are wrong")
    for name, what, why in failed:
        print(f"  {what}: {name}: {why}")
    for reason, tests in sorted(other.items()):
        print(f"not tried, {reason}: {len(tests)}")
        for test, _ in tests:
            print(f"  {test.name}")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
