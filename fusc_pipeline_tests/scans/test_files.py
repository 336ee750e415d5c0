"""Links, circles and other things that lie in a delivered folder and must not be followed."""

import os
import socket

import pytest

from fusc_pipeline.base.errors import BadInput
from fusc_pipeline.scans.files import list_delivered, list_files, printable


@pytest.fixture
def places(tmp_path):
    """(the batch's folder, a folder beside it)."""
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        folder.mkdir()
        (folder / "real.png").write_bytes(b"x")
    return inside, outside


def refusals(folder):
    return {file.relative: file.refused for file in list_files(folder)}


def test_a_link_within_the_folder_is_taken(places):
    inside, _ = places
    os.symlink("real.png", inside / "relative.png")
    os.symlink(inside / "real.png", inside / "absolute.png")
    os.symlink("relative.png", inside / "twice.png")
    assert set(refusals(inside).values()) == {None}


def test_a_link_that_leaves_the_folder_on_its_way_is_refused(places):
    inside, outside = places
    os.symlink(outside / "real.png", inside / "away.png")
    os.symlink("../out/real.png", inside / "up.png")
    os.symlink(inside / "real.png", outside / "back.png")
    os.symlink(outside / "back.png", inside / "via.png")  # ends inside, but who changes back.png changes the batch
    os.symlink("../in/real.png", inside / "round.png")  # never leaves: its text does, its way does not
    found = refusals(inside)
    assert {name: found[name] for name in ("away.png", "up.png", "via.png")} == dict.fromkeys(
        ("away.png", "up.png", "via.png"), "link"
    )
    assert found["round.png"] is None


def test_circles_dangling_links_and_links_to_folders(places):
    inside, _ = places
    os.symlink("a", inside / "b")
    os.symlink("b", inside / "a")
    os.symlink("self", inside / "self")
    os.symlink("nowhere/file", inside / "dangling")
    (inside / "folder").mkdir()
    (inside / "folder" / "x.png").write_bytes(b"x")
    os.symlink("folder", inside / "linked")
    os.symlink("..", inside / "parent")
    os.symlink("folder/..", inside / "here")
    expected = dict.fromkeys(("a", "b", "self", "dangling", "linked", "parent", "here"), "link")
    assert refusals(inside) == expected | {"folder/x.png": None, "real.png": None}


def test_a_directory_of_a_medium_is_passed_over_by_its_content(places):
    inside, _ = places
    (inside / "DICOMDIR").mkdir()
    (inside / "DICOMDIR" / "IM1").write_bytes(b"x")
    (inside / "dicomdir").write_bytes(b"a picture, for all that its name says")
    (inside / "cd").mkdir()
    (inside / "cd" / "DICOMDIR").write_bytes(bytes(128) + b"DICM\2\0\2\0UI\x14\x001.2.840.10008.1.3.10\0")
    assert set(refusals(inside)) == {"real.png", "DICOMDIR/IM1", "dicomdir"}


def test_every_name_but_a_few_is_read(places):
    """Hidden files, names with a leading underscore, folders of both kinds: listed with the others."""
    inside, _ = places
    left = {"_READY", "_PHANTOM.json", ".DS_Store", "a/.ds_store", "b/Thumbs.db", "desktop.ini", "__MACOSX/._real.png"}
    taken = {".US.1.2.dcm", "_IM_0001", "_views/IM_2", ".study/IM_3", "-rf", "line\nbreak", "__MACOSX/real.png", "._x"}
    for name in left | taken:
        (inside / name).parent.mkdir(exist_ok=True)
        (inside / name).write_bytes(b"x")
    assert set(refusals(inside)) == taken | {"real.png"}
    assert {file.relative for file in list_delivered(inside) if file.passed_over} == left


def test_sockets_and_pipes_are_not_opened(places, monkeypatch):
    inside, _ = places
    os.mkfifo(inside / "pipe")
    monkeypatch.chdir(inside)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
        assert refusals(inside) == {"pipe": "not_a_file", "real.png": None, "socket": "not_a_file"}


def test_a_folder_that_cannot_be_listed_is_said_to_be_one(places):
    inside, _ = places
    (inside / "closed").mkdir(mode=0)
    if os.access(inside / "closed", os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(BadInput, match="check its permissions"):
        list_files(inside)


def test_names_are_printed_so_that_a_terminal_takes_them_for_text():
    assert printable("wei\u00df \u540d.dcm") == "wei\u00df \u540d.dcm"
    assert printable("line\nbreak\x1b[31mred\r\t.dcm") == "line\\nbreak\\x1b[31mred\\r\\t.dcm"
    assert printable(os.fsdecode(b"\xe9tude.png")) == "\\xe9tude.png"
    assert printable("a\u202eb\u200b") == "a\\u202eb\\u200b"  # what turns or hides the letters after it
    assert printable("\ud800") == "\\ud800"
