"""Temporary files of killed makers go, those of living ones stay."""

import os
import subprocess
from pathlib import Path

import pytest

from fusc_pipeline.store.leftovers import clear_leftovers
from fusc_pipeline.store.store import Recipe, Store


@pytest.fixture(scope="module")
def gone() -> int:
    """The number of a process that ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.fixture
def store(tmp_path) -> Store:
    """A store with one version of a made output."""
    found = Store(tmp_path)
    with found.write("simclr_encoder", None, Recipe("1"), {}, model=True) as draft:
        draft.path("weights").write_text("w")
    return found


def leave(store: Store, maker: int) -> list[Path]:
    """What a process of this number leaves when it is killed at the worst moments."""
    slot = store.root / "assets" / "simclr_encoder" / "_"
    version = store.folder("simclr_encoder")
    work = store.work("simclr_encoder", None, "k" * 16)
    (work / "checkpoint.pt").write_text("to be continued from")
    folders = [
        slot / f".0123456789abcdef.tmp-{maker}-0a1b2c3d",
        store.private / "unpacked" / f"fusc-{maker}-x",
        work / ".pixels.ab_12cd9",
        work / ".pixels.old.ab12cd9_",
        store.root / "models" / f".2.tmp-{maker}-0a1b2c3d",
    ]
    files = [
        slot / f".current.tmp-{maker}-0a1b2c3d",
        version / f"._checks.json.tmp-{maker}-0a1b2c3d",
        store.root / f".report.html.tmp-{maker}",
        store.private / "batches" / f".monday.json.tmp-{maker}-0a1b2c3d",
        work / ".checkpoint.pt.k3j4l5.tmp",
        work / ".part-1.parquet.tmp",
    ]
    for path in folders:
        path.mkdir(parents=True)
        (path / "half").write_text("half")
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    return [*folders, *files]


def hidden(store: Store) -> set[str]:
    return {p.name for p in store.root.rglob("*") if p.name.startswith(".") or p.name.startswith("fusc-")}


def test_what_a_killed_process_left_goes_and_nothing_else(store, gone):
    left = leave(store, gone)
    told = clear_leftovers(store, dry_run=True)
    assert told and all("would clear" in line for line in told) and all(path.exists() for path in left)
    assert any("simclr_encoder" in line for line in clear_leftovers(store))
    assert hidden(store) == set()
    assert store.record("simclr_encoder") is not None and store.find(
        "simclr_encoder", None, Recipe("1").fingerprint({})
    )
    work = store.root / "work" / "simclr_encoder" / "_" / ("k" * 16)
    assert (work / "checkpoint.pt").exists(), "a killed run's successor continues from its checkpoint"
    assert clear_leftovers(store) == []


def test_while_a_run_makes_the_output_nothing_of_it_is_touched(store, gone):
    left = leave(store, os.getpid())
    assert [p for p in left if not p.exists()] == []
    with store.exclusive("simclr_encoder", None):
        (store.root / "assets" / "simclr_encoder" / "_" / ".0123456789abcdef.tmp-1-0a1b2c3d").mkdir()
        assert not any("simclr_encoder" in line for line in clear_leftovers(store))
        assert (store.root / "work" / "simclr_encoder" / "_" / ("k" * 16) / ".checkpoint.pt.k3j4l5.tmp").exists()
    for name in (f".report.html.tmp-{os.getpid()}", f"private/batches/.monday.json.tmp-{os.getpid()}-0a1b2c3d"):
        assert (store.root / name).exists(), "its maker lives"


def test_a_draft_written_without_the_lock_stays_while_its_maker_lives(store):
    with store.write("simclr_encoder", None, Recipe("2"), {}, model=True) as draft:
        draft.path("weights").write_text("w")
        assert clear_leftovers(store) == [] and draft.folder.exists()


def test_a_version_whose_successor_never_came_is_put_back(store, gone):
    version = store.folder("simclr_encoder")
    os.replace(version, version.parent / f".{version.name}.old-0a1b2c3d")
    clear_leftovers(store)
    assert store.record("simclr_encoder") is not None and hidden(store) == set()
