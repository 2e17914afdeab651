#!/usr/bin/env python3
"""Kinds of PyTorch checkpoints, written byte for byte as torch.save writes them, and what `alexnet import` makes of them.

Needs nothing but Python, not even PyTorch; the tests read the files in tests/fixtures/weights/kinds:

    cargo build --release
    python3 tests/pth_kinds.py [--program target/release/alexnet] [--write FOLDER]

Every kind holds the same weights. Each must import to the very bytes of the plain one, or be refused with the given words.
"""

import argparse
import collections
import io
import pathlib
import pickle
import random
import struct
import subprocess
import sys
import tempfile
import types
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODEL = ROOT / "tests" / "fixtures" / "weights" / "tiny.toml"
SHAPES = {"features.0.weight": (4, 3, 3, 3), "features.0.bias": (4,), "classifier.0.weight": (10, 64), "classifier.0.bias": (10,)}


def module(name):
    """A module of that name, so that pickles refer to it."""
    sys.modules[name] = made = types.ModuleType(name)
    return made


def member(owner, name, value):
    value.__module__, value.__qualname__, value.__name__ = owner.__name__, name, name
    setattr(owner, name, value)
    return value


torch, utils, tensor_module = module("torch"), module("torch._utils"), module("torch._tensor")
numpy, multiarray, network = module("numpy"), module("numpy.core.multiarray"), module("mynet")
module("numpy.core")
STORAGES = {name: member(torch, name + "Storage", type(name, (), {})) for name in ["Float", "Double", "Half", "BFloat16", "Long"]}
rebuild = {name: member(utils, name, lambda *_: None) for name in ["_rebuild_tensor_v2", "_rebuild_parameter"]}
sparse = member(utils, "_rebuild_sparse_tensor", lambda *_: None)
from_type = member(tensor_module, "_rebuild_from_type_v2", lambda *_: None)
float32 = member(torch, "float32", lambda: None)
numpy_dtype, numpy_scalar = member(numpy, "dtype", lambda *_: None), member(multiarray, "scalar", lambda *_: None)


class Made:
    """An object that is pickled as the call that makes it."""

    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce_ex__(self, _):
        return self.call, self.arguments


class Storage:
    def __init__(self, kind, data, count):
        self.kind, self.data, self.count = kind, data, count


def contiguous(shape):
    strides, step = [], 1
    for extent in reversed(shape):
        strides.insert(0, step)
        step *= extent
    return tuple(strides)


def view(storage, offset, shape, strides=None, bits=None):
    more = (bits,) if bits else ()
    strides = contiguous(shape) if strides is None else strides
    return Made(rebuild["_rebuild_tensor_v2"], storage, offset, shape, strides, False, collections.OrderedDict(), *more)


def packed(kind, values):
    """Numbers in the bytes of a storage, as 32-bit floats without their low bits have them."""
    if kind == "BFloat16":
        return b"".join(struct.pack("<f", value)[2:] for value in values)
    return struct.pack(f"<{len(values)}{ {'Float': 'f', 'Double': 'd', 'Half': 'e', 'Long': 'q'}[kind] }", *values)


def tensor(values, shape, kind="Float"):
    return view(Storage(kind, packed(kind, values), len(values)), 0, shape)


class Pickler(pickle.Pickler):
    """Gives storages keys, as torch.save does."""

    def __init__(self, file, protocol, old):
        super().__init__(file, protocol)
        self.old, self.keys, self.storages = old, {}, []

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        if id(value) not in self.keys:
            self.keys[id(value)] = str(94_000 + len(self.keys)) if self.old else str(len(self.keys))
            self.storages.append(value)
        facts = ("storage", STORAGES[value.kind], self.keys[id(value)], "cpu", value.count)
        return facts + (None,) if self.old else facts


def saved(value, protocol=2):
    """As torch.save writes it since PyTorch 1.6."""
    body, out = io.BytesIO(), io.BytesIO()
    pickler = Pickler(body, protocol, False)
    pickler.dump(value)
    with zipfile.ZipFile(out, "w") as archive:
        entry = lambda name, data: archive.writestr(zipfile.ZipInfo(f"archive/{name}"), data)
        entry("data.pkl", body.getvalue())
        entry("byteorder", b"little")
        for number, storage in enumerate(pickler.storages):
            entry(f"data/{number}", storage.data)
        entry("version", b"3\n")
    return out.getvalue()


