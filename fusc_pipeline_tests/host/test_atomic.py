"""Files and folders are seen whole or not at all, whatever ends the one who makes them."""

import os
from pathlib import Path

import pytest

from fusc_pipeline.host import atomic


def folder(place: Path, **files: str) -> Path:
    place.mkdir(parents=True)
    for name, text in files.items():
        (place / name).write_text(text)
    return place


def names(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir())


def test_a_link_is_a_second_name_and_a_copy_where_there_are_no_links(tmp_path, monkeypatch):
    source = tmp_path / "a"
    source.write_text("weights")
    atomic.link(source, tmp_path / "b")
    assert os.path.samefile(source, tmp_path / "b")
    with pytest.raises(FileExistsError):
        atomic.link(source, tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        atomic.link(tmp_path / "none", tmp_path / "c")

    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    atomic.link(source, tmp_path / "d")
    assert (tmp_path / "d").read_text() == "weights" and not os.path.samefile(source, tmp_path / "d")


def test_a_whole_folder_replaces_the_one_before_or_leaves_it(tmp_path):
    with atomic.whole_folder(tmp_path / "x" / "kept") as building:
        folder(building / "below", a="1")
        assert not (tmp_path / "x" / "kept").exists()
    with pytest.raises(KeyboardInterrupt), atomic.whole_folder(tmp_path / "x" / "kept") as building:
        (building / "b").write_text("half")
        raise KeyboardInterrupt
    assert names(tmp_path / "x") == ["kept"] and names(tmp_path / "x" / "kept") == ["below"]
    with atomic.whole_folder(tmp_path / "x" / "kept") as building:
        (building / "b").write_text("2")
    assert names(tmp_path / "x") == ["kept"] and names(tmp_path / "x" / "kept") == ["b"]


def test_what_cannot_be_replaced_comes_back(tmp_path, monkeypatch):
    old, new = folder(tmp_path / "v", a="old"), folder(tmp_path / ".v.tmp-1-0a1b2c3d", a="new")
    replace = os.replace

    def refused(source, target):
        if Path(source) == new:
            raise OSError(30, "Read-only file system")
        replace(source, target)

    monkeypatch.setattr(os, "replace", refused)
    with pytest.raises(OSError, match="Read-only"):
        atomic.replace_folder(new, old)
    assert (old / "a").read_text() == "old"


def test_a_new_folder_that_stands_is_no_failure_when_the_old_one_cannot_be_cleared(tmp_path, monkeypatch):
    old, new = folder(tmp_path / "v", a="old"), folder(tmp_path / "n", a="new")

    def refused(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(atomic.shutil, "rmtree", refused)
    atomic.replace_folder(new, old)
    assert (old / "a").read_text() == "new"
    monkeypatch.undo()
    atomic.settle(tmp_path, lambda _: True)
    assert names(tmp_path) == ["v"]


def test_removing_takes_the_folder_out_of_sight_first(tmp_path, monkeypatch):
    place = folder(tmp_path / "v", a="1", b="2")

    def killed(path, **_):
        (Path(path) / "a").unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic.shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        atomic.remove_folder(place)
    monkeypatch.undo()
    assert not place.exists()
    atomic.settle(tmp_path, lambda _: True)  # half removed is never put back
    assert names(tmp_path) == []
    atomic.remove_folder(place)  # gone already


def test_settling_puts_back_what_is_sound_and_has_no_successor(tmp_path):
    folder(tmp_path / ".good.old-1-0a1b2c3d", whole="1")
    folder(tmp_path / ".bad.old-1-0a1b2c3d", half="1")
    folder(tmp_path / ".kept.old-1-0a1b2c3d", whole="old")
    folder(tmp_path / "kept", whole="new")
    folder(tmp_path / ".next.tmp-1-0a1b2c3d", whole="1")
    (tmp_path / ".current.tmp-1-0a1b2c3d").write_text("somebody may be at it")
    atomic.settle(tmp_path, lambda path: (path / "whole").exists())
    assert names(tmp_path) == [".current.tmp-1-0a1b2c3d", "good", "kept"]
    assert (tmp_path / "kept" / "whole").read_text() == "new"
    atomic.settle(tmp_path / "nowhere", lambda _: True)
