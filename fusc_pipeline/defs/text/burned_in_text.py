"""Burnt-in text: read it, name the view it gives. The reading is `text`'s part; removal is in `clean_images`."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.compute import usable_cores
from fusc_pipeline.base.schemas import BURNED_IN_TEXT, PSEUDO_LABELS
from fusc_pipeline.defs.engine.config_fields import AssetConfig, ParallelConfig
from fusc_pipeline.defs.engine.preview import counts_table
from fusc_pipeline.defs.engine.progress import Counting
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.grow import MANIFEST, grow_table
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    import pyarrow.dataset as pads

NO_WORD, UNREAD = -1, -2  # in place of a word's index


class BurnedInTextConfig(ParallelConfig):
    """How text is found and read."""

    engine: Literal["easyocr", "rapidocr"] = Field(
        default="easyocr",
        description="Which engine reads: EasyOCR, or RapidOCR (PP-OCRv6), which also checks the cleaned.",
    )
    canvas: int = Field(
        default=0,
        ge=0,
        le=2048,
        description="Longest side in pixels the text detector sees, 0: the engine's own; cost grows with its square.",
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


@stored_asset(
    per_batch=True,
    deps=["scans"],
    group="text",
    kinds={"easyocr", "parquet"},
    code_version="3",
    gpu=True,
)
def burned_in_text(context: Request, config: BurnedInTextConfig, store: Store) -> Work:
    """Every word burnt into a frame: where it is, how sure the engine is, and which view it names, if any.

    The string itself is dropped (it may be a name) unless `keep_text` is set. Frames read before are not read again.
    """
    from fusc_pipeline.text.engines import engine_factory, engine_identity
    from fusc_pipeline.text.lexicon import lexicon_identity

    batch = context.partition_key

    def read(todo: list[str]) -> Iterator[tuple[str, list[dict]]]:
        from fusc_pipeline.text.pool import read_frames

        if not todo:
            return
        engine = engine_factory(config.engine, config.canvas, Path(config.weights) if config.weights else None)
        frames = _frames(store.dataset("scans", batch), todo)
        workers = config.workers or usable_cores()
        reading = read_frames(frames, engine, workers, memory_limit=int(config.memory_gb * 2**30))
        tell = Counting(context.log.info, "burned_in_text", len(todo))
        for done, found in enumerate(reading, start=1):
            if found.words is None:
                context.log.warning(f"burned_in_text: frame {found.image_id[:16]} is quarantined: {found.error}")
                yield found.image_id, [{"image_id": found.image_id, "word": UNREAD}]
            else:
                yield found.image_id, _word_rows(found.image_id, found.words, config.keep_text)
            tell(done)

    def produce(draft):
        wanted = store.table("scans", batch, ["image_id"]).column("image_id").to_pylist()
        grown = grow_table(
            store,
            draft,
            "burned_in_text",
            batch,
            draft.recipe.key,
            BURNED_IN_TEXT,
            wanted,
            read,
            afresh=config.force,
        )
        draft.metadata |= {
            "frames": len(wanted),
            "frames_read_now": grown.computed,
            "frames_kept": grown.kept,
            "frames_kept_from_other_batches": grown.from_other_batches,
            "raw_text": "kept; it may hold names" if config.keep_text else "not kept",
            "preview": {"md": _words_found(draft.path("table.parquet"))},
        }

    return Work(
        produce,
        extra=engine_identity(config.engine, config.canvas) | lexicon_identity(),
        holds=[TABLE, MANIFEST],
        incremental=True,
    )


class PseudoLabelsConfig(AssetConfig):
    """When a reading counts as a label."""

    min_score: float = Field(
        default=0.2, ge=0.0, le=1.0, description="Matches whose score times OCR confidence is lower do not count."
    )


@stored_asset(
    per_batch=True,
    deps=["burned_in_text"],
    group="text",
    kinds={"parquet"},
    code_version="1",
)
def pseudo_labels(context: Request, config: PseudoLabelsConfig, store: Store) -> Work:
    """The view each frame's own text names, or none and why: ambiguous text gives no label, never a guess."""
    batch = context.partition_key

    def produce(draft):
        from fusc_pipeline.text.labels import Reading, label_readings

        frames: dict[str, list[dict]] = {}
        columns = ["image_id", "word", "confidence", "n_views", "view", "alias", "match_score"]
        for row in store.table("burned_in_text", batch, columns).to_pylist():
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
            "views": {"md": counts_table(table, "view", "view")},
            "reasons": {"md": counts_table(table, "reason", "reason")},
        }

    return Work(produce)


def _frames(scans: "pads.Dataset", ids: list[str]) -> Iterator[tuple[str, bytes]]:
    """(image_id, PNG) of the frames with these ids, in the table's order, a few in memory at a time."""
    import pyarrow.compute as pc

    wanted = pc.field("image_id").isin(pa.array(ids))
    for piece in scans.to_batches(columns=["image_id", "png"], filter=wanted, batch_size=16):
        yield from zip(piece.column(0).to_pylist(), piece.column(1).to_pylist(), strict=True)


def _words_found(path: Path) -> str:
    """How many words name which view; never a word."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["view"])
    return counts_table(table, "view", "view that a word names", none="(no view)", unit="words")


def _word_rows(image_id: str, words: list, keep_text: bool) -> list[dict]:
    """Rows of `schemas.BURNED_IN_TEXT` for one frame; one row of its own when nothing was found."""
    from fusc_pipeline.text.labels import readings_of
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
            "angle": word.angle,
            "n_views": reading.n_views,
            "view": reading.view,
            "alias": reading.alias,
            "match_score": reading.match_score,
            "text": word.text if keep_text else None,
        }
        for index, (word, reading) in enumerate(zip(words, readings_of(words, match_words(words)), strict=True))
    ]
    return rows or [{"image_id": image_id, "word": NO_WORD}]
