"""Where a view classifier looks, before and after cleaning: frames are fed to the training and to the measure.

What is measured and why is `evaluation.attention_rows`' part; the asset is in `audit`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
from pydantic import Field

from fusc_pipeline.defs.models import ComputeConfig, clean_pngs
from fusc_pipeline.defs.uncleaned import side_by_side
from fusc_pipeline.resources.store import Store

if TYPE_CHECKING:
    import dagster as dg
    import numpy as np

    from fusc_pipeline.base.compute import Compute
    from fusc_pipeline.evaluation.attention_rows import Attention

# The last block's map is a sixteenth of the image wide: 7 x 7 cells at 112 pixels.
BACKBONE = "resnet18_fine"


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


@dataclass(frozen=True)
class Squares:
    """N frames as the networks see them: uint8 (N, S, S) by CLEANED and UNCLEANED, areas and fans bool (N, S, S)."""

    ids: list[str]
    pixels: Mapping[str, "np.ndarray"]
    area: "np.ndarray"
    fan: "np.ndarray"


def look(
    log: "dg.DagsterLogManager",
    files: Store,
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

    from fusc_pipeline.evaluation.attention_rows import CLEANED, attention_rows, not_measured, too_few

    if not config.attention_frames:
        return Looked(not_measured("not measured: inpainting_audit.attention_frames is 0"), [])
    squares = squares_of(files, labelled, words, config.attention_size)
    row_of = {row["image_id"]: row for row in labelled.to_pylist()}
    split, views, subjects = (
        np.array([row_of[i][name] for i in squares.ids], dtype=object) for name in ("split", "view", "subject_key")
    )
    learn = np.flatnonzero(split == "train")
    # A view that is not in the train split has no class to look for.
    test = np.flatnonzero((split == "test") & np.isin(views, list(set(views[learn]))))
    if reason := too_few(views[learn].tolist(), subjects[test].tolist(), squares.area[test].any((1, 2)).tolist()):
        return Looked(not_measured(reason), [])
    maps, found = {}, {}
    compute = config.compute()
    for name, pixels in squares.pixels.items():
        maps[name], found[name] = judged(pixels, squares, views, learn, test, config, seed, compute)
        right = int((found[name].predicted == views[test]).sum())
        log.info(f"inpainting_audit: a classifier of {name} frames names {right} of {len(test)} held-out views right")
    rows = attention_rows(found, views[test].tolist(), subjects[test].tolist())
    ids = [squares.ids[place] for place in test]
    shown = _most(found[CLEANED], views[test], ids, unshown, config.attention_pictures)
    return Looked(rows, _pictures(files, labelled, words, shown, ids, views[test], maps, found))


def squares_of(files: Store, labelled: pa.Table, words: Mapping[str, list[dict]], size: int) -> Squares:
    import numpy as np

    from fusc_pipeline.evaluation.attention_rows import CLEANED, UNCLEANED
    from fusc_pipeline.evaluation.windows import fan_hull
    from fusc_pipeline.representation.pixels import resized

    n = labelled.num_rows
    pixels = {name: np.zeros((n, size, size), np.uint8) for name in (CLEANED, UNCLEANED)}
    area, fan = np.zeros((n, size, size), bool), np.zeros((n, size, size), bool)
    ids = []
    for place, frame in enumerate(side_by_side(files, labelled)):
        ids.append(frame.image_id)
        pixels[CLEANED][place] = resized(frame.clean, size)
        whole = fan_hull(frame.fan)
        pixels[UNCLEANED][place] = resized(frame.delivered * whole, size)
        fan[place] = scaled(whole, size)
        area[place] = scaled(text_area(frame.clean.shape, words.get(frame.image_id, ())), size) & fan[place]
    return Squares(ids, pixels, area, fan)


def text_area(shape: tuple[int, ...], words: Sequence[dict]) -> "np.ndarray":
    """(H, W) bool: every word's box, whatever it says; the part off the frame is left out."""
    import numpy as np

    area = np.zeros(shape, bool)
    for word in words:
        x0, y0, x1, y1 = word["box"]
        area[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
    return area


def scaled(mask: "np.ndarray", size: int) -> "np.ndarray":
    """A mask (H, W) bool scaled exactly as a picture is: (size, size) bool, a pixel counts that is half covered."""
    import numpy as np

    from fusc_pipeline.representation.pixels import resized

    return resized(mask.astype(np.uint8) * 255, size) >= 128


def judged(
    pixels: "np.ndarray",
    squares: Squares,
    views: "np.ndarray",
    learn: "np.ndarray",
    test: "np.ndarray",
    config: AttentionConfig,
    seed: int,
    compute: "Compute",
) -> "tuple[np.ndarray, Attention]":
    """One classifier, trained on the rows `learn`: its maps of the rows `test`, and what they come to."""
    import numpy as np

    from fusc_pipeline.clustering.predictions import predict_outputs
    from fusc_pipeline.evaluation.attention import attention_maps, attention_share, control_mass
    from fusc_pipeline.evaluation.attention_rows import Attention
    from fusc_pipeline.representation.augment import plain_view
    from fusc_pipeline.representation.configs import SupervisedConfig
    from fusc_pipeline.representation.supervised import train_supervised

    names, labels = np.unique(views[learn].astype(str), return_inverse=True)
    recipe = SupervisedConfig(
        epochs=config.attention_epochs,
        batch_size=config.attention_batch,
        warmup_epochs=1,
        backbone=BACKBONE,
        seed=seed,
    )
    model = train_supervised(pixels[learn], labels, recipe, compute, n_classes=len(names)).model
    view = plain_view(pixels[test], compute)
    true = np.searchsorted(names, views[test].astype(str))
    maps = attention_maps(model, model[0].layer4, lambda rows: compute.formatted(view(rows)), true)
    area, fan = squares.area[test], squares.fan[test]
    share = attention_share(maps, area, fan)
    told = names[predict_outputs(model, view, len(test), compute).argmax(1).numpy()]
    return maps, Attention(told, share.mass, share.area, control_mass(maps, area, fan))


def _most(
    found: "Attention", views: "np.ndarray", ids: Sequence[str], unshown: Collection[str], most: int
) -> list[int]:
    """Places of up to `most` frames of each view: those whose text areas drew most attention for their control."""
    import numpy as np

    known = (found.control > 0) & ~np.isnan(found.mass)
    excess = np.where(known, found.mass / np.where(known, found.control, 1), -1)
    shown: dict[str, list[int]] = {}
    for place in np.argsort(-excess, kind="stable"):
        of_view = shown.setdefault(views[place], [])
        if known[place] and ids[place] not in unshown and len(of_view) < most:
            of_view.append(int(place))
    return [place for view in sorted(shown) for place in shown[view]]


def _pictures(
    files: Store,
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

    from fusc_pipeline.base.png import decode_png
    from fusc_pipeline.evaluation.attention_pictures import EDGE, attention_pair
    from fusc_pipeline.evaluation.attention_rows import CLEANED, UNCLEANED
    from fusc_pipeline.evaluation.windows import fan_area, fan_hull
    from fusc_pipeline.representation.pixels import resized

    chosen = pa.array([ids[place] for place in shown], pa.string())
    pngs = dict(clean_pngs(files, labelled.filter(pc.field("image_id").isin(chosen))))
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
