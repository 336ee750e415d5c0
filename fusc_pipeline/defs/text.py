"""Burnt-in text: read it, name the view it gives, remove it. The reading and painting is `fusc_pipeline.text`' part."""

import functools
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pyarrow as pa
from pydantic import Field

from fusc_pipeline.compute import usable_cores
from fusc_pipeline.defs.gpu import GPU_OP
from fusc_pipeline.defs.incremental import grow_table
from fusc_pipeline.defs.materialize import AssetConfig, ParallelConfig, column_schema, materialize
from fusc_pipeline.defs.partitions import scan_batches
from fusc_pipeline.defs.preview import image_strip
from fusc_pipeline.parallel import ordered_map
from fusc_pipeline.resources.parquet_io import TableHandle
from fusc_pipeline.resources.resource import StoreResource
from fusc_pipeline.schemas import BURNED_IN_TEXT, CLEAN_IMAGES, PSEUDO_LABELS

if TYPE_CHECKING:
    import pyarrow.dataset as pads

LOG_EVERY_IMAGES = 64
NO_WORD, UNREAD = -1, -2  # in place of a word's index


class BurnedInTextConfig(ParallelConfig):
    """How text is found and read."""

    canvas: int = Field(
        default=640,
        ge=320,
        le=2560,
        description="Longest side in pixels the text detector sees; cost grows with its square.",
    )
    weights: str = Field(
        default="",
        description="Folder of EasyOCR's two weight files; empty: FUSC_OCR_WEIGHTS, else the installed package.",
        json_schema_extra={"runtime": True},  # their hashes are what decides, and those are fixed
    )
    memory_gb: float = Field(
        default=2.5,
        ge=1.0,
        le=64.0,
        description="Memory limit of each reading process, in GiB.",
        json_schema_extra={"runtime": True},
    )
    keep_text: bool = Field(
        default=False, description="Keep the raw strings. They may hold names: only for data that is already public."
    )


@dg.asset(
    partitions_def=scan_batches,
    deps=["scans"],
    group_name="text",
    kinds={"easyocr", "parquet"},
    code_version="1",
    metadata=column_schema("burned_in_text"),
    **GPU_OP,
)
def burned_in_text(
    context: dg.AssetExecutionContext, config: BurnedInTextConfig, store: StoreResource
) -> dg.MaterializeResult:
    """Every word burnt into a frame: where it is, how sure the engine is, and which view it names, if any.

    The string itself is dropped (it may be a name) unless `keep_text` is set. Frames read before are not read again.
    """
    from fusc_pipeline.text.weights import WEIGHT_HASHES, resolve_weights

    files, batch = store.get(), context.partition_key

    def read(todo: list[str]) -> Iterator[tuple[str, list[dict]]]:
        from fusc_pipeline.text.easyocr_engine import EasyOcrEngine
        from fusc_pipeline.text.pool import read_frames

        if not todo:
            return
        weights = resolve_weights(Path(config.weights) if config.weights else None)
        engine = functools.partial(EasyOcrEngine, weights, canvas=config.canvas)
        frames = _frames(files.dataset("scans", batch), todo)
        workers = config.workers or usable_cores()
        reading = read_frames(frames, engine, workers, memory_limit=int(config.memory_gb * 2**30))
        for done, found in enumerate(reading, start=1):
            if found.words is None:
                context.log.warning(f"burned_in_text: frame {found.image_id[:16]} is quarantined: {found.error}")
                yield found.image_id, [{"image_id": found.image_id, "word": UNREAD}]
            else:
                yield found.image_id, _word_rows(found.image_id, found.words, config.keep_text)
            if done % LOG_EVERY_IMAGES == 0:
                context.log.info(f"burned_in_text: {done} of {len(todo)} frames read")

    def produce(draft):
        wanted = files.table("scans", batch, ["image_id"]).column("image_id").to_pylist()
        new, kept = grow_table(files, draft, "burned_in_text", batch, draft.recipe.key, BURNED_IN_TEXT, wanted, read)
        draft.metadata |= {"frames": len(wanted), "frames_read_now": new, "frames_kept": kept}

    return materialize(
        context,
        files,
        config,
        produce,
        upstream=["scans"],
        extra={"engine": "easyocr", "weights": WEIGHT_HASHES},
        incremental=True,
    )


