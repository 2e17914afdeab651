#!/usr/bin/env bash
# Kills, stops and starves the program at random moments: training, validation, the measuring of the mean image, prepare and
# export, on the CPU engine and on adapter 0 where there is one. After every kill the last checkpoint must be whole; in the
# end every run must have come to the bytes of one that was left alone, with each step and validation once, in order, and
# no stray file. Takes a quarter of an hour; not part of the suite.
#
#   tests/campaign.sh [KILLS]        at least 300 by default; SEED=n repeats the moments, as far as the machine does
#
# ALEXNET names the program (target/release/alexnet); the data are made of the bundled sample. Needs python3.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
export ALEXNET=${ALEXNET:-$root/target/release/alexnet} ROOT=$root
[ -x "$ALEXNET" ] || { echo "campaign: no program at $ALEXNET; build it (cargo build --release) or set ALEXNET" >&2; exit 2; }
exec python3 - "$@" <<'PYTHON'
import json, os, random, resource, shutil, signal, struct, subprocess, sys, tempfile, time, zlib

PROGRAM, ROOT = os.path.abspath(os.environ["ALEXNET"]), os.environ["ROOT"]
KILLS = int(sys.argv[1]) if len(sys.argv) > 1 else 300
SEED = int(os.environ.get("SEED", time.time()))
random.seed(SEED)
PLACE = tempfile.mkdtemp(prefix="alexnet-campaign-")
os.chdir(PLACE)
os.environ["XDG_CACHE_HOME"] = os.path.join(PLACE, "cache")
COUNTS = dict.fromkeys(["kills", "signals", "stops", "starved", "finished"], 0)
LOST, DAMAGED = [], []

# ---- data: tiles of the bundled sample as PNG files

def read_png(path):
    """Rows of 8-bit RGB pixels."""
    data, at, packed = open(path, "rb").read(), 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[at + 8:at + 21])
            assert (depth, colour, interlaced) == (8, 2, 0), "8-bit RGB"
        if kind == b"IDAT":
            packed += data[at + 8:at + 8 + length]
        at += 12 + length
    raw, stride, rows, before = zlib.decompress(packed), 3 * width, [], bytearray(3 * width)
    for y in range(height):
        kind, row = raw[y * (stride + 1)], bytearray(raw[y * (stride + 1) + 1:(y + 1) * (stride + 1)])
        for x in range(stride):
            a, b, c = row[x - 3] if x > 2 else 0, before[x], before[x - 3] if x > 2 else 0
            if kind == 4:
                p = a + b - c
                pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
                add = a if pa <= pb and pa <= pc else b if pb <= pc else c
            else:
                add = (0, a, b, (a + b) // 2)[kind]
            row[x] = (row[x] + add) & 255
        rows.append(row)
        before = row
    return rows


def write_png(path, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", len(rows[0]) // 3, len(rows), 8, 2, 0, 0, 0)
    packed = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows), 1)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b""))


def make_images(folder, training, validation):
    """So many images of every class, of 32 x 32 pixels."""
    rows = read_png(os.path.join(ROOT, "assets/sample/val.png"))
    across = len(rows[0]) // 96
    share = across * (len(rows) // 32) // 10
    for label in range(10):
        for number in range(training + validation):
            tile = label * share + number % share
            top, left = tile // across * 32, tile % across * 96
            split = "train" if number < training else "val"
            tile = [row[left:left + 96] for row in rows[top:top + 32]]
            write_png(f"{folder}/{split}/class{label}/{number:04}.png", tile)


# ---- the program

def start(arguments, limit=None):
    def starve():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    return subprocess.Popen([PROGRAM, *arguments], stdout=subprocess.DEVNULL, stderr=open("said", "wb"),
                            preexec_fn=starve if limit else None)


def said():
    return open("said", errors="replace").read()[-500:]


def done(arguments):
    """Runs a command that nobody disturbs; how long it took."""
    begin = time.time()
    if start(arguments).wait() != 0:
        raise SystemExit(f"campaign: {' '.join(arguments)} failed: {said()}")
    return time.time() - begin


def disturb(arguments, longest, names=("KILL", "KILL", "KILL", "TERM", "INT", "STOP", "FULL")):
    """Runs a command and does something to it after a while; its exit code if it ended by itself, else None."""
    what = random.choice(names)
    limit = random.choice([2, 8, 20, 24]) << 10 if what == "FULL" else None
    child = start(arguments, limit)
    if limit:
        COUNTS["starved"] += 1
        return child.wait()
    try:
        return child.wait(random.uniform(0, longest))
    except subprocess.TimeoutExpired:
        pass
    if what == "STOP":
        child.send_signal(signal.SIGSTOP)
        time.sleep(0.02)
        child.send_signal(signal.SIGCONT)
        COUNTS["stops"] += 1
        what = "KILL"
        time.sleep(random.uniform(0, 0.05))
    child.send_signal(getattr(signal, "SIG" + what))
    # A kill is SIGKILL; Ctrl-C and SIGTERM, after which a run saves, are counted apart.
    COUNTS["kills" if what == "KILL" else "signals"] += 1
    try:
        child.wait(60)
    except subprocess.TimeoutExpired:
        child.kill()
        LOST.append(f"{what} does not end {arguments}")
    if b"panicked" in open("said", "rb").read():
        DAMAGED.append(f"a panic: {said()}")
    return None


# ---- checks

def checkpoint_state(path):
    """The state in a checkpoint whose checksums are right; None for no file."""
    if not os.path.exists(path):
        return None
    data = open(path, "rb").read()
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length])
    text = header.pop("__metadata__")["alexnet"]
    state = json.loads(text)
    sums = state["crc32"]
    if zlib.crc32(text[:text.rindex(',"crc32":')].encode()) != sums["state"]:
        raise ValueError(f"{path}: state")
    if set(header) != set(sums["tensors"]):
        raise ValueError(f"{path}: names")
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        shape = b"".join(struct.pack("<Q", extent) for extent in entry["shape"])
        if zlib.crc32(shape + data[8 + length + begin:8 + length + end]) != sums["tensors"][name]:
            raise ValueError(f"{path}: tensor {name}")
    return state


