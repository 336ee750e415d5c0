"""Shared fixtures: small stores whose text stage is already done, so that graph tests need no OCR."""

import numpy as np
import pyarrow as pa
import pytest

from fusc_pipeline.hashing import image_id
from fusc_pipeline.resources.store import Recipe, Store
from fusc_pipeline.schemas import CLEAN_IMAGES, PSEUDO_LABELS, REJECTED_SCANS, SCANS


@pytest.fixture(scope="session")
def phantom_frames():
    """36 small phantom frames of three easy views and nine subjects: (pixels, view, subject)."""
    import cv2

    from fusc_pipeline.phantom.config import PhantomConfig
    from fusc_pipeline.phantom.frames import render_frame

    config = PhantomConfig(n_frames=36, n_subjects=9, seed=3, view_shares={"Femur": 1, "Brain": 1, "4CH": 1})
    frames = []
    for index in range(config.n_frames):
        frame = render_frame(config, index)
        rows, columns = np.flatnonzero(frame.fan.any(1)), np.flatnonzero(frame.fan.any(0))
        crop = frame.anatomy[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        frames.append((cv2.resize(crop, (96, 72), interpolation=cv2.INTER_AREA), frame.view, frame.subject))
    return frames


def fill_store(store: Store, frames, batch: str = "b1", labels: bool = True, quarantine: int = 0) -> None:
    """Publish what the ingestion and text stages would have: clean images and pseudo-labels of one batch."""
    from fusc_pipeline.png import encode_png

    clean, named, scans = [], [], []
    for place, (pixels, view, subject) in enumerate(frames):
        identity = image_id(pixels)
        bad = place < quarantine
        image = None if bad else {"bytes": encode_png(pixels), "path": None}
        clean.append(
            {
                "image_id": identity,
                "subject_key": subject,
                "subject_source": "path",
                "machine": "GE Voluson E8",
                "image": image,
                "height": None if bad else pixels.shape[0],
                "width": None if bad else pixels.shape[1],
                "fan_confidence": None if bad else 0.9,
                "ink_share": None if bad else 0.01,
                "quarantined": "no fan" if bad else None,
            }
        )
        found = view if labels else None
        named.append({"image_id": identity, "view": found, "reason": "labelled" if found else "no_text"})
    tables = {
        "scans": pa.Table.from_pylist(scans, schema=SCANS),
        "rejected_scans": pa.Table.from_pylist([], schema=REJECTED_SCANS),
        "clean_images": pa.Table.from_pylist(clean, schema=CLEAN_IMAGES),
        "pseudo_labels": pa.Table.from_pylist(named, schema=PSEUDO_LABELS),
    }
    for asset, table in tables.items():
        with store.write(asset, batch, Recipe("test"), {"made": str(len(frames))}) as draft:
            draft.write_table(table)
            draft.metadata["phantom"] = True


@pytest.fixture
def small_store(tmp_path, phantom_frames) -> Store:
    """A store with one labelled batch of 36 clean phantom frames."""
    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames)
    return store
