"""How the bundle of a model is applied to images, and which row of the tables is put in service."""

import difflib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from fusc_pipeline.base.errors import BadSetting
from fusc_pipeline.defs.clustering.fits import Row
from fusc_pipeline.defs.clustering.registry import MODELS
from fusc_pipeline.defs.engine.networks import ImagePixels, clean_pngs
from fusc_pipeline.defs.representation.embeddings import embeddings_of
from fusc_pipeline.store.store import Store

if TYPE_CHECKING:
    from fusc_pipeline.service.bundle import Bundle

SERVED, DEFAULT_ROW = "FUSC_SERVED_MODEL", "fusc_simclr"
IMAGES_AT_ONCE = 1024  # decoded and assigned together: at 224 pixels 50 MB
# Kernels for a single row, or a few, round otherwise than those for many, so that the last digits of an image's figures
# would tell how a killed run cut its batch: always a multiple of so many rows, filled up with images that are there.
ROWS = 32
# The rows whose model is an encoder with clusters on it: these have embeddings that neighbours are searched in.
SERVABLE = {name: row for name, row in MODELS.items() if row.encoder}


def served_row() -> Row:
    """The row of the tables that is put in service: FUSC_SERVED_MODEL, else fusc_simclr. BadSetting for another."""
    name = os.environ.get(SERVED) or DEFAULT_ROW
    if name not in SERVABLE:
        close = difflib.get_close_matches(name, SERVABLE, n=1, cutoff=0.5)
        hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(SERVABLE)}"
        raise BadSetting(f"{SERVED}={name}: this model cannot be put in service; {hint}")
    return SERVABLE[name]


class DecodedPixels(ImagePixels):
    """Some images that are in memory already: ids, and pixels (N, S, S) uint8."""

    def __init__(self, ids: list[str], pixels: np.ndarray):
        self.ids, self.pixels = ids, pixels
        self.vectors: dict[str, np.ndarray] = {}


@dataclass(frozen=True)
class Applied:
    """What a bundle says of some images: probabilities (N, K), embeddings (N, d)."""

    ids: list[str]
    probabilities: np.ndarray
    vectors: np.ndarray


def apply_bundle(bundle: "Bundle", compute: Any, store: Store, images: pa.Table, work: Path) -> Iterator[Applied]:
    """Apply a bundle to clean images (columns image_id, scan_batch), a piece at a time, in any order.

    work: a folder for decoded pixels, emptied again.
    """
    from fusc_pipeline.representation.pixels import build_pixel_cache, resize_mode

    row = SERVABLE[bundle.facts.row]
    seen = bundle.require(row.sees).config
    for start in range(0, images.num_rows, IMAGES_AT_ONCE):
        piece = images.slice(start, IMAGES_AT_ONCE)
        cache = build_pixel_cache(
            clean_pngs(store, piece), piece.num_rows, seen["image_size"], work / "pixels", resize_mode(seen["resize"])
        )
        images_there, places = len(cache.ids), filled_up(len(cache.ids))
        pixels = DecodedPixels([cache.ids[place] for place in places], np.asarray(cache.pixels)[places])
        probabilities = row.predict(bundle, compute, bundle.facts.n_clusters, bundle.facts.seed, pixels)
        found = embeddings_of(bundle, compute, bundle.facts.encoder, pixels)
        yield Applied(cache.ids, probabilities[:images_there], found[:images_there])


def filled_up(rows: int) -> np.ndarray:
    """Numbers 0 to rows − 1, and from 0 again until they are a multiple of ROWS."""
    return np.arange(-(-rows // ROWS) * ROWS) % rows
