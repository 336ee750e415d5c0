"""`fusc gc` takes what nothing in use needs, and never anything else."""

import os
import random

import pytest

from fusc_pipeline.base.hashing import digest
from fusc_pipeline.cli import gc
from fusc_pipeline.cli.gc import Found, Limits, Unneeded, collect, find
from fusc_pipeline.cli.main import main
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.store.store import Recipe, Store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, run_config

CHAIN = ("scans", "clean_images", "corpus", "simclr_encoder")  # the first two per batch
BATCHES = ("a", "b")


def publish(store: Store, asset: str, batch: str | None, recipe: Recipe, inputs: dict) -> None:
    """What a run does: nothing where it stands, else make it."""
    fingerprint = recipe.fingerprint(inputs)
    if store.find(asset, batch, fingerprint) is None:
        with store.exclusive(asset, batch), store.write(asset, batch, recipe, inputs) as draft:
            draft.path("content").write_text(f"{asset} {batch} {fingerprint}")


def run_chain(store: Store, settings: dict[str, int]) -> None:
    """Every asset of CHAIN, each from the versions in use of the one before."""
    inputs: dict = {}
    for place, asset in enumerate(CHAIN):
        recipe = Recipe("1", {"setting": settings[asset]})
        if asset in ("scans", "clean_images"):
            for batch in BATCHES:
                given = {CHAIN[place - 1]: store.require(CHAIN[place - 1], batch).data_version} if place else {}
                publish(store, asset, batch, recipe, given)
            inputs = {f"{asset}/{batch}": store.require(asset, batch).data_version for batch in BATCHES}
        else:
            publish(store, asset, None, recipe, inputs)
            inputs = {asset: store.require(asset).data_version}


@pytest.mark.parametrize("seed", range(8))
def test_whatever_was_published_and_collected_what_is_in_use_stands(tmp_path, seed):
    draw = random.Random(seed)
    store = Store(tmp_path)
    settings = dict.fromkeys(CHAIN, 0)
    for _ in range(12):
        if draw.random() < 0.7:
            settings[draw.choice(CHAIN)] = draw.randrange(4)
            if draw.random() < 0.3:  # only a part of the chain is run: what comes after is made from older versions
                publish(store, "scans", "a", Recipe("1", {"setting": draw.randrange(4)}), {})
            else:
                run_chain(store, settings)
        else:
            used = gc.in_use(store)
            collect(store, Found(list(gc._versions(store, draw.randrange(3)))))
            assert used == gc.in_use(store)
            for asset, batch, fingerprint in used:
                assert any(r.fingerprint == fingerprint for r in store.versions(asset, batch))
        for asset, batch in store.slots():
            record = store.require(asset, batch)
            assert store.find(asset, batch, record.fingerprint) == record
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("content")}
    run_chain(store, settings)
    collect(store, Found(list(gc._versions(store, 0))))
    again = sorted(store.root.rglob("content"))
    run_chain(store, settings)
    assert sorted(store.root.rglob("content")) == again
    kept = [path for path in again if path in before]
    assert kept and all(path.stat().st_mtime_ns == before[path] for path in kept)  # not made anew


def looked(store: Store, limits: Limits = gc.Limits(), now: float = 0.0) -> Found:  # noqa: B008 - frozen
    return find(build_definitions(root=str(store.root)), StoreResource(root=str(store.root)), limits, now)


def reasons(found: Found) -> list[str]:
    return sorted(one.why.partition(" (")[0] for one in found.unneeded)


