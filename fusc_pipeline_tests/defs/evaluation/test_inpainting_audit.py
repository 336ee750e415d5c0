"""The audits as assets: what they table, what their checks say, and that no uncleaned pixel leaves them."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from fusc_pipeline.audits import leak_probe, removal_audit
from fusc_pipeline.audits.label_review import draw_page, take_answers
from fusc_pipeline.audits.label_sample import SampleConfig
from fusc_pipeline.base.hashing import image_id
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.conftest import LABEL_BOX, fill_store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, run_config

AUDIT = 'key:"corpus" or key:"inpainting_audit"'


def checks(result):
    return {c.check_name: c for c in result.get_asset_check_evaluations()}


def rows(store):
    table = store.table("inpainting_audit").to_pandas()
    return {(row["measure"], row["by"]): row for row in table.to_dict("records")}


def test_clean_frames_pass_and_too_few_give_no_leak(small_store):
    result = materialise(small_store, AUDIT)
    assert failures(result) == {}
    assert checks(result)["no_word_is_left"].passed and checks(result)["labels_do_not_leak"].passed
    found = rows(small_store)
    assert found["residual_text", "either"]["n"] == 8 and found["residual_text", "either"]["count"] == 0
    leak = found["leak", "former_text - control"]
    assert np.isnan(leak["value"]) and "not measured: " in leak["detail"] and leak["n"] == 0
    assert set(cache_states(materialise(small_store, AUDIT)).values()) == {"hit"}


def test_a_word_left_fails_the_blocking_check_and_is_covered_where_it_may_travel(tmp_path, phantom_frames):
    x0, y0, x1, y1 = LABEL_BOX
    frames = []
    for place, (pixels, view, subject) in enumerate(phantom_frames):
        dark = np.minimum(pixels, 250)
        if place == 0:
            dark[y0:y1, x0:x1] = 255  # stands for a word that cleaning missed
        frames.append((dark, view, subject))
    store = Store(tmp_path / "data")
    fill_store(store, frames)
    result = materialise(store, AUDIT, run_config(inpainting_audit={"sample": 36}))
    check = checks(result)["no_word_is_left"]
    assert not check.passed and check.blocking and "1 of 36 sampled clean images" in check.description
    folder = store.folder("inpainting_audit")
    (first, _) = json.loads((folder / "worst.json").read_text())
    assert first["image_id"] == image_id(frames[0][0]) and first["why"] == "text left, read by easyocr and rapidocr"
    shown = np.asarray(Image.open(io.BytesIO((folder / first["covered"]).read_bytes())))
    assert not (shown[y0:y1, x0:x1] == 255).all(2).any()
    tolerant = run_config(inpainting_audit={"sample": 36, "tolerated_residual": 0.1})
    assert checks(materialise(store, AUDIT, tolerant))["no_word_is_left"].passed


def test_the_probe_runs_on_enough_frames_and_sees_the_delivered_label(small_store, monkeypatch):
    seen = {}

    def measured(windows, views, subjects, config, compute):
        seen.update(windows, views=views, subjects=subjects, steps=config.steps)
        share = removal_audit.Share(3, 0.5, 0.3, 0.7)
        return removal_audit.Leak(len(views), 9, dict.fromkeys(windows, share), share, share)

    monkeypatch.setattr(leak_probe, "too_few", lambda views, subjects: None)
    monkeypatch.setattr(leak_probe, "measure_leak", measured)
    result = materialise(small_store, AUDIT, run_config(inpainting_audit={"probe_steps": 7}))
    assert failures(result) == {}
    assert seen["steps"] == 7 and len(seen["views"]) == len(seen["subjects"]) == len(seen["former_text"]) > 20
    assert (seen["uncleaned"].max((1, 2)) > 240).all()  # the label that `fill_store` draws on the scan
    assert (seen["former_text"] != seen["uncleaned"]).any((1, 2)).all()
    check = checks(result)["labels_do_not_leak"]
    assert not check.passed and check.severity.value == "WARN" and "50.0% more frames" in check.description


def test_label_audit_is_empty_until_somebody_answered(small_store, tmp_path):
    selection = 'key:"corpus" or key:"label_audit"'
    assert failures(materialise(small_store, selection)) == {}
    assert small_store.table("label_audit").num_rows == 0
    private = small_store.root / "private"
    drawn = draw_page(small_store, private, SampleConfig(least=3))
    sample = json.loads((drawn.page.parent / "sample.json").read_text())["rows"]
    given = {row["image_id"]: {"answer": "right"} for row in sample}
    given[sample[0]["image_id"]] = {"answer": "wrong", "view": "Feet"}
    for reviewer, count in (("anna-k", len(given)), ("x", 2)):
        answers = dict(list(given.items())[:count])
        (tmp_path / "a.json").write_text(json.dumps({"sample": drawn.sample, "answers": answers}))
        take_answers(private, tmp_path / "a.json", reviewer)
    result = materialise(small_store, selection)
    assert cache_states(result) == {"corpus": "hit", "label_audit": "miss"}
    table = small_store.table("label_audit").to_pandas()
    assert len(table) == len(given) + 2 and sorted(table["reviewer"].unique()) == [1, 2]
    wrong = table[table["answer"] == "wrong"].iloc[0]
    assert wrong["correct_view"] == "Feet" and wrong["view"] == wrong["stratum"] == wrong["label_now"]
    text = json.dumps(str(table.to_dict())) + (small_store.folder("label_audit") / "_fingerprint.json").read_text()
    assert "anna-k" not in text
    assert not checks(result)["labels_are_right"].passed or wrong["stratum_size"] > 3
    assert cache_states(materialise(small_store, selection))["label_audit"] == "hit"


def test_a_sample_that_is_not_there_is_refused(small_store):
    config = run_config(label_audit={"sample": "../../etc"})
    reason = failures(materialise(small_store, 'key:"corpus" or key:"label_audit"', config))["label_audit"]
    assert "was not drawn in this data root" in reason


@pytest.mark.parametrize("gone", ["clean_images", "burned_in_text"])
def test_without_the_text_stage_it_names_the_command(small_store, gone):
    assert failures(materialise(small_store, "corpus")) == {}
    (small_store.root / "assets" / gone / "b1" / "current").unlink()
    reason = failures(materialise(small_store, 'key:"inpainting_audit"'))["inpainting_audit"]
    assert f"{gone} has not been made for batch 'b1'; run:" in reason
