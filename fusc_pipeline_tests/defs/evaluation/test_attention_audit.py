"""Where a view classifier looks, in the graph: a mark in the text area that gives the label away fails the check."""

import json

import numpy as np
import pytest
from torch import nn

from fusc_pipeline.audits import attention_masks, attention_pictures
from fusc_pipeline.representation.backbones import BACKBONES
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.conftest import LABEL_BOX, fill_store
from fusc_pipeline_tests.defs.evaluation.test_inpainting_audit import checks, rows
from fusc_pipeline_tests.defs.graph import failures, materialise, run_config

AUDIT = 'key:"corpus" or key:"inpainting_audit"'
QUICK = {
    "attention_epochs": 15,
    "attention_size": 96,
    "attention_batch": 16,
    "attention_pictures": 1,
    "probe_frames": 0,
    "sample": 2,
}


class Quick(nn.Module):
    """Two convolutions; the second one's map is what a ResNet's `layer4` is."""

    out_dim = 24

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 12, 7, stride=3, padding=3), nn.BatchNorm2d(12), nn.ReLU())
        self.layer4 = nn.Sequential(nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.BatchNorm2d(24), nn.ReLU())

    def forward(self, images):
        return self.layer4(self.first(images)).mean((2, 3))


@pytest.fixture(autouse=True)
def quick_classifier(monkeypatch):
    monkeypatch.setitem(BACKBONES, "quick", lambda in_channels: Quick())
    monkeypatch.setattr(attention_masks, "BACKBONE", "quick")


def frames(told_by_text: bool, n: int = 240):
    """Speckle with stripes that run the way of the view: in the text area, or somewhere above it."""
    rng = np.random.default_rng(0)
    x0, y0, x1, y1 = LABEL_BOX
    found = []
    for place in range(n):
        pixels = rng.integers(60, 100, (72, 96)).astype(np.uint8)
        stripes = np.tile(np.where(np.arange(40) // 3 % 2, 240, 1).astype(np.uint8), (40, 1))
        upright = place % 2
        stripes = stripes if upright else stripes.T
        if told_by_text:
            pixels[y0:y1, x0:x1] = stripes[: y1 - y0, : x1 - x0]
        else:
            top, left = rng.integers(0, 14), rng.integers(0, 56)
            pixels[top : top + 12, left : left + 36] = stripes[:12, :36]
        found.append((pixels, ("Brain", "Femur")[upright], f"s{place // 6}"))
    return found


@pytest.fixture
def audited(tmp_path):
    def run(told_by_text: bool, **changes):
        store = Store(tmp_path / "audited")
        fill_store(store, frames(told_by_text))
        result = materialise(store, AUDIT, run_config(inpainting_audit=QUICK | changes))
        assert set(failures(result)) <= {"inpainting_audit_checks"}
        return store, checks(result)["attention_is_not_on_former_text"]

    return run


def test_a_mark_that_gives_the_label_away_fails_the_blocking_check(audited):
    store, check = audited(told_by_text=True)
    assert not check.passed and check.blocking and "times as much at places where text was" in check.description
    found = rows(store)["attention_excess", "cleaned"]
    assert found["low"] > 1.5 and found["n"] > 30
    assert rows(store)["attention_accuracy", "cleaned"]["value"] > 0.9
    assert {"cleaned: Brain", "uncleaned: Femur"} <= {by for _, by in rows(store)}


def test_anatomy_elsewhere_passes_and_pictures_are_of_cleaned_pixels_only(audited, monkeypatch):
    drawn = []
    real = attention_pictures.attention_pair

    def kept(clean, area, within, maps):
        drawn.append((clean, maps))
        return real(clean, area, within, maps)

    monkeypatch.setattr(attention_pictures, "attention_pair", kept)
    store, check = audited(told_by_text=False)
    assert check.passed and rows(store)["attention_accuracy", "cleaned"]["value"] > 0.9
    assert rows(store)["attention_excess", "cleaned"]["value"] < 1
    folder = store.folder("inpainting_audit")
    listed = json.loads((folder / "attention.json").read_text())
    assert [shown["view"] for shown in listed] == ["Brain", "Femur"] and len(drawn) == 2
    assert all((folder / shown["picture"]).read_bytes()[:4] == b"\x89PNG" for shown in listed)
    scale = attention_pictures.EDGE / 96
    x0, y0, x1, y1 = (round(scale * value) for value in LABEL_BOX)
    for clean, maps in drawn:
        assert len(maps) == 2
        text = clean[y0 + round(scale * 12) :][: y1 - y0, x0:x1]  # letterboxed: 12 rows are black above
        assert text.std() < 15  # the delivered label is white on grey
    assert {path.suffix for path in folder.iterdir()} <= {".png", ".json", ".parquet"}  # no weights


def test_too_few_frames_or_none_asked_for_pass_and_say_so(small_store):
    result = materialise(small_store, AUDIT)  # 36 frames
    check = checks(result)["attention_is_not_on_former_text"]
    assert check.passed and "labelled frames of 3 views to train on" in check.metadata["measured"].value
    off = materialise(small_store, AUDIT, run_config(inpainting_audit={"attention_frames": 0}))
    assert "attention_frames is 0" in checks(off)["attention_is_not_on_former_text"].metadata["measured"].value


def test_areas_are_scaled_as_the_pictures_are():
    mask = np.zeros((50, 100), bool)
    mask[20:30, 40:80] = True
    tiny = attention_masks.scaled(mask, 20)
    assert np.argwhere(tiny).min(0).tolist() == [9, 8] and tiny.sum() == 2 * 8