def saved_before(value):
    """As torch.save wrote it before, and writes with _use_new_zipfile_serialization=False."""
    out = io.BytesIO()
    facts = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    for part in (0x1950A86A20F9469CFC6C, 1001, facts):
        pickle.dump(part, out, protocol=2)
    pickler = Pickler(out, 2, True)
    pickler.dump(value)
    pickle.dump(sorted(pickler.keys.values()), out, protocol=2)
    for storage in sorted(pickler.storages, key=lambda storage: pickler.keys[id(storage)]):
        out.write(struct.pack("<q", storage.count) + storage.data)
    return out.getvalue()


def draw():
    rng = random.Random(7)
    # Numbers that even the shortest format holds exactly.
    numbers = lambda shape: [rng.randrange(-128, 128) / 64 for _ in range(contiguous((*shape, 1))[0] * shape[0])]
    return {name: numbers(shape) for name, shape in SHAPES.items()}


def state(weights, rename=lambda name: name, kind="Float"):
    return collections.OrderedDict((rename(name), tensor(values, SHAPES[name], kind)) for name, values in weights.items())


def optimizer(weights):
    moments = {number: {"momentum_buffer": tensor([1.0] * len(values), SHAPES[name])} for number, (name, values) in enumerate(weights.items())}
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": list(range(len(weights)))}]}


def prefixed(prefix):
    return lambda name: prefix + name


