"""What an arriving batch costs, against how many frames are in service already.

    python benchmarks/arrival.py --sizes 60 1000 10000 --frames 50 --repeats 3 --plot arrival_cost.png

For each size a data root is filled with tiny text-free phantom frames in batches of fifty, as the text stage would have
left them (same recipes), and a small model of them is put in service. Then phantom screens are delivered and the job
`process_new_batch` is run on them: reading, OCR, cleaning, embedding, assigning. Sizes take turns, each delivery is
new, and the smallest size stands for "alone". Wall seconds of the run, without the start of a process.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import dagster as dg
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.png import encode_png
from fusc_pipeline.base.schemas import BURNED_IN_TEXT, CLEAN_IMAGES, PSEUDO_LABELS, REJECTED_SCANS, SCANS
from fusc_pipeline.base.views import VIEWS
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.planning import plan_asset
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.phantom.config import PhantomConfig
from fusc_pipeline.phantom.deliver import write_batch
from fusc_pipeline.scans.identity import create_key
from fusc_pipeline.store.store import Store

BATCH = 50  # frames of each batch that is there already
SIDE = 48  # pixels of the frames that are there already
MODEL = {
    "simclr_encoder": {"epochs": 1, "batch_size": 32, "image_size": 32, "monitor_every": 0},
    "fusc_simclr": {"n_clusters": [15], "seeds": [0], "epochs": 1, "batch_size": 32, "train_backbone": False},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[60, 1000, 10_000])
    parser.add_argument("--frames", type=int, default=50, help="frames of an arriving batch")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--plot", type=Path, help="write a picture of cost against size here (PNG)")
    arguments = parser.parse_args()
    sizes = sorted(arguments.sizes)
    with tempfile.TemporaryDirectory() as scratch, dg.DagsterInstance.ephemeral() as instance:
        services = {size: Service(Path(scratch) / str(size), size, instance) for size in sizes}
        services[sizes[0]].arrive("warm-up", 2, 999)  # loads the libraries and the engines' weights
        rows = [
            services[size].arrive(f"new-{repeat}", arguments.frames, 1000 * repeat + place)
            | {"size": size, "repeat": repeat}
            for repeat in range(arguments.repeats)
            for place, size in enumerate(sizes if repeat % 2 == 0 else sizes[::-1])
        ]
    report(rows, sizes, arguments.frames)
    if arguments.plot:
        plot(rows, sizes, arguments.frames, arguments.plot)


class Service:
    """A data root with `size` frames, and a model of them in service."""

    def __init__(self, root: Path, size: int, instance: dg.DagsterInstance):
        self.root, self.instance = root / "data", instance
        self.definitions = build_definitions(root=str(self.root))
        self.resource = StoreResource(root=str(self.root))
        create_key(self.root / "private" / "hmac.key")
        began = time.perf_counter()
        for number in range(0, size, BATCH):
            self._fill(f"old-{number // BATCH:04d}", range(number, min(number + BATCH, size)))
        self._run(None, self._upstream_of_service(), MODEL)
        print(f"{size} frames in service after {time.perf_counter() - began:.0f} s", flush=True)

    def arrive(self, batch: str, frames: int, seed: int) -> dict[str, float]:
        """Deliver so many new screens as `batch`; wall seconds of the run, `total` and of each asset."""
        config = PhantomConfig(n_frames=frames, n_subjects=max(2, frames // 5), seed=seed)
        write_batch(self.root / "inbox" / batch, config)
        job = self.definitions.resolve_job_def("process_new_batch")
        self.instance.add_dynamic_partitions("scan_batch", [batch])
        began = time.perf_counter()
        result = job.execute_in_process(instance=self.instance, partition_key=batch)
        seconds = {"total": time.perf_counter() - began}
        for event in result.get_asset_materialization_events():
            made = event.step_materialization_data.materialization
            seconds[made.asset_key.to_user_string()] = made.metadata["fusc/seconds"].value
        return seconds

    def _upstream_of_service(self) -> set[dg.AssetKey]:
        graph = self.definitions.resolve_asset_graph()
        wanted = dg.AssetSelection.assets("model_in_service").upstream().resolve(graph)
        return {key for key in wanted if graph.get(key).partitions_def is None}

    def _run(self, batch: str | None, keys: set[dg.AssetKey], settings: dict[str, dict]) -> None:
        job = self.definitions.resolve_implicit_global_asset_job_def()
        job.execute_in_process(
            instance=self.instance,
            partition_key=batch,
            asset_selection=sorted(keys),
            run_config={"ops": {name: {"config": fields} for name, fields in settings.items()}},
        )

    def _fill(self, batch: str, numbers: range) -> None:
        """What ingestion and the text stage leave of fifty frames, by the recipes that they have now."""
        store = Store(self.root)
        frames = [small_frame(number) for number in numbers]
        tables = {
            "scans": pa.Table.from_pylist([scan_row(frame) for frame in frames], schema=SCANS),
            "burned_in_text": pa.Table.from_pylist(
                [{"image_id": frame["image_id"], "word": -1} for frame in frames], schema=BURNED_IN_TEXT
            ),
            "pseudo_labels": pa.Table.from_pylist(
                [{"image_id": f["image_id"], "view": f["view"], "reason": "labelled"} for f in frames],
                schema=PSEUDO_LABELS,
            ),
            "clean_images": pa.Table.from_pylist([clean_row(frame) for frame in frames], schema=CLEAN_IMAGES),
        }
        (self.root / "inbox" / batch).mkdir(parents=True)
        (self.root / "inbox" / batch / "delivered.txt").write_text(batch)  # the folder is there, as it would be
        for asset, table in tables.items():
            plan = plan_asset(asset, self.resource.get(), batch)
            with store.write(asset, batch, plan.recipe, plan.inputs) as draft:
                draft.write_table(table)
                if asset == "scans":
                    pq.write_table(REJECTED_SCANS.empty_table(), draft.path("rejected.parquet"))


def small_frame(number: int) -> dict:
    """A tiny picture of noise over a shape that its view decides; drawing phantoms would take most of the time."""
    random = np.random.default_rng(number)
    view = int(random.integers(len(VIEWS)))
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    shape = np.sin(6 * x * (1 + view % 4)) * np.cos(6 * y * (1 + view // 4))
    pixels = (90 + 60 * shape + random.normal(0, 25, (SIDE, SIDE))).clip(0, 255).astype(np.uint8)
    subject = digest(["subject", number // 10])[:32]
    return {"image_id": digest(["image", number]), "png": encode_png(pixels), "view": VIEWS[view], "subject": subject}


def scan_row(frame: dict) -> dict:
    sizes = {"height": SIDE, "width": SIDE, "region_x0": 0, "region_y0": 0, "region_x1": SIDE, "region_y1": SIDE}
    return sizes | {
        "image_id": frame["image_id"],
        "png": frame["png"],
        "source_sha256": frame["image_id"],
        "file_key": frame["image_id"][:32],
        "frame_index": 0,
        "n_frames": 1,
        "subject_key": frame["subject"],
        "subject_source": "path",
        "source_format": "png",
        "region_source": "picture",
        "content": "b_mode",
    }


def clean_row(frame: dict) -> dict:
    return {
        "image_id": frame["image_id"],
        "subject_key": frame["subject"],
        "subject_source": "path",
        "image": {"bytes": frame["png"], "path": None},
        "height": SIDE,
        "width": SIDE,
        "crop_x0": 0,
        "crop_y0": 0,
        "fan_confidence": 1.0,
        "ink_share": 0.0,
        "repairs": 0,
    }


def report(rows: list[dict], sizes: list[int], frames: int) -> None:
    """Medians, and ratios to the smallest size pair by pair."""
    assets = [name for name in rows[0] if name not in ("size", "repeat", "total")]
    print(f"\n{frames} frames arrive; wall seconds, median of {1 + max(row['repeat'] for row in rows)}")
    print("| in service | run | ratio (least to most) | " + " | ".join(assets) + " |")
    print("|--:|--:|--:|" + "--:|" * len(assets))
    for size in sizes:
        mine = [row for row in rows if row["size"] == size]
        ratios = [row["total"] / alone(rows, sizes, row["repeat"]) for row in mine]
        medians = " | ".join(f"{statistics.median(row[name] for row in mine):.2f}" for name in assets)
        total = statistics.median(row["total"] for row in mine)
        spread = f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"| {size} | {total:.1f} | {spread} | {medians} |")


def alone(rows: list[dict], sizes: list[int], repeat: int) -> float:
    """Seconds of the same repeat's run at the smallest size."""
    return next(row["total"] for row in rows if row["size"] == sizes[0] and row["repeat"] == repeat)


def plot(rows: list[dict], sizes: list[int], frames: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.plot([row["size"] for row in rows], [row["total"] for row in rows], "o", color="#4477aa", alpha=0.5)
    medians = [statistics.median(row["total"] for row in rows if row["size"] == size) for size in sizes]
    axes.plot(sizes, medians, "-", color="#4477aa", label="the run, median")
    axes.axhline(1.3 * medians[0], color="#999999", linestyle="--", label="1.3 times the smallest")
    served = [statistics.median(row["batch_assignments"] for row in rows if row["size"] == size) for size in sizes]
    axes.plot(sizes, served, "s-", color="#cc6677", label="of it, embedding and assigning")
    axes.set(xscale="log", xlabel="frames in service", ylabel=f"seconds for {frames} new frames", ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
