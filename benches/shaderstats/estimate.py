"""A step's time on a GPU, from the folder that `alexnet kernels --wgsl STEP --model M` writes and the tables of
`shaderstats nvidia`: python3 estimate.py STEP TABLE.tsv..., or with --bounds what a tile's arithmetic could reach by each.

A model, not a measurement. A contraction takes the longest of
  issue: what its warps issue (of the SASS), one instruction a cycle and scheduler, the fullest processor counting,
         slowed where too few warps are there to hide latencies (EFFICIENCY); matrix units take MATRIX cycles for a product,
  L1:    reads of workgroup memory, 128 bytes a cycle and processor, and loads by the lines they touch, on one port,
  L2:    what it loads, at L2_RATE,
  memory: what it reads and writes once, at MEMORY;
anything else the last alone; and every dispatch LAUNCH besides. Of the variants the fastest counts."""
import collections, csv, json, math, os, sys

SMS, CLOCK, MEMORY, L2_RATE, LAUNCH = 132, 1.98e9, 3.0e12 * 0.85, 5.5e12, 4e-6
# Cycles of a scheduler's matrix unit for a 16x8x16 product of halves, mma.sync: 612 TFLOP/s of a GH200, from registers.
MATRIX = 2048 * 4 * SMS * 2 * CLOCK / 612e12
# By warps of a scheduler that are there at once; an assumption.
EFFICIENCY = [(1, 0.55), (2, 0.70), (3, 0.80), (4, 0.87), (99, 0.90)]

def table(path):
    return list(csv.DictReader(open(path), delimiter="\t"))

def inside(p):
    """The share of a window's elements, over all pixels, that lie inside."""
    def along(out, size, window, stride, pad):
        return sum(min(o * stride - pad + window, size) - max(o * stride - pad, 0) for o in range(out)) / (out * window)
    return along(p["p"], p["h"], p["r"], p["stride_y"], p["pad_y"]) * along(p["q"], p["w"], p["s"], p["stride_x"], p["pad_x"])

def extents(kernel, p):
    """Rows and columns of the product that a contraction is."""
    return {"conv.forward": (p["k"], p["n"]), "conv.backward_input": (p["maps"], p["n"]),
            "conv.backward_filter": (p["maps"] * p["r"] * p["s"], p["k"])}[kernel]

def padded(kernel, variant, p):
    """Multiply-adds of whole tiles for each that counts, and bytes loaded for a multiply-add."""
    if variant == "plain":
        return 1.0, None
    rows, columns = extents(kernel, p)
    bm, bn = (p["edge"], p["edge"]) if "edge" in p else (p["bm"], p["bn"])
    up = lambda x, b: math.ceil(x / b) * b / x
    matrix = "matrix" in variant
    # Lines of a window that do not fill a step of whole matrices.
    lines = up(p["s"], 16) if matrix and kernel == "conv.forward" and p["maps"] % 16 and "bk" in p else 1.0
    return up(rows, bm) * up(columns, bn) * lines, (2 if matrix else 4) * (bm + bn) / (bm * bn)

def load_cycles(kernel, variant, loads):
    """Cycles of the L1 for the loads of a trip: 4 for a vector a lane side by side, one for each line otherwise."""
    if variant == "plain":
        return loads
    if "matrix" in variant:
        return loads * {"conv.forward": 2, "conv.backward_input": 4, "conv.backward_filter": 8}[kernel]
    if variant.startswith(("tile1", "tile8", "split")):
        return loads * {"conv.forward": 4, "conv.backward_input": 6, "conv.backward_filter": 8}[kernel]
    vectors = {"tiled": 2, "tiled_small": 4}.get(variant, 0)
    if kernel == "conv.backward_input":
        return 4 * vectors + (loads - vectors) * (16 if variant == "tiled" else 8)
    return loads * {"conv.backward_filter": 16 if variant == "tiled" else 8}.get(kernel, 4)

def trip_of(kernel, row, p):
    """Cycles of a warp's trip through the hot loop for each multiply-add: of a scheduler's issue slots and matrix unit, and
    of the processor's L1."""
    get = lambda name: float(row[name])
    matrix = get("matrix")
    macs = matrix * 2048 if matrix else get("FMA") * 32
    # Of matrices that were not padded, eight rows lay in the same banks.
    reads = (4 if "units" in p else 32) if matrix else (2 if "bk" in p else 3)
    # Neighbouring threads that share an address halve the cycles of a read.
    cycles = get("LDS load") * reads + get("LDS store") * (2 if matrix else 4)
    cycles += load_cycles(kernel, row["variant"], get("load"))
    issue = (matrix or get("FMA")) / get("FMA/all")
    return {"issue": issue / macs, "matrix": matrix * MATRIX / macs, "L1": cycles / macs}

