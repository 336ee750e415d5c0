"""Drawing the page and taking answers: private files, only the words' own pixels, nothing unknown is let in."""

import base64
import json
import re
import stat

import numpy as np
import pytest

from fusc_pipeline.audits.label_review import draw_page, reviewed, take_answers
from fusc_pipeline.audits.label_sample import SampleConfig
from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.png import decode_png
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.conftest import LABEL_BOX, fill_store
from fusc_pipeline_tests.defs.graph import failures, materialise

SMALL = SampleConfig(share=0.1, least=2, unlabelled=5)


@pytest.fixture
def store(small_store):
    assert failures(materialise(small_store, "corpus")) == {}
    return small_store


@pytest.fixture
def private(store):
    return store.root / "private"


def page_items(drawn):
    return json.loads(re.search(r'id="data">(.*?)</script>', drawn.page.read_text(), re.S).group(1))["items"]


def write_answers(path, sample, answers):
    path.write_text(json.dumps({"sample": sample, "answers": answers}))
    return path


def test_the_page_shows_the_words_box_and_a_few_pixels_around_it_only(store, private):
    drawn = draw_page(store, private, SMALL)
    items = page_items(drawn)
    assert (drawn.labelled, drawn.unlabelled) == (len(items), 0)
    x0, y0, x1, y1 = LABEL_BOX
    for item in items:
        (crop,) = (decode_png(base64.b64decode(uri.partition(",")[2])) for uri in item["crops"])
        assert crop.shape == (y1 - y0 + 8, x1 - x0 + 8) and crop.max() == 255
        assert item["label"] and item["alias"] == item["label"].upper()


def test_what_is_written_is_for_the_owner_only(store, private):
    drawn = draw_page(store, private, SMALL)
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    files = [p for p in drawn.page.parent.iterdir()]
    assert {p.name for p in files} == {"sample.json", "page.html"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in files} == {0o600}
    before = drawn.page.read_bytes()
    assert draw_page(store, private, SMALL) == drawn and drawn.page.read_bytes() == before


def test_frames_without_a_label_show_words_over_the_picture(tmp_path, phantom_frames):
    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames, labels=False)
    assert failures(materialise(store, "corpus")) == {}
    drawn = draw_page(store, store.root / "private", SMALL)
    assert (drawn.labelled, drawn.unlabelled) == (0, 5)
    assert all(item["label"] is None and len(item["crops"]) <= 1 for item in page_items(drawn))
    assert any(item["crops"] for item in page_items(drawn))


def test_answers_are_kept_by_reviewer_and_replace_their_own(store, private, tmp_path):
    drawn = draw_page(store, private, SMALL)
    ids = [item["id"] for item in page_items(drawn)]
    assert reviewed(private) is None
    first = write_answers(tmp_path / "a.json", drawn.sample, {i: {"answer": "right"} for i in ids})
    assert take_answers(private, first, "one") == (drawn.sample, len(ids), len(ids))
    second = write_answers(tmp_path / "b.json", drawn.sample, {ids[0]: {"answer": "wrong", "view": None}})
    take_answers(private, second, "two")
    take_answers(private, first, "two")
    found = reviewed(private)
    assert found.sample == drawn.sample and len(found.rows) == len(ids)
    assert [len(answers) for answers in found.answers] == [len(ids), len(ids)]


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        ({}, "holds no answer"),
        ({"f" * 64: {"answer": "right"}}, "not in sample"),
        ({"ID": {"answer": "maybe"}}, "none of right, wrong, unclear"),
        ({"ID": "right"}, "none of right, wrong, unclear"),
        ({"ID": {"answer": "wrong", "view": "Elbow"}}, "none of the fifteen"),
        ({"ID": {"answer": "wrong", "view": "LABEL"}}, "the label itself"),
        ({"ID": {"answer": "right", "view": "Femur"}}, "only a wrong label"),
    ],
)
def test_answers_that_do_not_fit_are_refused(store, private, tmp_path, answers, message):
    drawn = draw_page(store, private, SMALL)
    item = page_items(drawn)[0]
    text = json.dumps(answers).replace("ID", item["id"]).replace("LABEL", item["label"])
    file = write_answers(tmp_path / "a.json", drawn.sample, json.loads(text))
    with pytest.raises(BadInput, match=message):
        take_answers(private, file, "one")
    assert reviewed(private) is None


@pytest.mark.parametrize(
    "text", ["", "[]", '{"sample": "../../../etc", "answers": {}}', '{"sample": "0123456789ab", "answers": []}', "\x00"]
)
def test_a_file_that_is_no_answers_is_refused(store, private, tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(BadInput, match=r"a\.json"):
        take_answers(private, tmp_path / "a.json", "one")


def test_unknown_samples_batches_and_reviewers_are_refused(store, private, tmp_path):
    file = write_answers(tmp_path / "a.json", "0123456789ab", {})
    with pytest.raises(BadInput, match="was not drawn in this data root"):
        take_answers(private, file, "one")
    with pytest.raises(BadInput, match="cannot be read"):
        take_answers(private, tmp_path / "missing.json", "one")
    with pytest.raises(BadInput, match="holds no frame of batch 'other'; batches with frames: b1"):
        draw_page(store, private, SMALL, ["other"])
    for reviewer in ("Dr Who", "../x", ""):
        with pytest.raises(BadSetting, match="--reviewer"):
            take_answers(private, file, reviewer)
    assert not np.any([p.name.startswith("answers") for p in private.rglob("*")])
