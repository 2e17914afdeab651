"""A step's time on a GPU, from the folder that `alexnet kernels --wgsl STEP --model M` writes and the tables of
`shaderstats nvidia`: python3 estimate.py STEP TABLE.tsv...

A model, not a measurement. A contraction takes the longest of
  issue: what its warps issue (of the SASS), one instruction a cycle and scheduler, the fullest processor counting,
         slowed where too few warps are there to hide latencies (EFFICIENCY),
  L1:    reads of workgroup memory, 128 bytes a cycle and processor, and loads by the lines they touch, on one port,
  L2:    what it loads, at L2_RATE,
  memory: what it reads and writes once, at MEMORY;
anything else the last alone; and every dispatch LAUNCH besides. Of the variants the fastest counts."""
import collections, csv, json, math, os, sys

SMS, CLOCK, MEMORY, L2_RATE, LAUNCH = 132, 1.98e9, 3.0e12 * 0.85, 5.5e12, 4e-6
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
    return up(rows, bm) * up(columns, bn), 4 * (bm + bn) / (bm * bn)

def load_cycles(kernel, variant, loads):
    """Cycles of the L1 for the loads of a trip: 4 for a vector a lane side by side, one for each line otherwise."""
    if variant == "plain":
        return loads
    if variant.startswith(("tile1", "tile8", "split")):
        return loads * {"conv.forward": 4, "conv.backward_input": 6, "conv.backward_filter": 8}[kernel]
    vectors = {"tiled": 2, "tiled_small": 4}.get(variant, 0)
    if kernel == "conv.backward_input":
        return 4 * vectors + (loads - vectors) * (16 if variant == "tiled" else 8)
    return loads * {"conv.backward_filter": 16 if variant == "tiled" else 8}.get(kernel, 4)

def contraction(run, row, p):
    kernel, variant = run["kernel"], row["variant"]
    macs = run["flops"] / 2
    skip = inside(p) if kernel != "conv.backward_filter" else 1.0
    waste, per_mac = padded(kernel, variant, p)
    macs *= skip * waste
    get = lambda name: float(row[name])
    share = get("FMA/all")
    groups, threads = int(row["groups"]), int(row["threads"])
    warps = math.ceil(threads / 32)
    full = math.ceil(groups / SMS)                   # workgroups of the fullest processor
    at_once = min(get("waves") * 4 / warps, full)    # of those, at the same time
    schedulers = min(1.0, at_once * warps / 4)       # a processor has four
    efficiency = next(e for most, e in EFFICIENCY if at_once * warps / 4 <= most)
    balance = groups / SMS / full
    # Half-filled warps issue as much as full ones.
    filled = threads / (warps * 32)
    issue = macs / (SMS * 128 * CLOCK) / share / balance / schedulers / efficiency / filled
    # Neighbouring threads that share an address halve the cycles of a read.
    cycles = get("LDS load") * (2 if "bk" in p else 3) + 4 * get("LDS store")
    cycles += load_cycles(kernel, variant, get("load"))
    l1 = macs / (SMS * CLOCK) / balance * cycles / (32 * get("FMA"))
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
    step = json.load(open(os.path.join(sys.argv[1], "index.json")))
    shaders = {shader["file"]: shader for shader in step["shaders"]}
    ways = collections.defaultdict(list)
    for path in sys.argv[2:]:
        for row in table(path):
            if row["file"] in shaders:
                shader = shaders[row["file"]]
                ways[shader["kernel"], shader["params"]].append((row, shader["values"]))
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
    step = sum(total.values())
    print({name: f"{time * 1e3:.2f} ms" for name, time in total.items()})
    print(f"step {step * 1e3:.2f} ms, arithmetic {floor * 1e3:.2f} ms: {floor / step:.0%}; {len(step['runs'])} runs")

main()
