"""What keeping and publishing an asset of four fits costs, 45 MB of weights each, and how much disk it takes meanwhile.

`python benchmarks/publication.py --against FOLDER`: the same by another checkout of this project, in turns, each in a
process of its own. Figures are seconds of all but the fits themselves, and bytes on disk, each file counted once.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
K, SEEDS, FLOATS = [15], [0, 1, 2, 3], 11_250_000


def on_disk(folder: Path) -> int:
    """Bytes under a folder; a file with two names counts once."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                seen = os.stat(os.path.join(place, name))
            except FileNotFoundError:
                continue  # cleared while we looked
            found[seen.st_ino] = seen.st_size
    return sum(found.values())


def measure(folder: Path) -> dict[str, float]:
    """One publication, in this process."""
    import pyarrow as pa
    import torch

    from fusc_pipeline.base.schemas import CLUSTERS
    from fusc_pipeline.defs.clustering.fits import fit_each
    from fusc_pipeline.store.store import Recipe, Store

    row = {"image_id": "a", "split": "train", "cluster": 0, "confidence": 1.0}
    weights = {"w": torch.ones(FLOATS)}
    store, over, peak = Store(folder / "data"), threading.Event(), 0

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.02):
            peak = max(peak, on_disk(store.root))

    def fit(k: int, seed: int):
        return pa.Table.from_pylist([row | {"n_clusters": k, "seed": seed}], schema=CLUSTERS), weights, [{"loss": 1.0}]

    watcher = threading.Thread(target=watch)
    watcher.start()
    began = time.monotonic()
    with store.alone("fusc_simclr", None), store.write("fusc_simclr", None, Recipe("1"), {}) as draft:
        fit_each(draft, K, SEEDS, fit)
    seconds = time.monotonic() - began
    over.set()
    watcher.join()
    return {"seconds": seconds, "peak_mb": peak / 1e6, "left_mb": on_disk(store.root) / 1e6}


def turn(tree: Path, folder: str) -> dict[str, float]:
    """One publication by the package of this checkout, in a process of its own."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        done = subprocess.run(
            [sys.executable, __file__, "--worker", place],
            env=os.environ | {"PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="folder of another checkout (e.g. from `git worktree add`)")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--folder", help="where the data roots are made (default: the temporary folder)")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        print(json.dumps(measure(arguments.worker)))
        return
    trees = {"here": ROOT} | ({"there": arguments.against.resolve()} if arguments.against else {})
    found: dict[str, list[dict[str, float]]] = {name: [] for name in trees}
    for number in range(arguments.turns):
        for name in list(trees)[:: 1 if number % 2 else -1]:
            found[name].append(turn(trees[name], arguments.folder or tempfile.gettempdir()))
    for name, turns in found.items():
        seconds = [one["seconds"] for one in turns]
        disk = f"peak {turns[-1]['peak_mb']:.0f} MB, left {turns[-1]['left_mb']:.0f} MB"
        print(f"{name:6} min {min(seconds):.3f} s, median {statistics.median(seconds):.3f} s; {disk}")
    if arguments.against:
        ratios = sorted(a["seconds"] / b["seconds"] for a, b in zip(found["here"], found["there"], strict=True))
        print(
            f"here / there, pair by pair: median {statistics.median(ratios):.3f}, {ratios[0]:.3f} to {ratios[-1]:.3f}"
        )


if __name__ == "__main__":
    main()