def test_after_collecting_a_run_is_all_cache_hits_and_nothing_is_removed_untold(small_store):
    for seed in (1, 2, 3):
        assert failures(materialise(small_store, "corpus", run_config(corpus={"seed": seed}))) == {}
    publish(small_store, "dino_encoder", None, Recipe("1", {"image_size": 32, "resize": "squash"}), {})
    corpus = small_store.require("corpus")
    pixels = small_store.root / "work" / "pixels" / digest([corpus.data_version, 32, "squash"])[:16]
    pixels.mkdir(parents=True)
    stale_pixels = small_store.root / "work" / "pixels" / "0123456789abcdef"
    stale_pixels.mkdir()
    (stale_pixels / "pixels.u8").write_bytes(b"x" * 1000)
    (small_store.work("corpus", None, corpus.fingerprint) / "checkpoint.pt").write_bytes(b"x")
    (small_store.work("corpus", None, "f" * 64) / "checkpoint.pt").write_bytes(b"x")
    (small_store.root / "private" / "errors").mkdir(parents=True)
    old = small_store.root / "private" / "errors" / "old.txt"
    old.write_text("x")
    os.utime(old, (1, 1))

    everything = sorted(small_store.root.rglob("*"))
    found = looked(small_store)
    assert sorted(small_store.root.rglob("*")) == everything  # looking removes nothing
    assert reasons(found) == [
        "left work of a version that stands",
        "pixel cache out of use",
        "superseded version",  # the first of three: one superseded is kept
        "text of an old error",
    ]
    # Yesterday's checkpoint of other settings stays a week.
    far = looked(small_store, now=gc.time.time() + 8 * gc.DAY)
    assert "left work of settings or inputs out of use" in reasons(far)

    with small_store.exclusive("clean_images", "b1"):  # some run is at work
        assert "left where they are" in collect(small_store, found)[1]
        assert sorted(p for p in small_store.root.rglob("*") if "locks" not in p.parts) == [
            p for p in everything if "locks" not in p.parts
        ]
    told = collect(small_store, found)
    assert len(told) == 1 and told[0].startswith("removed ")
    assert looked(small_store).unneeded == []
    assert pixels.is_dir()
    for seed in (3, 2):  # the one in use, and the one before it
        assert cache_states(materialise(small_store, "corpus", run_config(corpus={"seed": seed}))) == {"corpus": "hit"}


def test_a_version_taken_up_again_since_it_was_found_stays(tmp_path):
    store = Store(tmp_path)
    for setting in (1, 2):
        publish(store, "corpus", None, Recipe("1", {"setting": setting}), {})
    found = Found(list(gc._versions(store, 0)))
    assert len(found.unneeded) == 1
    publish(store, "corpus", None, Recipe("1", {"setting": 1}), {})
    assert "1 left where they are" in collect(store, found)[1]
    assert store.find("corpus", None, store.require("corpus").fingerprint) is not None


def test_models_in_service_and_before_it_are_never_found(tmp_path, monkeypatch):
    store = Store(tmp_path)
    for number in range(1, 10):
        (store.root / "models" / str(number)).mkdir(parents=True)
    history = [1, 2, 3, 4, 5, 6, 7, 8, 2]  # model 9 is being packed; 2 is back in service, 8 was before it
    rows = [
        {"action": "promoted", "number": number, "version": str(number), "in_service": number} for number in history
    ]
    monkeypatch.setattr(gc, "history_rows", lambda _store: rows)
    gone = sorted(int(one.path.name) for one in gc._models(store, 2))
    assert gone == [1, 3, 4, 5, 6]
    assert sorted(int(one.path.name) for one in gc._models(store, 0)) == [1, 3, 4, 5, 6, 7]
    assert collect(store, Found([Unneeded(store.root / "models" / "2", "x", 0, "model_in_service")]))[1:]
    assert (store.root / "models" / "2").is_dir()
    monkeypatch.setattr(gc, "history_rows", lambda _store: [])
    assert list(gc._models(store, 0)) == []


def test_the_verb_is_dry_until_told(small_store, monkeypatch, capsys):
    monkeypatch.setenv("FUSC_DATA", str(small_store.root))
    assert main(["gc"]) == 0
    out = capsys.readouterr().out
    assert "0.0 MB  in all that nothing in use needs" in out and "told only: batch b1 is not registered here" in out
    cache = small_store.root / "work" / "pixels" / "0123456789abcdef"
    cache.mkdir(parents=True)
    assert main(["gc"]) == 0
    assert "nothing was removed" in capsys.readouterr().out and cache.is_dir()
    assert main(["gc", "--delete"]) == 0
    assert "removed 0.0 MB" in capsys.readouterr().out and not cache.exists()
    assert main(["gc", "--keep", "-1"]) == 1
