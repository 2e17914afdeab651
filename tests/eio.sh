#!/usr/bin/env bash
# Fails one call of the operating system at a time, every one in turn that a command makes on its own files: opening,
# reading, writing, syncing, renaming, linking, listing, asking for a file's state, with EIO or ENOSPC. A command may go on
# and give what it gives otherwise, or end with exit code 1 and a message that names the file or its folder; what was
# saved before stays whole, and the same command without the failure gives the same bytes. File systems without locks are
# tried as well. Takes a while; not part of the suite.
#
#   tests/eio.sh [EVERY]             1 by default: every call; 10: every tenth
#
# ALEXNET names the program (target/release/alexnet). Needs strace and python3.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export ALEXNET=${ALEXNET:-$root/target/release/alexnet} ROOT=$root
[ -x "$ALEXNET" ] || { echo "eio: no program at $ALEXNET; build it (cargo build --release) or set ALEXNET" >&2; exit 2; }
command -v strace > /dev/null || { echo "eio: strace is not installed" >&2; exit 2; }
exec python3 - "$@" <<'PYTHON'
import collections, json, os, re, shutil, struct, subprocess, sys, tempfile, zlib

PROGRAM, ROOT = os.path.abspath(os.environ["ALEXNET"]), os.environ["ROOT"]
EVERY = int(sys.argv[1]) if len(sys.argv) > 1 else 1
PLACE = os.path.realpath(tempfile.mkdtemp(prefix="alexnet-eio-"))
os.chdir(PLACE)
CALLS = ("openat read pread64 write pwrite64 fsync fdatasync rename renameat renameat2 link linkat unlink unlinkat statx "
         "newfstatat fstat ftruncate getdents64 mkdir copy_file_range sendfile").split()
# What a disk that is full says of them; of the others a broken one says EIO.
FULL = {"write", "pwrite64", "link", "linkat", "mkdir", "copy_file_range"}
COUNTS, FAULTS = collections.Counter(), []


def write_png(path, seed):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = b"".join(b"\0" + bytes((seed * 37 + x * 5 + y * 11) % 256 for x in range(36)) for y in range(12))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    header = struct.pack(">IIBBBBB", 12, 12, 8, 2, 0, 0, 0)
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def program(arguments, trace=(), seconds=600):
    """Exit code, standard output and error of a command."""
    front = ["strace", "-f", "--seccomp-bpf", "-y", "-qq", "-o", "trace", "-e", "trace=" + ",".join(CALLS + ["flock"]), *trace] if trace != () else []
    environment = {**os.environ, "XDG_CACHE_HOME": os.path.join(PLACE, "cache"), "RAYON_NUM_THREADS": "1"}
    try:
        done = subprocess.run([*front, PROGRAM, *arguments], capture_output=True, text=True, timeout=seconds, env=environment)
    except subprocess.TimeoutExpired:
        return 124, "", "no end"
    return done.returncode, done.stdout, done.stderr


def own_calls():
    """Calls of the traced command on files below the place: their names and numbers, each among those of its thread."""
    numbers, found = collections.Counter(), []
    for line in open("trace", errors="replace"):
        match = re.match(r"(\d+) +(\w+)\(", line)
        if match:
            thread, name = match.groups()
            numbers[thread, name] += 1
            if PLACE in line and "ENOENT" not in line:
                found.append((name, numbers[thread, name]))
    return sorted(set(found))


def injected():
    """Names of the files and folders of which a call failed."""
    names = set()
    for line in open("trace", errors="replace"):
        if "(INJECTED)" in line:
            for path in re.findall(r'[<"](/?[^<>"]+)[>"]', line):
                names.add(path if path.startswith("/") else os.path.join(PLACE, path))
    return names


def named(path, said):
    """Whether a message names a file, the one that it becomes, or its folder."""
    whole = re.sub(r"\.?\w{6}\.partial$", "", path)
    return any(os.path.basename(part) in said for part in (whole, os.path.dirname(whole)) if len(part) > len(PLACE))


def bytes_of(path):
    if os.path.isdir(path):
        return {name: bytes_of(os.path.join(path, name)) for name in sorted(os.listdir(path))}
    return open(path, "rb").read() if os.path.exists(path) else None


def run_result(run):
    """What a run came to, without times and speeds."""
    rows = []
    for line in open(f"{run}/metrics.jsonl"):
        line = json.loads(line)
        if line["kind"] in ("step", "validation"):
            rows.append([line[key] for key in ("kind", "step", "epoch", "loss", "top1_error")])
    # Of those kept by their steps one may lack, that whose naming failed; the last checkpoint has it.
    names = [name for name in sorted(os.listdir(run)) if name.endswith((".safetensors", ".partial")) and not name.startswith("step-")]
    return rows, {name: bytes_of(f"{run}/{name}") for name in names}


