"""Shared fixtures: small stores whose text stage is already done, so that graph tests need no OCR."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusc_pipeline.base.hashing import image_id
from fusc_pipeline.base.schemas import BURNED_IN_TEXT, CLEAN_IMAGES, PSEUDO_LABELS, REJECTED_SCANS, SCANS
from fusc_pipeline.store.store import Recipe, Store


def pytest_collection_modifyitems(items):
    """Files of minutes first: a worker that begins one last would keep the others waiting."""
    items.sort(key=lambda item: "integration" not in item.nodeid.partition("::")[0])


@pytest.fixture(scope="session", autouse=True)
def own_device_locks(tmp_path_factory):
    """Device leases are the machine's: tests, and what they start, have their own, and wait for nobody's training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FUSC_LOCKS", str(tmp_path_factory.mktemp("locks")))
        yield


@pytest.fixture(scope="session")
def phantom_frames():
    """36 small phantom frames of three easy views and nine subjects: (pixels, view, subject)."""
    import cv2

    from fusc_pipeline.phantom.config import PhantomConfig
    from fusc_pipeline.phantom.render import render_frame

    config = PhantomConfig(n_frames=36, n_subjects=9, seed=3, view_shares={"Femur": 1, "Brain": 1, "4CH": 1})
    frames = []
    for index in range(config.n_frames):
        frame = render_frame(config, index)
        rows, columns = np.flatnonzero(frame.fan.any(1)), np.flatnonzero(frame.fan.any(0))
        crop = frame.anatomy[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        frames.append((cv2.resize(crop, (96, 72), interpolation=cv2.INTER_AREA), frame.view, frame.subject))
    return frames


LABEL_BOX = (30, 30, 66, 42)  # where every frame of `fill_store` carried its label


def scan_row(identity: str, pixels, subject: str, own_label: str | None, own_split: str | None) -> dict:
    """A row of SCANS for a grey frame that fills its picture, a label still on it."""
    from fusc_pipeline.base.png import encode_png

    height, width = pixels.shape
    x0, y0, x1, y1 = LABEL_BOX
    screen = pixels.copy()
    screen[y0 + 3 : y1 - 3, x0 + 3 : x1 - 3] = 255
    return {
        "image_id": identity,
        "png": encode_png(screen),
        "height": height,
        "width": width,
        "source_sha256": identity,
        "file_key": identity[:32],
        "frame_index": 0,
        "n_frames": 1,
        "subject_key": subject,
        "subject_source": "dataset",
        "source_format": "png",
        "region_x0": 0,
        "region_y0": 0,
        "region_x1": width,
        "region_y1": height,
        "region_source": "picture",
        "content": "b_mode",
        "own_label": own_label,
        "own_split": own_split,
    }


def fill_store(store: Store, frames, batch: str = "b1", labels: bool = True, quarantine: int = 0, own=()) -> None:
    """Publish what the ingestion and text stages would have: scans, their words, clean images and pseudo-labels.

    own: (own_label, own_split) of each frame, for scans of a public data set.
    """
    from fusc_pipeline.base.png import encode_png
    from fusc_pipeline.defs.ingestion.scans import REJECTED
    from fusc_pipeline.store.grow import MANIFEST, write_manifest

    clean, named, scans, words = [], [], [], []
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
                "crop_x0": None if bad else 0,
                "crop_y0": None if bad else 0,
                "fan_confidence": None if bad else 0.9,
                "ink_share": None if bad else 0.01,
                "quarantined": "no fan" if bad else None,
            }
        )
        scans.append(scan_row(identity, pixels, subject, *(own[place] if own else (None, None))))
        found = view if labels else None
        match = {"view": found, "alias": found.upper() if found else None}
        score = 0.9 if found else None
        named.append({"image_id": identity, "reason": "labelled" if found else "no_match", **match, "score": score})
        box = dict(zip(("x0", "y0", "x1", "y1"), LABEL_BOX, strict=True))
        words.append({"image_id": identity, "word": 0, **box, "confidence": 0.9, "n_views": int(labels), **match})
    tables = {
        "scans": pa.Table.from_pylist(scans, schema=SCANS),
        "rejected_scans": pa.Table.from_pylist([], schema=REJECTED_SCANS),
        "burned_in_text": pa.Table.from_pylist(words, schema=BURNED_IN_TEXT),
        "clean_images": pa.Table.from_pylist(clean, schema=CLEAN_IMAGES),
        "pseudo_labels": pa.Table.from_pylist(named, schema=PSEUDO_LABELS),
    }
    for asset, table in tables.items():
        with store.write(asset, batch, Recipe("test"), {"made": str(len(frames))}) as draft:
            draft.write_table(table)
            if asset == "scans":
                pq.write_table(tables["rejected_scans"], draft.path(REJECTED))
            if asset in ("burned_in_text", "clean_images"):
                ids = table.column("image_id").unique().to_pylist()
                write_manifest(draft.path(MANIFEST), ids, dict.fromkeys(ids, ""))
            draft.metadata["phantom"] = True


@pytest.fixture
def small_store(tmp_path, phantom_frames) -> Store:
    """A store with one labelled batch of 36 clean phantom frames."""
    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames)
    return store
