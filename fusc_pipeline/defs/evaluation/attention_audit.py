"""Where a view classifier looks, before and after cleaning: frames are fed to the training and to the measure.

What is measured and why is `audits.attention_rows`' part; the asset is in `inpainting_audit`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field

from fusc_pipeline.defs.engine.networks import ComputeConfig, clean_pngs
from fusc_pipeline.defs.evaluation.before_after import side_by_side
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    import dagster as dg
    import numpy as np

    from fusc_pipeline.audits.attention_rows import Attention


class AttentionConfig(ComputeConfig):
    """The two view classifiers whose attention is compared, and how much of it may lie where text was."""

    attention_frames: int = Field(
        default=3000, ge=0, le=100_000, description="Most labelled images for the two view classifiers; 0: none."
    )
    attention_size: int = Field(
        default=112, ge=96, le=512, description="Side of the square they see, pixels; a map has a cell per 16."
    )
    attention_epochs: int = Field(default=8, ge=1, le=1000, description="Passes of each classifier over its images.")
    attention_batch: int = Field(default=32, ge=2, le=4096, description="Images a step.")
    attention_pictures: int = Field(default=2, ge=0, le=20, description="Frames of each view shown with their maps.")
    # On phantoms (benchmarks/attention.py) cleaned frames reach a lower end of 1.0; where the text area alone tells the
    # label it is 1.4 or more.
    tolerated_attention: float = Field(
        default=1.25,
        ge=1.0,
        le=100.0,
        description="Attention where text was, over that in like areas elsewhere; the check fails when surely above.",
    )


@dataclass(frozen=True)
class MapPicture:
    """PNG bytes of a cleaned frame under both maps, and what is said of it."""

    image_id: str
    view: str
    png: bytes
    why: str


@dataclass(frozen=True)
class Looked:
    """rows of INPAINTING_AUDIT, and the frames on which most attention lay where text was."""

    rows: list[dict]
    pictures: list[MapPicture]


def look(
    log: "dg.DagsterLogManager",
    store: Store,
    labelled: pa.Table,
    words: Mapping[str, list[dict]],
    config: AttentionConfig,
    seed: int,
    unshown: Collection[str],
) -> Looked:
    """Train both classifiers and measure. labelled: rows of the corpus with a view; words: of every image, boxes in its
    pixels; unshown: image_ids that may not be in a picture.

    No weights are kept: those of the second classifier were made from pixels that may show a name.
    """
    import numpy as np

    from fusc_pipeline.audits import attention_masks
    from fusc_pipeline.audits.attention_masks import judged, most_attended, squares_of
    from fusc_pipeline.audits.attention_rows import CLEANED, attention_rows, not_measured, too_few
    from fusc_pipeline.representation.configs import SupervisedConfig

    if not config.attention_frames:
        return Looked(not_measured("not measured: inpainting_audit.attention_frames is 0"), [])
    frames = side_by_side(store, labelled)
    squares = squares_of(frames, labelled.num_rows, words, config.attention_size)
    row_of = {row["image_id"]: row for row in labelled.to_pylist()}
    split, views, subjects = (
        np.array([row_of[i][name] for i in squares.ids], dtype=object) for name in ("split", "view", "subject_key")
    )
    learn = np.flatnonzero(split == "train")
    # A view that is not in the train split has no class to look for.
    test = np.flatnonzero((split == "test") & np.isin(views, list(set(views[learn]))))
    if reason := too_few(
        views[learn].tolist(), subjects[test].tolist(), np.any(squares.area[test], axis=(1, 2)).tolist()
    ):
        return Looked(not_measured(reason), [])
    maps, found = {}, {}
    compute = config.compute()
    recipe = SupervisedConfig(
        epochs=config.attention_epochs,
        batch_size=config.attention_batch,
        warmup_epochs=1,
        backbone=attention_masks.BACKBONE,
        seed=seed,
    )
    for name, pixels in squares.pixels.items():
        maps[name], found[name] = judged(pixels, squares, views, learn, test, recipe, compute)
        right = int((found[name].predicted == views[test]).sum())
        log.info(f"inpainting_audit: a classifier of {name} frames names {right} of {len(test)} held-out views right")
    rows = attention_rows(found, views[test].tolist(), subjects[test].tolist())
    ids = [squares.ids[place] for place in test]
    shown = most_attended(found[CLEANED], views[test], ids, unshown, config.attention_pictures)
    return Looked(rows, _pictures(store, labelled, words, shown, ids, views[test], maps, found))


def _pictures(
    store: Store,
    labelled: pa.Table,
    words: Mapping[str, list[dict]],
    shown: Sequence[int],
    ids: Sequence[str],
    views: "np.ndarray",
    maps: Mapping[str, "np.ndarray"],
    found: "Mapping[str, Attention]",
) -> list[MapPicture]:
    import numpy as np
    import pyarrow.compute as pc

    from fusc_pipeline.audits.attention_masks import scaled, text_area
    from fusc_pipeline.audits.attention_pictures import EDGE, attention_pair
    from fusc_pipeline.audits.attention_rows import CLEANED, UNCLEANED
    from fusc_pipeline.audits.windows import fan_area, fan_hull
    from fusc_pipeline.base.png import decode_png
    from fusc_pipeline.representation.pixels import resized

    chosen = pa.array([ids[place] for place in shown], pa.string())
    pngs = dict(clean_pngs(store, labelled.filter(pc.field("image_id").isin(chosen))))
    pictures = []
    for place in shown:
        image_id = ids[place]
        clean = decode_png(pngs[image_id])
        fan = fan_hull(fan_area(clean))
        area = scaled(text_area(clean.shape, words[image_id]) & fan, EDGE)
        pair = [maps[name][place] for name in (CLEANED, UNCLEANED)]
        png = attention_pair(resized(clean, EDGE), area, scaled(fan, EDGE), pair)
        before, after = (found[name].mass[place] for name in (UNCLEANED, CLEANED))
        why = f"{100 * found[CLEANED].area[place]:.1f} % of the fan, {100 * after:.1f} % of the attention"
        # Without a map nothing speaks for the view: the classifier is sure of another.
        why += "; before cleaning no map" if np.isnan(before) else f"; before cleaning {100 * before:.1f} %"
        pictures.append(MapPicture(image_id, views[place], png, why))
    return pictures
