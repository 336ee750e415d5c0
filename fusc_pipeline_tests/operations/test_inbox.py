"""The registry of batches: what is refused, and what a file that was cut short costs."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.operations.inbox import Inbox

CUT = ["", "{", '{"folder": "/x', "[]", "null", '"x"', '{"layout": "plain"}', '{"folder": 3}', "\x00\x00"]


@pytest.fixture
def inbox(tmp_path) -> Inbox:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "x.png").write_bytes(b"x")
    inbox = Inbox(tmp_path / "data")
    inbox.register("b", folder, "plain", external=True)
    return inbox


@pytest.mark.parametrize("left", CUT)
def test_an_entry_that_was_cut_short_is_named_and_healed_by_adding_the_batch_again(inbox, tmp_path, left):
    entry = inbox.private / "batches" / "b.json"
    entry.write_text(left)
    for ask in (inbox.folder, inbox.layout, inbox.is_external, inbox.listing, lambda _: inbox.registered()):
        with pytest.raises(BadInput) as refused:
            ask("b")
        assert str(entry) in str(refused.value) and "fusc add-batch <folder> --key b" in str(refused.value)
    inbox.register("b", tmp_path / "in", "plain", external=True)
    assert inbox.registered() == {"b": tmp_path / "in"} and inbox.is_external("b")


@given(cut=st.integers(0, 200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_an_entry_is_read_whole_or_refused(inbox, cut):
    entry = inbox.private / "batches" / "b.json"
    inbox._write(entry, {"folder": "/x", "external": True})
    whole = entry.read_text()
    entry.write_text(whole[:cut])
    if cut >= len(whole):
        assert inbox.is_external("b")
    else:
        with pytest.raises(BadInput, match="add the batch again"):
            inbox.is_external("b")


@pytest.mark.parametrize("left", CUT[:6])
def test_what_is_only_remembered_to_save_work_is_found_again(inbox, left):
    listing, content = inbox.content("b")
    (inbox.private / "contents" / "b.json").write_text(left)
    assert inbox.content("b") == (listing, content)
    (inbox.private / "arrivals.json").write_text(left)
    assert inbox.looks() == {}


@pytest.mark.parametrize("left", CUT[:6])
def test_names_of_files_that_were_cut_short_are_told(inbox, left):
    inbox.remember_names("b", {"k": "x.png"}, {})
    (inbox.private / "files" / "b.json").write_text(left)
    with pytest.raises(BadInput, match=r"files/b.json cannot be read .* --set scans.force=true"):
        inbox.file_names("b")


@pytest.mark.parametrize("place", ["data", ".", "data/inbox", "data/private", "data/assets/scans"])
def test_the_data_root_is_no_delivery(inbox, tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "x").write_text("x")
    with pytest.raises(BadInput, match="holds what the pipeline keeps itself; give the folder of one delivery"):
        inbox.check("other", folder)


def test_what_is_written_stays_as_it_was(inbox):
    assert set(json.loads((inbox.private / "batches" / "b.json").read_text())) == {
        "folder", "layout", "views", "external",
    }  # fmt: skip
