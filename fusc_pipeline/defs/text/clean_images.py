"""Text removal as an asset: scans and their words to text-free frames. The painting is `text.clean_scan`'s part."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.base.schemas import CLEAN_IMAGES, CONTENTS
from fusc_pipeline.defs.engine.config_fields import ParallelConfig
from fusc_pipeline.defs.engine.preview import counts_table, image_strip
from fusc_pipeline.defs.engine.progress import Counting
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.text.burned_in_text import NO_WORD, UNREAD
from fusc_pipeline.host.worker_pool import ordered_map
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.grow import MANIFEST, Facts, grow_table
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    import pyarrow.dataset as pads


class CleanImagesConfig(ParallelConfig):
    """Which frames are let on, and whether what was removed is checked."""

    check_text: bool = Field(
        default=True,
        description="Read each cleaned frame with the second OCR engine; what it still reads is removed as well, and a "
        "frame that stays readable is quarantined.",
    )
    contents: list[str] = Field(
        default=["b_mode"],
        description=f"What a frame may show to be let on, of {', '.join(CONTENTS)}; all others are quarantined. Colour "
        "flow is passed on as grey.",
    )


@stored_asset(
    per_batch=True,
    deps=["scans", "burned_in_text"],
    group="text",
    kinds={"opencv", "parquet"},
    code_version="3",
)
def clean_images(context: Request, config: CleanImagesConfig, store: Store) -> Work:
    """Text-free frames: zero outside the fan, repainted where ink was, read again, cropped to the ultrasound region.

    A frame without a reliable fan, with text that stays readable, or of other content is quarantined with the reason:
    it stays in the table and goes nowhere else.
    """
    from fusc_pipeline.text.clean_scan import Cleaning, checker_identity, clean_scan

    batch = context.partition_key
    cleaning = Cleaning(config.check_text, tuple(config.contents))

    def clean(todo: list[str]) -> Iterator[tuple[str, list[dict]]]:
        if not todo:
            return
        scans = _scans_to_clean(store.dataset("scans", batch), store.table("burned_in_text", batch), todo)
        tell = Counting(context.log.info, "clean_images", len(todo))
        for done, row in enumerate(ordered_map(partial(clean_scan, cleaning=cleaning), scans, config.workers), start=1):
            yield row["image_id"], [row]
            tell(done)

    def produce(draft):
        import pyarrow.compute as pc
        import pyarrow.dataset as pads

        _check_contents(config.contents)
        basis, facts = _of_this_batch(store, batch)
        grown = grow_table(
            *(store, draft, "clean_images", batch, draft.recipe.key, CLEAN_IMAGES, list(basis), clean),
            basis=basis,
            facts=facts,
            afresh=config.force,
        )
        table = pads.dataset(draft.path("table.parquet")).to_table(columns=["quarantined", "ink_share", "repairs"])
        quarantined = table.column("quarantined").drop_null()
        draft.metadata |= {
            "dagster/row_count": len(basis),
            "frames_cleaned_now": grown.computed,
            "frames_kept": grown.kept,
            "frames_kept_from_other_batches": grown.from_other_batches,
            "quarantined": len(quarantined),
            "repaired": pc.sum(pc.greater(table.column("repairs"), 0)).as_py() or 0,
            "mean_ink_share": round(pc.mean(table.column("ink_share")).as_py() or 0.0, 5),
            "quarantine_reasons": {"md": counts_table(table, "quarantined", "reason", none="(passed on)")},
            "preview": {"md": _preview(draft.path("table.parquet"))},
        }

    # Words read under another recipe give another ink mask, so rows may be kept only under the same reading.
    reading = store.record("burned_in_text", batch)
    return Work(
        produce,
        extra={
            "reading": reading.recipe if reading else "",
            "checker": checker_identity() if config.check_text else None,
        },
        holds=[TABLE, MANIFEST],
        incremental=True,
    )


def _check_contents(contents: list[str]) -> None:
    unknown = [name for name in contents if name not in CONTENTS]
    if unknown or not contents:
        what = f"names {unknown[0]!r}, which is nothing a frame can show" if unknown else "is empty"
        raise BadSetting(f"clean_images.contents {what}; list some of {', '.join(CONTENTS)}")


def _of_this_batch(store: Store, batch: str) -> tuple[dict[str, str], Facts]:
    """Of each scan, in order: what decides how it is cleaned beside its pixels (empty for the common case), and whose
    it is here. The same frame can come with another patient, and with DICOM's region or without, in another batch."""
    region = ["region_x0", "region_y0", "region_x1", "region_y1"]
    facts = ["subject_key", "subject_source", "study_key", "machine"]
    table = store.table("scans", batch, ["image_id", "content", "region_source", *region, *facts])
    words = store.table("burned_in_text", batch, ["image_id", "word"]).to_pylist()
    unread = {row["image_id"] for row in words if row["word"] == UNREAD}
    basis, own = {}, {}
    for row in table.to_pylist():
        identity, parts = row["image_id"], []
        if row["region_source"] == "dicom":
            parts.append("dicom " + " ".join(str(row[side]) for side in region))
        parts += [row["content"]] * (row["content"] != "b_mode") + ["unread"] * (identity in unread)
        basis[identity] = "; ".join(parts)
        own[identity] = {name: row[name] for name in facts}
    return basis, own


def _scans_to_clean(scans: "pads.Dataset", words: pa.Table, ids: list[str]) -> Iterator:
    import pyarrow.compute as pc

    from fusc_pipeline.text.clean_scan import Scan
    from fusc_pipeline.text.engine import Word

    by_image: dict[str, list[Word]] = {}
    unread = set()
    for row in words.select(["image_id", "word", "x0", "y0", "x1", "y1", "confidence", "angle"]).to_pylist():
        if row["word"] == UNREAD:
            unread.add(row["image_id"])
        elif row["word"] != NO_WORD:
            word = Word(row["x0"], row["y0"], row["x1"], row["y1"], "", row["confidence"], row["angle"])
            by_image.setdefault(row["image_id"], []).append(word)
    columns = ["image_id", "png", "subject_key", "subject_source", "study_key", "machine", "content", "region_source"]
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
                study_key=row["study_key"],
                machine=row["machine"],
                content=row["content"],
            )


def _preview(path: Path, n: int = 6) -> str:
    """The first clean images side by side, small enough for the event log."""
    import pyarrow.compute as pc
    import pyarrow.dataset as pads

    piece = pads.dataset(path).scanner(columns=["image"], filter=pc.field("quarantined").is_null()).head(n)
    return image_strip([row["image"]["bytes"] for row in piece.to_pylist()])
