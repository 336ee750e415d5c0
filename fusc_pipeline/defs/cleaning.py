"""Text removal as an asset: scans and their words to text-free frames. The painting is `cleaning` and `text`'s part."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa

from fusc_pipeline.defs.incremental import grow_table
from fusc_pipeline.defs.materialize import ParallelConfig, column_schema, materialize
from fusc_pipeline.defs.partitions import scan_batches
from fusc_pipeline.defs.preview import counts_table, image_strip
from fusc_pipeline.defs.text import NO_WORD, UNREAD
from fusc_pipeline.parallel import ordered_map
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.schemas import CLEAN_IMAGES

if TYPE_CHECKING:
    import pyarrow.dataset as pads

LOG_EVERY_IMAGES = 256


@dg.asset(
    partitions_def=scan_batches,
    deps=["scans", "burned_in_text"],
    group_name="text",
    kinds={"opencv", "parquet"},
    code_version="1",
    metadata=column_schema("clean_images"),
)
def clean_images(
    context: dg.AssetExecutionContext, config: ParallelConfig, store: StoreResource
) -> dg.MaterializeResult:
    """Text-free frames: zero outside the fan, repainted where ink was, cropped to the ultrasound region.

    A frame without a reliable fan is quarantined with the reason: it stays in the table and goes nowhere else.
    """
    from fusc_pipeline.cleaning import clean_scan

    files, batch = store.get(), context.partition_key

    def clean(todo: list[str]) -> Iterator[tuple[str, list[dict]]]:
        if not todo:
            return
        scans = _scans_to_clean(files.dataset("scans", batch), files.table("burned_in_text", batch), todo)
        for done, row in enumerate(ordered_map(clean_scan, scans, config.workers), start=1):
            yield row["image_id"], [row]
            if done % (LOG_EVERY_IMAGES) == 0:
                context.log.info(f"clean_images: {done} of {len(todo)} frames cleaned")

    def produce(draft):
        import pyarrow.compute as pc
        import pyarrow.dataset as pads

        wanted = files.table("scans", batch, ["image_id"]).column("image_id").to_pylist()
        new, kept = grow_table(files, draft, "clean_images", batch, draft.recipe.key, CLEAN_IMAGES, wanted, clean)
        table = pads.dataset(draft.path("table.parquet")).to_table(columns=["quarantined", "ink_share"])
        quarantined = table.column("quarantined").drop_null()
        draft.metadata |= {
            "dagster/row_count": len(wanted),
            "frames_cleaned_now": new,
            "frames_kept": kept,
            "quarantined": len(quarantined),
            "mean_ink_share": round(pc.mean(table.column("ink_share")).as_py() or 0.0, 5),
            "quarantine_reasons": {"md": counts_table(table, "quarantined", "reason", none="(passed on)")},
            "preview": {"md": _preview(draft.path("table.parquet"))},
        }

    # Words read under another recipe give another ink mask, so rows may be kept only under the same reading.
    reading = files.record("burned_in_text", batch)
    return materialize(
        context,
        files,
        config,
        produce,
        upstream=["scans", "burned_in_text"],
        extra={"reading": reading.recipe if reading else ""},
        incremental=True,
    )


def _scans_to_clean(scans: "pads.Dataset", words: pa.Table, ids: list[str]) -> Iterator:
    import pyarrow.compute as pc

    from fusc_pipeline.cleaning import Scan
    from fusc_pipeline.text.engine import Word

    by_image: dict[str, list[Word]] = {}
    unread = set()
    for row in words.select(["image_id", "word", "x0", "y0", "x1", "y1", "confidence"]).to_pylist():
        if row["word"] == UNREAD:
            unread.add(row["image_id"])
        elif row["word"] != NO_WORD:
            word = Word(row["x0"], row["y0"], row["x1"], row["y1"], "", row["confidence"])
            by_image.setdefault(row["image_id"], []).append(word)
    columns = ["image_id", "png", "subject_key", "subject_source", "machine", "region_source"]
    columns += ["region_x0", "region_y0", "region_x1", "region_y1"]
    wanted = pc.field("image_id").isin(pa.array(ids))
    for piece in scans.to_batches(columns=columns, filter=wanted, batch_size=16):
        for row in piece.to_pylist():
            region = tuple(row[f"region_{side}"] for side in ("x0", "y0", "x1", "y1"))
            yield Scan(
                image_id=row["image_id"],
                png=row["png"],
                region=region if row["region_source"] == "dicom" else None,
                words=None if row["image_id"] in unread else tuple(by_image.get(row["image_id"], ())),
                subject_key=row["subject_key"],
                subject_source=row["subject_source"],
                machine=row["machine"],
            )


def _preview(path: Path, n: int = 6) -> str:
    """The first clean images side by side, small enough for the event log."""
    import pyarrow.compute as pc
    import pyarrow.dataset as pads

    piece = pads.dataset(path).scanner(columns=["image"], filter=pc.field("quarantined").is_null()).head(n)
    return image_strip([row["image"]["bytes"] for row in piece.to_pylist()])
