"""What the scripts beside it share that hold exports of PyTorch against onnxruntime."""

import contextlib
import io
import logging
import pathlib
import subprocess
import tempfile
import warnings

import numpy
import onnxruntime
import torch


def be_quiet():
    """Has neither exporters nor onnxruntime warn."""
    onnxruntime.set_default_logger_severity(4)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def export(module, tensors, path, **settings):
    """Writes the file; why not, where the exporter refuses."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            torch.onnx.export(module, tensors, path, **settings)
    except Exception as error:  # Of whatever kind an exporter raises.
        return str(error).strip().splitlines()[0]
    return None


def outcome(program, device, path, inputs, wanted):
    """The largest difference of `alexnet run` from the outputs wanted as a part of the largest number; or what it said."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        command = [program, "run", path, "--output-dir", folder, "--devices", device]
        for name, array in inputs.items():
            numpy.save(folder / f"{name}.npy", array)
            command += ["--input", f"{name}={folder / f'{name}.npy'}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            return (done.stderr.strip() or "no message").splitlines()[-1].replace(f"{path}: ", "")
        worst = 0.0
        for name, want in wanted.items():
            got = numpy.load(folder / f"{name.replace('/', '_')}.npy")
            if got.shape != want.shape:
                return f"shape {got.shape} instead of {want.shape}, which is wrong"
            off = float(numpy.abs(got - want.astype(numpy.float64)).max() / max(numpy.abs(want).max(), 1e-30))
            worst = max(worst, off)
    return worst
