#!/usr/bin/env python3
"""Runs the operator tests that come with the PyPI package onnx through `alexnet run`.

    pip install onnx==1.16.2 numpy
    python3 tests/onnx_operators.py [--alexnet target/release/alexnet] [--devices 0] [--data FOLDER]

Takes every test of node, pytorch-operator and pytorch-converted that is floats (and sizes) in at most two dimensions of
maps, says how many pass, counts those of operators that are not supported, and lists the others with what was said.
"""

import argparse
import collections
import pathlib
import re
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

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
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path(onnx.__file__).parent / "backend/test/data")
    arguments = parser.parse_args()
    found, other = [], collections.Counter()
    for test in sorted(test for kind in KINDS for test in (arguments.data / kind).iterdir()):
        model = onnx.load(test / "model.onnx")
        reason = outside(model)
        if reason:
            other[reason] += 1
        else:
            found.append((test, model))
    refused, unknown, wrong = [], collections.Counter(), []
    for test, model in found:
        outcomes = (run(arguments.alexnet, arguments.devices, test, model, data) for data in test.glob("test_data_set_*"))
        what, why = next(filter(None, outcomes), (None, None))
        name = what == "refused" and re.search(r"\((\w+)\): this operator is not supported", why)
        if name:
            unknown[name[1]] += 1
        elif what:
            (refused if what == "refused" else wrong).append(f"{test.name}: {why}")
    known = len(found) - unknown.total()
    passed = known - len(refused) - len(wrong)
    print(f"onnx {onnx.__version__}, --devices {arguments.devices}: of {len(found)} tests of floats in two dimensions")
    print(f"{passed} pass, {len(wrong)} are wrong, {len(refused)} of supported operators are refused, {unknown.total()} of others")
    for kind, lines in ("wrong", wrong), ("refused", refused):
        print("\n".join(f"  {kind}: {line}" for line in lines))
    print("operators that are not supported:", ", ".join(f"{name} ({count})" for name, count in sorted(unknown.items())))
    print("not tried:", ", ".join(f"{reason} ({count})" for reason, count in sorted(other.items())))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
