"""Where a view classifier looks on frames, before and after cleaning: the frames and text areas it is measured on.

What is measured and why is `attention_rows`' part, how a map is made `attention`'s.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from fusc_pipeline.audits.attention import attention_maps, attention_share, control_mass
from fusc_pipeline.audits.attention_rows import CLEANED, UNCLEANED, Attention
from fusc_pipeline.audits.windows import SideBySide, fan_hull
from fusc_pipeline.base.compute import Compute
from fusc_pipeline.clustering.predictions import predict_outputs
from fusc_pipeline.representation.augment import plain_view
from fusc_pipeline.representation.configs import SupervisedConfig
from fusc_pipeline.representation.pixels import resized
from fusc_pipeline.representation.supervised import train_supervised

# The last block's map is a sixteenth of the image wide: 7 x 7 cells at 112 pixels.
BACKBONE = "resnet18_fine"


@dataclass(frozen=True)
class Squares:
    """N frames as the networks see them: uint8 (N, S, S) by CLEANED and UNCLEANED, areas and fans bool (N, S, S)."""

    ids: list[str]
    pixels: Mapping[str, np.ndarray]
    area: np.ndarray
    fan: np.ndarray


def squares_of(frames: Iterable[SideBySide], n: int, words: Mapping[str, list[dict]], size: int) -> Squares:
    """The frames, n of them, as the networks see them. words: of every image, boxes in its pixels."""
    pixels = {name: np.zeros((n, size, size), np.uint8) for name in (CLEANED, UNCLEANED)}
    area, fan = np.zeros((n, size, size), bool), np.zeros((n, size, size), bool)
    ids = []
    for place, frame in enumerate(frames):
        ids.append(frame.image_id)
        pixels[CLEANED][place] = resized(frame.clean, size)
        whole = fan_hull(frame.fan)
        pixels[UNCLEANED][place] = resized(frame.delivered * whole, size)
        fan[place] = scaled(whole, size)
        area[place] = scaled(text_area(frame.clean.shape, words.get(frame.image_id, ())), size) & fan[place]
    return Squares(ids, pixels, area, fan)


def text_area(shape: tuple[int, ...], words: Sequence[dict]) -> np.ndarray:
    """(H, W) bool: every word's box, whatever it says; the part off the frame is left out."""

    area = np.zeros(shape, bool)
    for word in words:
        x0, y0, x1, y1 = word["box"]
        area[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = True
    return area


def scaled(mask: np.ndarray, size: int) -> np.ndarray:
    """A mask (H, W) bool scaled exactly as a picture is: (size, size) bool, a pixel counts that is half covered."""
    return resized(mask.astype(np.uint8) * 255, size) >= 128


def judged(
    pixels: np.ndarray,
    squares: Squares,
    views: np.ndarray,
    learn: np.ndarray,
    test: np.ndarray,
    recipe: SupervisedConfig,
    compute: Compute,
) -> tuple[np.ndarray, Attention]:
    """One classifier, trained on the rows `learn`: its maps of the rows `test`, and what they come to."""
    names, labels = np.unique(views[learn].astype(str), return_inverse=True)
    model = train_supervised(pixels[learn], labels, recipe, compute, n_classes=len(names)).model
    view = plain_view(pixels[test], compute)
    true = np.searchsorted(names, views[test].astype(str))
    backbone = cast(Any, model)[0]  # torchvision's ResNet
    maps = attention_maps(model, backbone.layer4, lambda rows: compute.formatted(view(rows)), true)
    area, fan = squares.area[test], squares.fan[test]
    share = attention_share(maps, area, fan)
    told = names[predict_outputs(model, view, len(test), compute).argmax(1).numpy()]
    return maps, Attention(told, share.mass, share.area, control_mass(maps, area, fan))


def most_attended(
    found: Attention, views: np.ndarray, ids: Sequence[str], unshown: Collection[str], most: int
) -> list[int]:
    """Places of up to `most` frames of each view: those whose text areas drew most attention for their control."""

    known = (found.control > 0) & ~np.isnan(found.mass)
    excess = np.where(known, found.mass / np.where(known, found.control, 1), -1)
    shown: dict[str, list[int]] = {}
    for place in np.argsort(-excess, kind="stable"):
        of_view = shown.setdefault(views[place], [])
        if known[place] and ids[place] not in unshown and len(of_view) < most:
            of_view.append(int(place))
    return [place for view in sorted(shown) for place in shown[view]]