class PseudoLabelsConfig(AssetConfig):
    """When a reading counts as a label."""

    min_score: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Matches whose score times OCR confidence is lower do not count."
    )


@dg.asset(
    partitions_def=scan_batches,
    group_name="text",
    kinds={"parquet"},
    code_version="1",
    metadata=column_schema("pseudo_labels"),
)
def pseudo_labels(
    context: dg.AssetExecutionContext, config: PseudoLabelsConfig, store: StoreResource, burned_in_text: TableHandle
) -> dg.MaterializeResult:
    """The view each frame's own text names, or none and why: ambiguous text gives no label, never a guess."""

    def produce(draft):
        from fusc_pipeline.text.labels import Reading, label_readings

        frames: dict[str, list[dict]] = {}
        columns = ["image_id", "word", "confidence", "n_views", "view", "alias", "match_score"]
        for row in burned_in_text.read(columns).to_pylist():
            frames.setdefault(row["image_id"], []).append(row)
        rows = []
        for image_id, words in frames.items():
            if words[0]["word"] == UNREAD:
                rows.append({"image_id": image_id, "reason": "unread"})
                continue
            readings = [
                Reading(w["confidence"], w["n_views"], w["view"], w["alias"], w["match_score"])
                for w in words
                if w["word"] != NO_WORD
            ]
            rows.append({"image_id": image_id, **asdict(label_readings(readings, config.min_score))})
        table = pa.Table.from_pylist(rows, schema=PSEUDO_LABELS)
        draft.write_table(table)
        labelled = sum(row["view"] is not None for row in rows)
        draft.metadata |= {
            "dagster/row_count": len(rows),
            "labelled": labelled,
            "coverage": round(labelled / max(len(rows), 1), 4),
            "views": {"md": _counts(table, "view", "view")},
            "reasons": {"md": _counts(table, "reason", "reason")},
        }

    return materialize(context, store.get(), config, produce, upstream=["burned_in_text"])


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
            if done % (LOG_EVERY_IMAGES * 4) == 0:
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
            "quarantine_reasons": {"md": _counts(table, "quarantined", "reason", none="(passed on)")},
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


def _frames(scans: "pads.Dataset", ids: list[str]) -> Iterator[tuple[str, bytes]]:
    """(image_id, PNG) of the frames with these ids, in the table's order, a few in memory at a time."""
    import pyarrow.compute as pc

    wanted = pc.field("image_id").isin(pa.array(ids))
    for piece in scans.to_batches(columns=["image_id", "png"], filter=wanted, batch_size=16):
        yield from zip(piece.column(0).to_pylist(), piece.column(1).to_pylist(), strict=True)


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


def _word_rows(image_id: str, words: list, keep_text: bool) -> list[dict]:
    """Rows of `schemas.BURNED_IN_TEXT` for one frame; one row of its own when nothing was found."""
    from fusc_pipeline.text.lexicon import views_named
    from fusc_pipeline.text.matching import match_words

    rows = [
        {
            "image_id": image_id,
            "word": index,
            "x0": word.x0,
            "y0": word.y0,
            "x1": word.x1,
            "y1": word.y1,
            "confidence": word.confidence,
            "n_views": len(views_named(word.text)),
            "view": match.view if match else None,
            "alias": match.alias if match else None,
            "match_score": match.score if match else None,
            "text": word.text if keep_text else None,
        }
        for index, (word, match) in enumerate(zip(words, match_words(words), strict=True))
    ]
    return rows or [{"image_id": image_id, "word": NO_WORD}]


def _counts(table: pa.Table, column: str, title: str, none: str = "(none)") -> str:
    """A small Markdown table of how often each value occurs."""
    found = sorted(table.column(column).value_counts().to_pylist(), key=lambda r: -r["counts"])
    lines = [f"| {title} | frames |", "|---|--:|"]
    return "\n".join(lines + [f"| {r['values'] or none} | {r['counts']} |" for r in found])


def _preview(path: Path, n: int = 6) -> str:
    """The first clean images side by side, small enough for the event log."""
    import pyarrow.compute as pc
    import pyarrow.dataset as pads

    piece = pads.dataset(path).scanner(columns=["image"], filter=pc.field("quarantined").is_null()).head(n)
    return image_strip([row["image"]["bytes"] for row in piece.to_pylist()])