def kinds(weights):
    """File names, contents, and the words of those that are refused."""
    plain = state(weights)
    arguments = argparse.Namespace(arch="alexnet", lr=0.1)
    scalar = Made(numpy_scalar, Made(numpy_dtype, "f8", False, True), b"\0" * 8)
    counters = collections.OrderedDict(plain)
    counters["features.1.num_batches_tracked"] = tensor([3], (), "Long")
    counters["features.1.running_mean"] = tensor([0.5] * 4, (4,))
    flat = [value for values in weights.values() for value in values]
    one, shared, offset = Storage("Float", packed("Float", flat), len(flat)), collections.OrderedDict(), 0
    for name, values in weights.items():
        shared[name] = view(one, offset, SHAPES[name])
        offset += len(values)
    turned = collections.OrderedDict(plain)
    matrix = weights["classifier.0.weight"]
    columns = [matrix[row * 64 + column] for column in range(64) for row in range(10)]
    turned["classifier.0.weight"] = view(Storage("Float", packed("Float", columns), 640), 0, (10, 64), (1, 10))
    negative = collections.OrderedDict(plain)
    for name, bits in (("features.0.bias", {"neg": True}), ("classifier.0.bias", {"conj": True, "neg": True})):
        values = [-value for value in weights[name]]
        negative[name] = view(Storage("Float", packed("Float", values), len(values)), 0, SHAPES[name], bits=bits)
    instead = lambda others: {**{name: value for name, value in plain.items() if name != "features.0.weight"}, **{f"features.0.{name}": value for name, value in others.items()}}
    averaged = {name: tensor([9.0] * len(values), SHAPES[name]) for name, values in weights.items()}
    parameter = lambda value: Made(rebuild["_rebuild_parameter"], value, True, collections.OrderedDict())
    subclass = lambda value: Made(from_type, rebuild["_rebuild_parameter"], torch.FloatStorage, (value, True, collections.OrderedDict()), {})
    others = {"features.0": "stem.conv", "classifier.0": "head"}
    foreign = lambda name: others[name.rpartition(".")[0]] + "." + name.rpartition(".")[2]
    net = member(network, "Net", type("Net", (), {}))()
    net.__dict__["_parameters"] = plain
    python2 = Made(collections.OrderedDict, [[name, value] for name, value in plain.items()])
    return [
        ("plain.pth", saved(plain), None),
        ("before-1.6.pth", saved_before(plain), None),
        ("python2.pth", saved_before({"state_dict": python2, "epoch": 90}), None),
        ("protocol-5.pth", saved(plain, 5), None),
        ("data-parallel.pth", saved(state(weights, prefixed("module."))), None),
        ("compiled.pth", saved(state(weights, prefixed("_orig_mod."))), None),
        ("features-parallel.pth", saved({"epoch": 3, "arch": "alexnet", "state_dict": state(weights, lambda name: name.replace("features.", "features.module.")), "best_acc1": tensor([56.5], ()), "optimizer": optimizer(weights)}), None),
        ("model-state-dict.pth", saved({"model_state_dict": plain, "optimizer_state_dict": optimizer(weights), "loss": scalar}), None),
        ("lightning.pth", saved({"state_dict": state(weights, prefixed("model.")), "hyper_parameters": arguments, "callbacks": collections.defaultdict(list, a=[1]), "dtype": float32}), None),
        ("ema.pth", saved({"ema": averaged, "model": plain, "args": arguments}), None),
        ("state-dict-ema.pth", saved({"state_dict": plain, "state_dict_ema": averaged}), None),
        ("backbone.pth", saved({"net": state(weights, prefixed("backbone.")), "rng": 2**127}), None),
        ("counters.pth", saved(counters), None),
        ("halves.pth", saved(state(weights, kind="Half")), None),
        ("bfloat16.pth", saved(state(weights, kind="BFloat16")), None),
        ("doubles.pth", saved(state(weights, kind="Double")), None),
        ("one-storage.pth", saved(shared), None),
        ("transposed.pth", saved(turned), None),
        ("negative.pth", saved(negative), None),
        ("parameters.pth", saved(collections.OrderedDict((name, (subclass if "bias" in name else parameter)(value)) for name, value in plain.items())), None),
        ("other-names.pth", saved({"params": state(weights, foreign), "step": scalar}), None),
        ("tuple.pth", saved((plain, {"epoch": 1})), None),
        ("list.pth", saved(list(plain.values())), None),
        ("fully-sharded.pth", saved({"model": state(weights, lambda name: name.replace(".0.", "._fsdp_wrapped_module.0."))}), None),
        # Of two sets of weights without usual names, that which comes first.
        ("encoders.pth", saved({"state_dict": {**state(weights, prefixed("module.encoder_q.")), **{f"module.encoder_k.{name}": value for name, value in averaged.items()}}}), None),
        ("refused-weight-norm.pth", saved(instead({"weight_g": tensor([1.0] * 4, (4, 1, 1, 1)), "weight_v": plain["features.0.weight"]})), "features.0.weight_g"),
        ("refused-pruned.pth", saved(instead({"weight_orig": plain["features.0.weight"], "weight_mask": plain["features.0.weight"]})), "prune.remove"),
        ("refused-sparse.pth", saved({**plain, "classifier.0.weight": Made(sparse, 0, ())}), "_rebuild_sparse_tensor"),
        ("refused-whole.pth", saved(net), "weights_only=False).state_dict()"),
        ("refused-whole-in-dict.pth", saved({"model": net, "epoch": 3}), '["model"].state_dict()'),
        ("refused-whole-beside-optimizer.pth", saved({"ema": None, "model": net, "optimizer": optimizer(weights)}), '["model"].state_dict()'),
    ]


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--program", default=ROOT / "target" / "release" / "alexnet")
    arguments.add_argument("--write", metavar="FOLDER", help="only write the files")
    given = arguments.parse_args()
    files = kinds(draw())
    if given.write:
        for name, content, _ in files:
            (pathlib.Path(given.write) / name).write_bytes(content)
        return
    failed = []
    with tempfile.TemporaryDirectory() as folder:
        made, plain = pathlib.Path(folder) / "made", None
        for name, content, refusal in files:
            path = pathlib.Path(folder) / name
            path.write_bytes(content)
            made.unlink(missing_ok=True)
            ran = subprocess.run([str(given.program), "import", path, "--model", MODEL, "--out", made], capture_output=True, text=True)
            found = made.read_bytes() if made.exists() else None
            plain = plain or found
            right = found is None and refusal in ran.stderr if refusal else found is not None and found == plain
            print(f"{name:24} {'refused' if refusal else 'imported'}{'' if right else ': NO, ' + ran.stderr.strip()}")
            failed += [] if right else [name]
    print(f"{len(files) - len(failed)} of {len(files)} kinds")
    sys.exit(f"wrong: {', '.join(failed)}" if failed else 0)


if __name__ == "__main__":
    main()