def bounds(step, ways):
    """TFLOP/s of whole tiles by each limit alone, on a GPU that is full."""
    print(f"{'layer':6} {'kernel':22} {'variant':24} {'tile':>12} {'issue':>6} {'matrix':>6} {'L1':>6} {'L2':>6} {'least':>6}")
    layers = {(run["kernel"], run["params"]): run["layer"] for run in reversed(step["runs"])}
    for (kernel, params), found in ways.items():
        for row, p in found:
            if "bm" not in p:
                continue
            trip = trip_of(kernel, row, p)
            full = 2e-12 * SMS * CLOCK
            limits = {"issue": full * 4 / trip["issue"], "matrix": full * 4 / trip["matrix"] if trip["matrix"] else math.inf}
            limits |= {"L1": full / trip["L1"], "L2": 2e-12 * L2_RATE / padded(kernel, row["variant"], p)[1]}
            tile = "x".join(str(p.get(name, "")) for name in ("bm", "bn", "bk"))
            numbers = " ".join(f"{limit:6.0f}" for limit in [*limits.values(), min(limits.values())])
            print(f"{layers[kernel, params]:6} {kernel:22} {row['variant']:24} {tile:>12} {numbers}")

def contraction(run, row, p):
    kernel, variant = run["kernel"], row["variant"]
    macs = run["flops"] / 2
    skip = inside(p) if kernel != "conv.backward_filter" else 1.0
    waste, per_mac = padded(kernel, variant, p)
    macs *= skip * waste
    get = lambda name: float(row[name])
    groups, threads = int(row["groups"]), int(row["threads"])
    warps = math.ceil(threads / 32)
    full = math.ceil(groups / SMS)                   # workgroups of the fullest processor
    at_once = min(get("waves") * 4 / warps, full)    # of those, at the same time
    schedulers = min(1.0, at_once * warps / 4)       # a processor has four
    efficiency = next(e for most, e in EFFICIENCY if at_once * warps / 4 <= most)
    balance = groups / SMS / full
    trip = trip_of(kernel, row, p)
    # Half-filled warps issue as much as full ones.
    filled = threads / (warps * 32)
    fullest = macs / (SMS * CLOCK) / balance
    issue = fullest * max(trip["issue"], trip["matrix"]) / 4 / schedulers / efficiency / filled
    l1 = fullest * trip["L1"]
    if per_mac is None:
        # What lanes have for themselves comes from L2, what they share does not count.
        dense = (p["r"], p["s"]) == (p["h"], p["w"])
        own = (0.3 if dense else 1.0) if kernel == "conv.backward_filter" else 0.35
        per_mac = own * get("load") * 4 / get("FMA")
    l2 = macs * per_mac / L2_RATE
    memory = run["bytes"] / MEMORY
    times = {"issue": issue, "L1": l1, "L2": l2, "memory": memory}
    # The second kernel of those that add up parts: reads them all, from L2 for the most part.
    more = 0.0
    if p.get("parts", 1) > 1:
        rows, columns = extents(kernel, p)
        outputs = rows * columns * {"conv.forward": p["p"] * p["q"], "conv.backward_input": p["h"] * p["w"]}.get(kernel, 1)
        more = LAUNCH + outputs * 4 * (p["parts"] * 2 + 1) / MEMORY
    bound = max(times, key=times.get)
    return times[bound] + more, bound, macs / waste

def main():
    paths = [path for path in sys.argv[1:] if path != "--bounds"]
    step = json.load(open(os.path.join(paths[0], "index.json")))
    shaders = {shader["file"]: shader for shader in step["shaders"]}
    ways = collections.defaultdict(list)
    for path in paths[1:]:
        for row in table(path):
            # Without a hot loop there is nothing to go by.
            if row["file"] in shaders and float(row["FMA/all"]):
                shader = shaders[row["file"]]
                ways[shader["kernel"], shader["params"]].append((row, shader["values"]))
    if "--bounds" in sys.argv:
        return bounds(step, ways)
    total = collections.Counter()
    rows = collections.OrderedDict()
    for run in step["runs"]:
        floor = run["flops"] / (2 * SMS * 128 * CLOCK)
        if run["kernel"] in ("conv.forward", "conv.backward_input", "conv.backward_filter"):
            found = [(*contraction(run, row, p), row) for row, p in ways[run["kernel"], run["params"]]]
            time, bound, _, row = min(found, key=lambda it: it[0])
            group, variant, groups = "contractions", row["variant"], row["groups"]
        else:
            time, bound, variant, groups = run["bytes"] / MEMORY, "memory", "", ""
            group, floor = ("update" if run["pass"] == "update" else "other kernels"), 0.0
        total[group] += time
        total["launches"] += LAUNCH
        seen = rows.setdefault((run["layer"], run["kernel"], variant), [0, 0.0, 0.0, bound, groups])
        seen[0] += 1
        seen[1] += time
        seen[2] += floor
    print(f"{'layer':6} {'kernel':22} {'variant':24} {'runs':>4} {'groups':>6} {'ms':>7} {'floor':>7} {'share':>6} bound")
    for (layer, kernel, variant), (count, time, floor, bound, groups) in sorted(rows.items(), key=lambda it: -it[1][1]):
        if time > 2e-5:
            share = f"{floor / time:6.0%}" if floor else "      "
            print(f"{layer:6} {kernel:22} {variant:24} {count:4} {groups:>6} {time * 1e3:7.3f} {floor * 1e3:7.3f} {share} {bound}")
    floor = sum(row[2] for row in rows.values())
    took = sum(total.values())
    print({name: f"{time * 1e3:.2f} ms" for name, time in total.items()})
    print(f"step {took * 1e3:.2f} ms, arithmetic {floor * 1e3:.2f} ms: {floor / took:.0%}; {len(step['runs'])} runs")

main()
