"""The audit of the text removal: is any text left, does what was repainted give the label away?

Counting, windows, the probe and pictures are `evaluation`'s, reading is `text`'s part; here they are fed from tables.
Where a view classifier looks is in `attention_audit`.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field

from fusc_pipeline.base.compute import usable_cores
from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.base.hashing import digest
from fusc_pipeline.base.schemas import INPAINTING_AUDIT
from fusc_pipeline.defs.engine.config_fields import ParallelConfig
from fusc_pipeline.defs.engine.failures import refusals
from fusc_pipeline.defs.engine.materialize import batch_versions
from fusc_pipeline.defs.engine.networks import clean_pngs
from fusc_pipeline.defs.engine.preview import image_markdown
from fusc_pipeline.defs.engine.stored_asset import stored_asset
from fusc_pipeline.defs.engine.work import Request, Work
from fusc_pipeline.defs.evaluation.attention_audit import AttentionConfig, MapPicture, look
from fusc_pipeline.defs.evaluation.before_after import side_by_side
from fusc_pipeline.store.draft import TABLE
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    import numpy as np

    from fusc_pipeline.audits.removal_audit import Leak, Worst
    from fusc_pipeline.audits.residual import Found
    from fusc_pipeline.store.store import Draft

GROUP = "evaluation"
WORST, MAPS = "worst.json", "attention.json"
TEXT_STAGE = ("scans", "burned_in_text", "clean_images")
# A reading process costs as much to start as this many frames to read.
FRAMES_PER_WORKER = 100


# Both read every frame of the sample: they share neither weights nor code, so one sees what the other misses.
ENGINES = ("easyocr", "rapidocr")


class InpaintingAuditConfig(ParallelConfig, AttentionConfig):
    """How much is looked at, and what is still good."""

    sample: int = Field(default=200, ge=1, le=100_000, description="Clean images that are read again by both engines.")
    seed: int = Field(default=0, ge=0, description="Which images, and how the networks start.")
    probe_frames: int = Field(default=2000, ge=0, le=100_000, description="Most labelled images for the leak probe.")
    probe_steps: int = Field(default=300, ge=1, le=100_000, description="Training steps of each network of the probe.")
    pictures: int = Field(default=6, ge=0, le=50, description="Worst cases that are shown.")
    tolerated_residual: float = Field(
        default=0.0,
        ge=0.0,
        le=1.0,
        description="Share of the sample that may show a word and still pass.",
    )
    tolerated_leak: float = Field(
        default=0.05, ge=0.0, le=1.0, description="Leak (difference of shares) above which the check warns for certain."
    )
    weights: str = Field(
        default="",
        description="Folder of EasyOCR's two weight files; empty: FUSC_OCR_WEIGHTS, else the installed package.",
        json_schema_extra={"runtime": True},  # their hashes are what decides, and those are fixed
    )


@stored_asset(
    deps=["corpus", *TEXT_STAGE],
    group=GROUP,
    kinds={"easyocr", "torch", "parquet"},
    code_version="2",
    gpu=True,
)
def inpainting_audit(context: Request, config: InpaintingAuditConfig, store: Store) -> Work:
    """Was the text removed? Words two engines still read on a sample; whether a network reads the label from its place;
    whether a view classifier looks there.

    The delivered pixels are looked at for comparison only; pictures show cleaned frames, with boxes around what was.
    """
    from fusc_pipeline.text.engines import engine_identity

    corpus = store.table("corpus", columns=["image_id", "scan_batch", "subject_key", "view", "split"])
    inputs = batch_versions(store, TEXT_STAGE, sorted(corpus.column("scan_batch").unique().to_pylist()))

    def audit(draft):
        import pyarrow.compute as pc

        from fusc_pipeline.audits.removal_audit import leak_rows, residual_rows, worst_frames

        words = words_on(store, corpus)
        labelled = corpus.filter(pc.field("view").is_valid())
        sample = _drawn(corpus, config.sample, config.seed)
        pngs = dict(clean_pngs(store, sample))
        found = {engine: _read_again(engine, pngs, config) for engine in ENGINES}
        context.log.info(f"inpainting_audit: {len(pngs)} images read again by {' and '.join(found)}")
        leak, reason = _leak(store, labelled, words, config)
        left = {i for frames in found.values() for i, frame in frames.items() if frame.words}
        learned = _drawn(labelled, config.attention_frames, config.seed)
        looked = look(context.log, store, learned, words, config, config.seed, unshown=left)
        rows = residual_rows(found) + leak_rows(leak, reason) + looked.rows
        draft.write_table(pa.Table.from_pylist(rows, schema=INPAINTING_AUDIT))
        worst = worst_frames(found, _ink_shares(store, sample), config.pictures)
        covered = _draw_worst(draft, worst, pngs, words)
        _keep_maps(draft, looked.pictures)
        draft.metadata |= {"dagster/row_count": len(rows), "figures": {"md": _figures(rows)}}
        if covered:
            draft.metadata["worst"] = {"md": image_markdown(covered, "the worst of the sample; text was in the boxes")}

    def produce(draft):
        # Delivered pixels are decoded here, which only an asset of the text stage may tell about in its own words.
        with refusals(private=store.private):
            audit(draft)

    extra = {"engines": [engine_identity(engine) for engine in ENGINES]}
    return Work(produce, upstream=["corpus"], inputs=inputs, extra=extra, holds=[TABLE, WORST, MAPS])


def _drawn(frames: pa.Table, most: int, seed: int) -> pa.Table:
    """Up to `most` frames in an order by hash: a grown corpus keeps most of its sample."""
    ids = frames.column("image_id").to_pylist()
    order = sorted(range(len(ids)), key=lambda place: digest([seed, ids[place]]))
    return frames.take(pa.array(sorted(order[:most]), pa.int64()))


def _column(frames: pa.Table, name: str) -> dict[str, str]:
    """image_id → the value of a column."""
    return dict(zip(frames.column("image_id").to_pylist(), frames.column(name).to_pylist(), strict=True))


def words_on(store: Store, corpus: pa.Table) -> dict[str, list[dict]]:
    """image_id → the words that were read on the scan, boxes in pixels of the cleaned frame."""
    import pyarrow.compute as pc

    found: dict[str, list[dict]] = {}
    for batch in corpus.column("scan_batch").unique().to_pylist():
        ids = corpus.filter(pc.field("scan_batch") == batch).column("image_id").combine_chunks()
        of_batch = pc.field("image_id").isin(ids)
        crops = store.dataset("clean_images", batch).to_table(["image_id", "crop_x0", "crop_y0"], filter=of_batch)
        origin = {row["image_id"]: (row["crop_x0"], row["crop_y0"]) for row in crops.to_pylist()}
        columns = ["image_id", "word", "x0", "y0", "x1", "y1", "view"]
        rows = store.dataset("burned_in_text", batch).to_table(columns, filter=of_batch & (pc.field("word") >= 0))
        for row in rows.to_pylist():
            left, top = origin[row["image_id"]]
            box = (row["x0"] - left, row["y0"] - top, row["x1"] - left, row["y1"] - top)
            found.setdefault(row["image_id"], []).append({"box": box, "view": row["view"]})
    return found


def _read_again(engine: str, pngs: Mapping[str, bytes], config: InpaintingAuditConfig) -> dict[str, "Found"]:
    """image_id → what this engine still finds on the cleaned frame."""
    from fusc_pipeline.audits.residual import found_on
    from fusc_pipeline.text.engines import engine_factory
    from fusc_pipeline.text.pool import read_frames

    make = engine_factory(engine, weights=Path(config.weights) if config.weights else None)
    workers = min(config.workers or usable_cores(), len(pngs) // FRAMES_PER_WORKER)
    found = {}
    for reading in read_frames(pngs.items(), make, workers):
        if reading.words is None:
            raise BadInput(f"clean image {reading.image_id[:16]} could not be read again: {reading.error}")
        words = [((w.x0, w.y0, w.x1, w.y1), w.text, w.confidence) for w in reading.words]
        found[reading.image_id] = found_on(words)
    return found


def _leak(
    store: Store, labelled: pa.Table, words: Mapping[str, list[dict]], config: InpaintingAuditConfig
) -> "tuple[Leak | None, str | None]":
    """(what the probe found, None), or (None, why it was not measured)."""
    import numpy as np

    from fusc_pipeline.audits.leak_probe import ProbeConfig, measure_leak, too_few
    from fusc_pipeline.audits.removal_audit import CONTROL, FORMER, UNCLEANED
    from fusc_pipeline.audits.windows import union

    labelled = _drawn(labelled, config.probe_frames, config.seed)
    view_of = _column(labelled, "view")
    named = {i: [w["box"] for w in words.get(i, ()) if w["view"] == view] for i, view in view_of.items()}
    boxes = {image_id: union(found) for image_id, found in named.items() if found}
    heights = [box[3] - box[1] for found in named.values() for box in found]
    text_height = float(np.median(heights)) if heights else 1.0
    cuts = dict(_windows(store, labelled, boxes, words, text_height))
    subject_of = _column(labelled, "subject_key")
    ids = sorted(cuts)
    views, subjects = [view_of[i] for i in ids], [subject_of[i] for i in ids]
    if reason := too_few(views, subjects):
        return None, reason
    windows = {name: np.stack([cuts[i][name] for i in ids]) for name in (FORMER, CONTROL, UNCLEANED)}
    probe = ProbeConfig(steps=config.probe_steps, seed=config.seed)
    return measure_leak(windows, views, subjects, probe, config.compute()), None


def _windows(
    store: Store, frames: pa.Table, boxes: Mapping, words: Mapping[str, list[dict]], text_height: float
) -> Iterator[tuple[str, dict[str, "np.ndarray"]]]:
    """(image_id, windows by what they show) of every frame whose label lay over the picture."""
    import pyarrow.compute as pc

    from fusc_pipeline.audits.removal_audit import CONTROL, FORMER, UNCLEANED
    from fusc_pipeline.audits.windows import cut, place_pair

    for frame in side_by_side(store, frames.filter(pc.field("image_id").isin(pa.array(list(boxes), pa.string())))):
        of_frame = [word["box"] for word in words[frame.image_id]]
        pair = place_pair(frame.fan, boxes[frame.image_id], of_frame, text_height)
        if pair is not None:
            cuts = {
                FORMER: cut(frame.clean, pair.former, text_height),
                CONTROL: cut(frame.clean, pair.control, text_height),
                UNCLEANED: cut(frame.delivered * frame.fan, pair.former, text_height),
            }
            yield frame.image_id, cuts


def _ink_shares(store: Store, sample: pa.Table) -> dict[str, float]:
    import pyarrow.compute as pc

    shares: dict[str, float] = {}
    wanted = pc.field("image_id").isin(sample.column("image_id").combine_chunks()) & pc.field("ink_share").is_valid()
    for batch in sample.column("scan_batch").unique().to_pylist():
        table = store.dataset("clean_images", batch).to_table(["image_id", "ink_share"], filter=wanted)
        shares |= zip(table.column(0).to_pylist(), table.column(1).to_pylist(), strict=True)
    return shares


def _draw_worst(
    draft: "Draft", worst: "list[Worst]", pngs: Mapping[str, bytes], words: Mapping[str, list[dict]]
) -> bytes | None:
    """Write the worst cases' pictures and their list; returns them side by side for the asset's metadata.

    Run history and report may travel, so there a word that is still on a frame is painted over.
    """
    from fusc_pipeline.audits.windows import INSIDE, fan_area, inside_share
    from fusc_pipeline.audits.worst_pictures import outlined, strip
    from fusc_pipeline.base.png import decode_png

    listed, covered = [], []
    for place, case in enumerate(worst, start=1):
        clean = decode_png(pngs[case.image_id])
        fan = fan_area(clean)
        boxes = [word["box"] for word in words.get(case.image_id, ())]
        former = [box for box in boxes if inside_share(fan, box) >= INSIDE]
        name = f"worst-{place:02d}"
        draft.path(f"{name}.png").write_bytes(outlined(clean, former, case.left))
        covered.append(outlined(clean, former, case.left, cover=True))
        draft.path(f"{name}-covered.png").write_bytes(covered[-1])
        listed.append(
            {"picture": f"{name}.png", "covered": f"{name}-covered.png", "image_id": case.image_id, "why": case.why}
        )
    draft.path(WORST).write_text(json.dumps(listed, indent=1))
    return strip(covered)


def _keep_maps(draft: "Draft", pictures: list[MapPicture]) -> None:
    listed = []
    for place, shown in enumerate(pictures, start=1):
        name = f"attention-{place:02d}.png"
        draft.path(name).write_bytes(shown.png)
        listed.append({"picture": name, "image_id": shown.image_id, "view": shown.view, "why": shown.why})
    draft.path(MAPS).write_text(json.dumps(listed, indent=1))


def _figures(rows: list[dict]) -> str:
    lines = ["| measure | by | n | count | value | 95 % | |", "|---|---|--:|--:|--:|---|---|"]
    for r in rows:
        if ": " in r["by"]:  # of one view; the table has them
            continue
        between = "" if r["low"] is None else f"{r['low']:.3f} to {r['high']:.3f}"
        value = "" if r["value"] is None else f"{r['value']:.3f}"
        count = "" if r["count"] is None else r["count"]
        lines.append(f"| {r['measure']} | {r['by']} | {r['n']} | {count} | {value} | {between} | {r['detail'] or ''} |")
    return "\n".join(lines)
