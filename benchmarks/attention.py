"""How far apart are clean frames and frames that give their label away, in the attention figure of `inpainting_audit`?

On a data root whose text stage and corpus are made, the view classifier of the audit is trained on cleaned frames, on
the same frames before cleaning, and on cleaned frames with marks planted where text was:

- fill: the place is filled with one of fifteen greys, the view's. The anatomy tells the view too.
- only: the place is filled with black, grey or white, and which of them is all there is to learn: the true labels are
  replaced by three drawn at random. What a classifier draws that looks at nothing else.

A number after it is by how many pixels (of the network's square) the place is made larger.

    python benchmarks/attention.py --data DATA --frames cleaned,uncleaned,only1 --size 96 --epochs 6 --seeds 0,1
"""

import argparse
import re
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.compute as pc

from fusc_pipeline.audits.attention import AttentionShare, bootstrap_ratio
from fusc_pipeline.audits.attention_masks import BACKBONE, Squares, judged, squares_of
from fusc_pipeline.defs.evaluation.attention_audit import AttentionConfig
from fusc_pipeline.defs.evaluation.before_after import side_by_side
from fusc_pipeline.defs.evaluation.inpainting_audit import words_on
from fusc_pipeline.representation.configs import SupervisedConfig
from fusc_pipeline.store.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="data root with a corpus")
    parser.add_argument("--frames", default="cleaned,uncleaned,fill2,only0,only1")
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", default="0")
    options = parser.parse_args()
    files = Store(options.data)
    corpus = files.table("corpus")
    corpus = corpus.filter(pc.field("view").is_valid())
    squares = squares_of(side_by_side(files, corpus), corpus.num_rows, words_on(files, corpus), options.size)
    rows = {row["image_id"]: row for row in corpus.to_pylist()}
    views, subjects, split = (
        np.array([rows[i][name] for i in squares.ids]) for name in ("view", "subject_key", "split")
    )
    learn = np.flatnonzero(split == "train")
    config = AttentionConfig(attention_size=options.size, attention_epochs=options.epochs)
    recipe = SupervisedConfig(
        epochs=config.attention_epochs, batch_size=config.attention_batch, warmup_epochs=1, backbone=BACKBONE
    )
    for kind in options.frames.split(","):
        pixels, labels = planted(kind, squares, views)
        test = np.flatnonzero((split == "test") & np.isin(labels, labels[learn]))
        for seed in map(int, options.seeds.split(",")):
            started = time.monotonic()
            _, found = judged(pixels, squares, labels, learn, test, recipe.changed(seed=seed), config.compute())
            right = (found.predicted == labels[test]).mean()
            figures = [(found.mass, found.area), (found.mass, found.control)]
            told = []
            for mass, against in figures:
                share = AttentionShare(mass, against)
                low, high = bootstrap_ratio(share, subjects[test])
                told.append(f"{share.ratio():.2f} ({low:.2f} to {high:.2f})")
            print(
                f"{kind} seed {seed}: right {right:.1%}, attention {told[0]}, over elsewhere {told[1]}; "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )


def planted(kind: str, squares: Squares, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(pixels, labels) of one kind of frames."""
    if kind in squares.pixels:
        return squares.pixels[kind], views
    given = re.fullmatch(r"(fill|only)(\d)", kind)
    if given is None:
        raise SystemExit(f"frames are cleaned, uncleaned, fill or only with a digit; not {kind!r}")
    names, classes = np.unique(views, return_inverse=True)
    greys = np.linspace(10, 250, len(names))
    if given[1] == "only":
        greys = np.array([20, 130, 250])
        classes = np.random.default_rng(5).integers(0, 3, len(views))
    reach = 2 * int(given[2]) + 1
    pixels = squares.pixels["cleaned"].copy()
    for place, (area, fan) in enumerate(zip(squares.area, squares.fan, strict=True)):
        wide = cv2.dilate(area.astype(np.uint8), np.ones((reach, reach), np.uint8)).astype(bool)
        pixels[place][wide & fan] = greys[classes[place]]
    return pixels, classes.astype(str) if given[1] == "only" else views


if __name__ == "__main__":
    main()
