"""Reads the event files of a run back with TensorBoard's own loader:

    alexnet train --steps 200 --tensorboard --out RUN
    python tests/tensorboard_events.py RUN

Every tag is there, scalars are those of metrics.jsonl, histograms count every weight, pictures are pictures.
"""
import io
import json
import sys

from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

run = sys.argv[1]
events = EventAccumulator(run, size_guidance=dict.fromkeys(["scalars", "images", "histograms", "tensors"], 0))
events.Reload()
tags = events.Tags()
lines = [json.loads(line) for line in open(f"{run}/metrics.jsonl")]
steps = [line for line in lines if line["kind"] == "step"]
validations = [line for line in lines if line["kind"] == "validation"]
weights = [line for line in lines if line["kind"] == "weights"]


def same(tag, wanted):
    found = [(event.step, event.value) for event in events.Scalars(tag)]
    assert [step for step, _ in found] == [step for step, _ in wanted], f"{tag}: {len(found)} of {len(wanted)} steps"
    wrong = [(f, w) for f, w in zip(found, wanted) if abs(f[1] - w[1]) > 1e-5 * max(1, abs(w[1]))]
    assert not wrong, f"{tag}: {wrong[:3]}"


for tag, key in {
    "loss/training": "loss", "error/training": "top1_error", "speed/images per second": "images_per_second",
    "seconds/waiting for images": "wait", "seconds/waiting for devices": "device",
}.items():
    same(tag, [(line["step"], line[key]) for line in steps])
for tag, key in {
    "loss/validation": "loss", "error/validation": "top1_error", "error/validation top-5": "top5_error",
}.items():
    same(tag, [(line["step"], line[key]) for line in validations])
names = weights[0]["tensors"]
for name in names:
    same(f"size/{name}", [(line["step"], line["tensors"][name]["weight"]) for line in weights])
    same(f"movement/{name}", [(line["step"], line["tensors"][name]["ratio"]) for line in weights])
    for event in events.Histograms(f"weights/{name}"):
        histogram = event.histogram_value
        assert histogram.num > 0 and abs(sum(histogram.bucket) - histogram.num) < 0.5, name
        assert histogram.bucket_limit == sorted(histogram.bucket_limit), name
assert events.Scalars("rate/weights") and events.Scalars("rate/biases")
pictures = ["batch"] + [tag for tag in tags["images"] if tag.startswith("filters/")]
assert len(pictures) > 1, tags["images"]
for tag in pictures:
    for event in events.Images(tag):
        picture = Image.open(io.BytesIO(event.encoded_image_string))
        picture.load()
        assert picture.size == (event.width, event.height), tag
text = events.Tensors("configuration/text_summary" if "configuration/text_summary" in tags["tensors"] else "configuration")
assert b"[network" in text[0].tensor_proto.string_val[0]
count = sum(len(tags[kind]) for kind in ("scalars", "images", "histograms", "tensors"))
print(f"{count} tags, {len(steps)} steps, {len(validations)} validations: all as in metrics.jsonl")
