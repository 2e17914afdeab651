#!/usr/bin/env python3
"""Times AlexNet here and in its peers, one process after the other, and prints one table. See README.md."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import time
from dataclasses import dataclass

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass
class Run:
    """A row of the table, given as ENGINE[:DEVICE[/MODE]]@BATCH."""

    engine: str
    device: str
    mode: str
    batch: int

    @classmethod
    def parse(cls, text):
        place, _, batch = text.rpartition("@")
        engine, _, where = place.partition(":")
        device, _, mode = where.partition("/")
        if engine not in COMMANDS or not batch.isdecimal():
            known = ", ".join(COMMANDS)
            raise argparse.ArgumentTypeError(f"{text!r} is not ENGINE[:DEVICE[/MODE]]@BATCH with an engine of {known}")
        return cls(engine, device, mode, int(batch))

    def __str__(self):
        where = ":" * bool(self.device or self.mode) + self.device + "/" * bool(self.mode) + self.mode
        return f"{self.engine}{where}@{self.batch}"


def alexnet_commands(run, given):
    command = [given.alexnet, "bench", "step", "--json", "--batch", run.batch, "--repeats", given.repeats]
    return [command + option("--devices", run.device) + option("--precision", run.mode)]


def pytorch_commands(run, given):
    command = [given.python, HERE / "pytorch.py", "--batch", run.batch, "--repeats", given.repeats]
    return [command + option("--device", run.device) + option("--mode", run.mode)]


def burn_commands(run, given):
    """A process for each pass: one that hangs leaves the other's time."""
    return [[given.burn, run.device or "flex", name, run.batch, given.repeats] for name in ("forward", "train")]


COMMANDS = {"alexnet": alexnet_commands, "pytorch": pytorch_commands, "burn": burn_commands}


def option(name, value):
    return [name, value] if value else []


def execute(command, limit):
    """What a process printed, and what went wrong or an empty text."""
    try:
        done = subprocess.run([str(word) for word in command], capture_output=True, timeout=limit)
    except OSError as error:
        return "", f"{command[0]}: {error.strerror}"
    except subprocess.TimeoutExpired as late:
        return decoded(late.stdout), f"stopped after {limit} s, last said: {gist(late.stderr)}"
    return decoded(done.stdout), gist(done.stderr) if done.returncode else ""


def decoded(output):
    return (output or b"").decode(errors="replace")


def gist(output):
    """The last line of an error output that speaks of an error, or else the last."""
    lines = [line.strip() for line in decoded(output).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()]
    return (errors or lines or ["nothing"])[-1][:160]


def measurements(run, printed):
    """Objects with `engine`, `version`, `device`, `mode`, `pass` and `images_per_second`, which peers print by line."""
    if run.engine != "alexnet":
        return [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    if not printed:
        return []
    step = json.loads(printed)
    devices = ", ".join(dict.fromkeys(device["device"] for device in step["devices"]))
    own = {"engine": "alexnet", "version": commit(), "device": devices, "mode": run.mode}
    passes = {"train": step, "forward": step.get("forward") or {}}
    rates = {name: it["images_per_second"] for name, it in passes.items() if "images_per_second" in it}
    return [own | {"pass": name, "images_per_second": rate} for name, rate in rates.items()]


def measure(run, given):
    """A row of the table, with everything that it came from."""
    row = {"engine": run.engine, "device": run.device, "batch": run.batch, "train": None, "forward": None}
    remarks, processes, begin, load = [], [], time.time(), os.getloadavg()[0]
    for command in COMMANDS[run.engine](run, given):
        printed, wrong = execute(command, given.limit)
        processes.append({"command": [str(word) for word in command], "printed": printed, "wrong": wrong})
        for it in measurements(run, printed):
            row["engine"], row["device"] = f"{it['engine']} {it['version']}", it["device"]
            row[it["pass"]] = it["images_per_second"]
            remarks.append(it["mode"])
        remarks.append(wrong)
    row["remark"] = "; ".join(filter(None, dict.fromkeys(remarks)))
    return {"run": str(run), "row": row, "load": load, "seconds": time.time() - begin, "processes": processes}


def table(rows):
    """In Markdown."""

    def rate(value):
        return "—" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.1f}"

    lines = [
        ["engine", "device", "batch", "train, img/s", "forward, img/s", "remark"],
        ["---", "---", "---:", "---:", "---:", "---"],
    ]
    for row in rows:
        rates = [rate(row["train"]), rate(row["forward"])]
        lines.append([row["engine"], row["device"], str(row["batch"]), *rates, row["remark"].replace("|", "/")])
    return "".join("| " + " | ".join(cells) + " |\n" for cells in lines)


def commit():
    """Of this repository, with a mark where files differ from it."""
    described = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return described.stdout.strip() or "of no commit"


def processor():
    """As Linux names it."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def default_runs(given):
    """Everything at one batch; PyTorch on CUDA too where it finds a device."""
    runs = ["alexnet", "pytorch:cpu", "burn:flex", "burn:wgpu"]
    found, _ = execute([given.python, "-c", "import torch; print(torch.cuda.is_available())"], given.limit)
    if found.strip() == "True":
        runs += [f"pytorch:cuda/{mode}" for mode in ("default", "f32", "tf32", "bf16")]
    return [Run.parse(f"{run}@{given.batch}") for run in runs]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="*", type=Run.parse, metavar="ENGINE[:DEVICE[/MODE]]@BATCH")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for peers.md and peers.json")
    parser.add_argument("--batch", type=int, default=32, help="where no runs are given")
    parser.add_argument("--repeats", type=int, default=5, help="times to measure, of which the median counts")
    parser.add_argument("--limit", type=int, default=600, help="seconds that a process may take")
    parser.add_argument("--alexnet", default=ROOT / "target/release/alexnet", help="our binary")
    parser.add_argument("--python", default=sys.executable, help="a Python that has PyTorch")
    parser.add_argument("--burn", default=HERE / "burn/target/release/peer-burn", help="burn's binary")
    return parser.parse_args()


def main():
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    results = []
    for run in given.runs or default_runs(given):
        print(f"{run} ...", file=sys.stderr, flush=True)
        results.append(measure(run, given))
        drivers = {name: os.environ[name] for name in ("VK_DRIVER_FILES", "VK_ICD_FILENAMES") if name in os.environ}
        about = {
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "commit": commit(),
            "command": sys.argv,
            "processor": processor(),
            "cores": os.cpu_count(),
            "environment": drivers,
            "results": results,
        }
        # After every run: the next may be the last.
        (given.out / "peers.json").write_text(json.dumps(about, indent=1) + "\n")
        (given.out / "peers.md").write_text(table(result["row"] for result in results))
    print((given.out / "peers.md").read_text(), end="")


if __name__ == "__main__":
    main()
