"""The text stage against the phantom's truth: label precision and recall, and words left after cleaning.

Works on a batch that was materialised from phantom scans (`make demo` makes one); the truth lies beside its folder.

    python benchmarks/text_quality.py --batch demo [--reread 200]

Prints, with Wilson 95 % intervals: precision of the pseudo-labels; recall over the frames whose label a person can
read; and the share of clean images on which either OCR engine still finds a word of three letters or more with a
confidence above 0.5.
"""

import argparse
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fusc_pipeline.base.png import decode_png
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.evaluation.intervals import wilson
from fusc_pipeline.store.store import Store

SURE = 0.5


def told(what: str, hits: int, n: int) -> None:
    low, high = wilson(hits, n)
    print(f"{what}: {hits}/{n} = {100 * hits / max(n, 1):.2f} % ({100 * low:.2f} to {100 * high:.2f} %)")


def labels(store: Store, batch: str, truth: Path) -> None:
    """Precision and recall of the pseudo-labels."""
    keys = ["source_sha256", "frame_index"]
    expected = {(r["source_sha256"], r["frame_index"]): r for r in pq.read_table(truth).to_pylist()}
    found = {r["image_id"]: r for r in store.table("pseudo_labels", batch).to_pylist()}
    given = right = readable = recalled = 0
    reasons, wrong = Counter(), Counter()
    for scan in store.table("scans", batch, ["image_id", *keys]).to_pylist():
        fact, label = expected[scan["source_sha256"], scan["frame_index"]], found[scan["image_id"]]
        if label["view"] is not None:
            given += 1
            right += label["view"] == fact["label_view"]
            if label["view"] != fact["label_view"]:
                wrong[f"{fact['typed_text']!r} read as {label['alias']}"] += 1
        if fact["label_readable"]:
            readable += 1
            recalled += label["view"] == fact["label_view"]
            if label["view"] is None:
                reasons[label["reason"]] += 1
    told("pseudo-label precision (what a person reads)", right, given)
    told("pseudo-label recall of readable labels", recalled, readable)
    print("missed because:", dict(reasons), "| wrong:", dict(wrong))


def text_left(store: Store, batch: str, most: int, seed: int) -> None:
    """Words the engines still read on clean images."""
    from fusc_pipeline.text.easyocr_engine import EasyOcrEngine
    from fusc_pipeline.text.rapidocr_engine import RapidOcrEngine

    rows = [r for r in store.table("clean_images", batch, ["image_id", "image"]).to_pylist() if r["image"] is not None]
    chosen = np.random.default_rng(seed).permutation(len(rows))[:most]
    engines, left = (EasyOcrEngine(), RapidOcrEngine.sensitive()), 0
    for place in chosen:
        pixels = decode_png(rows[place]["image"]["bytes"])
        words = [word for engine in engines for word in engine.read(pixels)]
        sure = [w.text for w in words if w.confidence > SURE and len(re.sub(r"[^A-Za-z]", "", w.text)) >= 3]
        if sure:
            left += 1
            print(f"  {rows[place]['image_id'][:16]}: {sure}")
    told("clean images with a word left", left, len(chosen))
    quarantined = store.table("clean_images", batch, ["quarantined"]).column(0)
    told("quarantined", len(quarantined) - quarantined.null_count, len(quarantined))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", default="demo")
    parser.add_argument("--reread", type=int, default=200, help="clean images to read again")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    resource = StoreResource()
    folder = resource.inbox().folder(arguments.batch)
    truth = folder.with_name(f"{folder.name}.truth.parquet")
    if truth.exists():
        labels(resource.get(), arguments.batch, truth)
    else:
        print(f"no truth beside {folder.name}: these are no phantoms, labels are not scored")
    text_left(resource.get(), arguments.batch, arguments.reread, arguments.seed)


if __name__ == "__main__":
    main()