def scores(run, upto=None):
    """Steps and validations of a run without times and speeds."""
    found = []
    for line in open(f"{run}/metrics.jsonl", "rb").read().splitlines():
        line = json.loads(line)
        if line["kind"] in ("step", "validation") and (upto is None or line["step"] <= upto):
            found.append([line[key] for key in ("kind", "step", "epoch", "loss", "top1_error")])
    return found


def check_whole(run, before):
    """After a disturbance: every checkpoint is whole, no step that was saved is lost; the step that is saved."""
    step = before
    try:
        state = checkpoint_state(f"{run}/last.safetensors")
        for name in os.listdir(run) if os.path.isdir(run) else []:
            if name.endswith(".safetensors") and name != "statistics.safetensors":
                checkpoint_state(f"{run}/{name}")
        step = state["step"] if state else 0
        if step < before:
            LOST.append(f"{run}: step {before} was saved, and now {step}")
        if state and [row[1] for row in scores_so_far(run) if row[0] == "step"][:step] != list(range(1, step + 1)):
            LOST.append(f"{run}: metrics before step {step}")
    except (ValueError, KeyError, struct.error) as error:
        DAMAGED.append(f"{run}: {error!r}")
    return step


def scores_so_far(run):
    """As `scores`, but the last line may be torn."""
    text = open(f"{run}/metrics.jsonl", "rb").read()
    lines = [json.loads(line) for line in text[:text.rfind(b"\n") + 1].splitlines()]
    return [(line["kind"], line.get("step")) for line in lines]


def check_finished(run, alone, arguments):
    COUNTS["finished"] += 1
    for name in ("last", "best"):
        ours, theirs = (open(f"{folder}/{name}.safetensors", "rb").read() for folder in (run, alone))
        if ours != theirs:
            DAMAGED.append(f"{run}: {name} is not that of a run left alone")
    if scores(run) != scores(alone):
        LOST.append(f"{run}: metrics are not those of a run left alone, each step and validation once")
    known = {"best.safetensors", "config.toml", "last.safetensors", "metrics.jsonl", "metrics-cut.jsonl"}
    stray = [name for name in os.listdir(run) if name not in known and not name.startswith("step-")]
    kept = sum(name.startswith("step-") for name in os.listdir(run))
    if stray or kept > 2:
        DAMAGED.append(f"{run}: stray files {stray}, {kept} kept")


def train(name, device, arguments, share, longest=1.0, cold=False):
    """Runs that are disturbed until they have had their share of kills, and then finished."""
    common = ["train", "--model", "tiny.toml", "--devices", device, *arguments]
    alone = f"{name}-alone"
    done([*common, "--out", alone])
    took = done([*common, "--out", f"{name}-warm"])
    number, until = 0, COUNTS["kills"] + share
    while COUNTS["kills"] < until:
        number += 1
        run, step, ended = f"{name}-{number}", 0, None
        for attempt in range(40):
            if cold:
                shutil.rmtree("cache/alexnet/statistics", ignore_errors=True)
            begun = os.path.exists(f"{run}/config.toml")
            command = ["train", "--resume", run] if begun else [*common, "--out", run]
            ended = disturb(command, longest * took)
            step = check_whole(run, step)
            if ended == 0 or COUNTS["kills"] >= until:
                break
            if ended is not None and ended not in (1, 130, 143):
                LOST.append(f"{run}: exit code {ended}: {said()}")
        command = ["train", "--resume", run] if os.path.exists(f"{run}/config.toml") else [*common, "--out", run]
        if start(command).wait() != 0:
            LOST.append(f"{run} cannot be gone on with: {said()}")
            continue
        check_finished(run, alone, arguments)
        shutil.rmtree(run)
    tell(name)