def fault(line):
    FAULTS.append(line)
    print(f"  {line}", flush=True)


def every_call(what, prepare, command, result):
    """Fails each call of `command` in turn. `prepare` sets its files up, `result` gives what it made."""
    prepare()
    code, out, error = program(command(), trace=("-e", "signal=none"))
    if code != 0:
        raise SystemExit(f"eio: {what} fails by itself: {error}")
    calls, want = own_calls()[::EVERY], result(out)
    for name, number in calls:
        for errno in ["EIO"] + ["ENOSPC"] * (name in FULL):
            prepare()
            label = f"{what}: {errno} of {name} number {number}"
            code, out, error = program(command(), trace=("-e", f"inject={name}:error={errno}:when={number}"))
            failed, COUNTS[f"{what}, exit code {code}"] = injected(), COUNTS[f"{what}, exit code {code}"] + 1
            if code == 127:
                continue  # the program was not even loaded
            if code not in (0, 1) or "panicked" in error:
                fault(f"{label}: exit code {code}: {error[-300:]}")
            # Of several threads each meets its own failure; where one is that of saying it, the message is cut.
            elif code == 1 and not any(named(path, error) or "pipe:" in path for path in failed):
                fault(f"{label}: names none of {sorted(failed)}: {error[-300:]}")
            if code != 0:
                again, out, error = program(command())
                if again != 0:
                    fault(f"{label}: cannot be gone on with: {error[-300:]}")
                    continue
            if result(out) != want:
                fault(f"{label}: exit code {code}, and other results than without it: {error[-300:]}")
            elif error and code == 0:
                COUNTS[f"{what}, said and gone on"] += 1
    print(f"{what}: {len(calls)} calls, {len(FAULTS)} faults so far", flush=True)


def remove(*paths):
    for path in paths:
        shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.path.exists(path) and os.remove(path)


for number in range(8):
    for split in ("train", "val"):
        write_png(f"images/{split}/class{number % 2}/{number}.png", number + 9 * (split == "val"))
shutil.copy(os.path.join(ROOT, "tests/common/tiny.toml"), "tiny.toml")
train = ["train", "--model", "tiny.toml", "--devices", "cpu", "--data", "images", "--batch", "4", "--seed", "1", "--save-every", "1",
         "--keep", "2", "--epochs", "2"]


def train_or_resume():
    return [*train, "--out", "run"] if not os.path.exists("run/config.toml") else ["train", "--resume", "run", "--epochs", "2"]


def half_a_run():
    remove("run")
    shutil.copytree("half", "run")


every_call("train", lambda: remove("run", "cache"), train_or_resume, lambda out: run_result("run"))
program([*train[:-1], "1", "--out", "half"])
every_call("resume", half_a_run, train_or_resume, lambda out: run_result("run"))
every_call("prepare", lambda: remove("shards"), lambda: ["prepare", "images", "--size", "8", "--shard-images", "3", "--out", "shards"],
           lambda out: bytes_of("shards"))
every_call("train on shards", lambda: remove("run", "cache"),
           lambda: [word if word != "images" else "shards" for word in train_or_resume()], lambda out: run_result("run"))
every_call("eval", lambda: remove("p.csv"), lambda: ["eval", "half", "--devices", "cpu", "--predictions", "p.csv"],
           lambda out: (out, bytes_of("p.csv")))
for form in ("onnx", "safetensors"):
    every_call(f"export {form}", lambda: remove(f"w.{form}"), lambda: ["export", "half", "--format", form, "--out", f"w.{form}"],
               lambda out: bytes_of(f"w.{form}"))
every_call("import", lambda: remove("i.safetensors"), lambda: ["import", "w.safetensors", "--model", "tiny.toml", "--mean", "0,0,0", "--out", "i.safetensors"],
           lambda out: bytes_of("i.safetensors"))
for errno in ("ENOLCK", "EOPNOTSUPP"):
    remove("run", "cache")
    code, out, error = program([*train, "--out", "run"], trace=("-e", f"inject=flock:error={errno}"))
    if code != 0 or "no locks" not in error:
        fault(f"without locks ({errno}): exit code {code}: {error[-300:]}")
for count in sorted(COUNTS.items()):
    print("%s: %d" % count)
print(f"{sum(n for label, n in COUNTS.items() if 'exit' in label)} failed calls, {len(FAULTS)} faults")
if FAULTS:
    raise SystemExit(1)
shutil.rmtree(PLACE)
PYTHON