def contents(folder):
    return {name: open(os.path.join(folder, name), "rb").read() for name in sorted(os.listdir(folder))}


def prepare(share):
    common = ["prepare", "images", "--size", "32", "--shard-images", "40"]
    took = done([*common, "--out", "shards-alone"])
    alone, number, until = contents("shards-alone"), 0, COUNTS["kills"] + share
    while COUNTS["kills"] < until:
        number += 1
        out = f"shards-{number}"
        for attempt in range(10):
            if disturb([*common, "--out", out], took, ("KILL", "TERM")) == 0 or COUNTS["kills"] >= until:
                break
        if start([*common, "--out", out]).wait() != 0:
            LOST.append(f"{out} cannot be gone on with: {said()}")
            continue
        COUNTS["finished"] += 1
        if contents(out) != alone:
            DAMAGED.append(f"{out}: not the shards of a command left alone: {sorted(os.listdir(out))}")
        shutil.rmtree(out)
    tell("prepare")


def export(run, share):
    for form in ("onnx", "safetensors"):
        os.makedirs("exported", exist_ok=True)
        target, until = f"exported/x.{form}", COUNTS["kills"] + share // 2
        common = ["export", run, "--format", form, "--out"]
        took = done([*common, f"alone.{form}"])
        whole = open(f"alone.{form}", "rb").read()
        while COUNTS["kills"] < until:
            if random.random() < 0.5 and os.path.exists(target):
                os.remove(target)
            code = disturb([*common, target] + FORCE, 1.2 * took, ("KILL", "TERM", "FULL"))
            if os.path.exists(target) and open(target, "rb").read() != whole or code == 0 and not os.path.exists(target):
                DAMAGED.append(f"{target} is neither absent nor whole")
        shutil.rmtree("exported")
        os.makedirs("exported")
        done([*common, target])
        COUNTS["finished"] += 1
        if contents("exported") != {f"x.{form}": whole}:
            DAMAGED.append(f"a finished export left {os.listdir('exported')}")
    tell("export")


def tell(what):
    counts = ", ".join(f"{count} {name}" for name, count in COUNTS.items())
    print(f"{what}: {counts} so far, {len(LOST)} lost, {len(DAMAGED)} damaged", flush=True)
    for line in (LOST + DAMAGED)[tell.told:]:
        print(f"  {line}", flush=True)
    tell.told = len(LOST + DAMAGED)


tell.told = 0
shutil.copy(os.path.join(ROOT, "tests/common/tiny.toml"), "tiny.toml")
make_images("images", 24, 20)
help_text = subprocess.run([PROGRAM, "export", "--help"], capture_output=True, text=True).stdout
FORCE = ["--force"] if "--force" in help_text else []
listed = subprocess.run([PROGRAM, "devices"], capture_output=True, text=True).stdout
devices = ["cpu", "0"] if listed.startswith("0:") else ["cpu"]
print(f"campaign: at least {KILLS} kills with seed {SEED} on {' and '.join(devices)}, in {PLACE}", flush=True)
if len(devices) == 1:
    print("campaign: no adapter; the CPU engine alone is tried", flush=True)
part = KILLS // 10 + 1
often = ["--epochs", "3", "--batch", "50", "--save-every", "7", "--keep", "2"]
few = ["--data", "images", "--epochs", "4", "--batch", "40"]
for device in devices:
    scale = 3 if device == "cpu" and len(devices) == 1 else 2 if device == "cpu" else 1
    train(f"training-{device}", device, often, scale * part)
    # As many validation images as training images, of which every one has to be decoded.
    train(f"validation-{device}", device, few, scale * part // 2)
    # Nothing is known of the images: most kills fall while they are measured.
    train(f"mean-image-{device}", device, few, scale * part // 2, 0.6, cold=True)
prepare(2 * part)
export("training-cpu-alone", 2 * part)
tell("campaign")
print(f"{COUNTS['kills']} kills, {COUNTS['signals']} other signals, {COUNTS['stops']} stops, {COUNTS['starved']} starved, {COUNTS['finished']} finished: "
      f"{len(LOST)} lost, {len(DAMAGED)} damaged")
if LOST or DAMAGED:
    raise SystemExit(f"campaign: what is left is in {PLACE}")
shutil.rmtree(PLACE)
PYTHON
