"""`fusc status`: fresh or not by the rule a run uses, and why, at any number of batches, with nothing heavy."""

import json
import shutil
import subprocess
import sys

import pytest

from fusc_pipeline.base.words import named
from fusc_pipeline.cli.main import main
from fusc_pipeline.cli.reasons import flat, reasons
from fusc_pipeline.cli.status import Settings, status
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.defs.engine.planning import Plan
from fusc_pipeline.defs.engine.resources import StoreResource
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.store.check_results import Verdict
from fusc_pipeline.store.store import Recipe, Record, Store
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise, run_config, up_to

AS_MADE = Settings()


def looked(store: Store, settings: Settings = AS_MADE) -> dict:
    found = status(build_definitions(root=str(store.root)), StoreResource(root=str(store.root)), settings)
    return {(one.asset, one.batch): one for one in found}


def told(store: Store, asset: str, batch: str | None = None, settings: Settings = AS_MADE) -> tuple[str, str]:
    one = looked(store, settings)[asset, batch]
    return one.state, "; ".join(one.why)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory, phantom_frames) -> Store:
    store = Store(tmp_path_factory.mktemp("status") / "data")
    fill_store(store, phantom_frames)
    as_planned(store, ["b1"])
    assert failures(materialise(store, up_to("kmeans_simclr"))) == {}
    return store


@pytest.fixture
def settled(made_once, tmp_path) -> Store:
    """A store whose models stand on a batch that looks, to a plan, as a run would have left it."""
    shutil.copytree(made_once.root, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "private" / "batches")
    StoreResource(root=str(tmp_path / "data")).inbox().register("b1", tmp_path / "data" / "inbox" / "b1")
    return Store(tmp_path / "data")


def as_planned(store: Store, batches: list[str]) -> None:
    """Give the text stage's hand-made versions the recipes and inputs that the assets would give them."""
    import dataclasses

    from fusc_pipeline.defs.engine.planning import plan_asset
    from fusc_pipeline.scans.identity import create_key

    build_definitions(root=str(store.root))
    inbox = Inbox(store.root)
    inbox.private.mkdir(parents=True, exist_ok=True)
    if not (inbox.private / "hmac.key").exists():
        create_key(inbox.private / "hmac.key")
    for batch in batches:
        folder = store.root / "inbox" / batch
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a.png").write_bytes(b"x")
        inbox.register(batch, folder)
        inbox.remember_names(batch, {"k": "a.png"}, {})
        for asset in ("scans", "rejected_scans", "burned_in_text", "pseudo_labels", "clean_images"):
            plan = plan_asset(asset, store, batch)
            old = store.require(asset, batch)
            place = store.place(old)
            new = dataclasses.replace(
                old,
                fingerprint=plan.fingerprint,
                recipe=plan.recipe.key,
                inputs=dict(plan.inputs),
                config=dict(plan.recipe.config),
                code_version=plan.recipe.code_version,
                extra=dict(plan.recipe.extra),
            )
            place.rename(store.place(new))
            (store.place(new) / "_fingerprint.json").write_text(json.dumps(dataclasses.asdict(new)))
            (place.parent / "current").write_text(store.place(new).name)


def test_what_a_run_would_skip_is_fresh_and_what_was_never_asked_for_is_no_alarm(settled):
    found = looked(settled)
    assert {found[asset, "b1"].state for asset in ("scans", "rejected_scans", "burned_in_text", "clean_images")} == {
        "fresh"
    }
    for asset in ("corpus", "simclr_encoder", "simclr_embeddings", "kmeans_simclr"):
        assert (found[asset, None].state, found[asset, None].by) == ("fresh", "the settings it was made with")
    assert set(cache_states(materialise(settled, up_to("kmeans_simclr"))).values()) == {"hit"}
    demo = looked(settled, Settings("demo", {}, frozenset({"dino_encoder"})))
    assert demo["dino_encoder", None].why == ("the preset demo leaves it out",)


def test_a_changed_setting_is_named_and_what_comes_after_waits(settled):
    house = {name: body for name, body in run_config()["ops"].items()}
    assert {one.state for one in looked(settled, Settings("ours", house)).values() if one.asset.endswith("embeddings")}
    house["simclr_encoder"]["config"]["epochs"] = 50
    settings = Settings("ours", house)
    assert told(settled, "simclr_encoder", None, settings) == ("stale", "settings changed: epochs 1 -> 50")
    assert told(settled, "simclr_embeddings", None, settings) == (
        "waiting",
        "it will be looked at again after simclr_encoder",
    )


def test_a_grown_folder_a_new_batch_and_a_changed_one(settled, phantom_frames):
    for name in ("b.png", "c.png", "d.png"):
        (settled.root / "inbox" / "b1" / name).write_bytes(b"y")
    assert told(settled, "scans", "b1") == ("stale", "3 files were added to the folder")
    assert told(settled, "clean_images", "b1")[0] == "waiting"
    assert told(settled, "corpus") == (
        "waiting",
        "it will be looked at again after clean_images and pseudo_labels and 1 more of batch b1",
    )
    for name in ("b.png", "c.png", "d.png"):
        (settled.root / "inbox" / "b1" / name).unlink()
    fill_store(settled, phantom_frames[:6], batch="tuesday")
    as_planned(settled, ["tuesday"])
    assert told(settled, "corpus") == ("stale", "batch tuesday is not in it yet")
    assert failures(materialise(settled, "corpus")) == {}
    assert told(settled, "corpus")[0] == "fresh"
    # The same frames in another batch are the same corpus: what was made from it stands.
    assert told(settled, "simclr_encoder")[0] == "fresh"
    record = settled.require("clean_images", "b1")
    place = settled.place(record) / "_fingerprint.json"
    place.write_text(json.dumps({**json.loads(place.read_text()), "data_version": "other"}))
    assert told(settled, "corpus") == ("stale", "made from another clean_images of batch b1 than the present one")


def test_a_failed_check_is_told_and_blocks(settled):
    record = settled.require("corpus")
    settled.keep_verdict(record, Verdict("unique_ids", "1", False, True, "ERROR", "image i is there twice"))
    state, why = told(settled, "corpus")
    assert state == "failed" and "unique_ids: image i is there twice" in why
    state, why = told(settled, "simclr_encoder")
    assert state == "blocked" and "corpus failed a check" in why
    settled.keep_verdict(record, Verdict("unique_ids", "1", True, True, "ERROR", "as it should be"))
    settled.keep_verdict(record, Verdict("labels_were_read", "1", False, False, "WARN", "none is read"))
    assert looked(settled)["corpus", None].warnings == ("labels_were_read: none is read",)


def test_a_file_that_is_gone_is_seen(settled):
    (settled.folder("simclr_encoder") / "history.json").unlink()
    assert told(settled, "simclr_encoder") == ("stale", "file history.json of it is gone or cut short")


@pytest.mark.parametrize("name", ["current", "_fingerprint.json"])
def test_an_output_whose_record_or_pointer_is_lost_is_stale_and_what_comes_after_it_waits(settled, name):
    place = settled.folder("simclr_embeddings")
    (place / name if name.startswith("_") else place.parent / name).write_text("")
    words = "which version is in use, or its record, cannot be read"
    assert told(settled, "simclr_embeddings") == ("stale", words)
    assert told(settled, "kmeans_simclr") == ("waiting", "it will be looked at again after simclr_embeddings")


def test_what_an_earlier_release_published_without_a_file_is_not_fresh(settled):
    place = settled.folder("kmeans_simclr")
    (place / "k4-seed1.safetensors").unlink()
    record = json.loads((place / "_fingerprint.json").read_text())
    del record["files"]["k4-seed1.safetensors"], record["holds"], record["sizes"]
    (place / "_fingerprint.json").write_text(json.dumps(record))
    assert told(settled, "kmeans_simclr") == ("stale", "file k4-seed1.safetensors of it is gone or cut short")


def test_it_is_exact_at_150_batches(tmp_path, phantom_frames):
    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames[::6], batch="n000")
    assets = store.root / "assets"
    names = [f"n{number:03d}" for number in range(150)]
    for asset in ("scans", "rejected_scans", "burned_in_text", "pseudo_labels", "clean_images"):
        for name in names[1:]:
            shutil.copytree(assets / asset / "n000", assets / asset / name)
            for path in (assets / asset / name).glob("*/_fingerprint.json"):
                path.write_text(json.dumps({**json.loads(path.read_text()), "partition": name}))
    as_planned(store, names)
    found = looked(store)
    assert {found["clean_images", name].state for name in names} == {"fresh"}
    assert failures(materialise(store, "corpus")) == {}
    assert told(store, "corpus")[0] == "fresh"
    (store.root / "inbox" / "n077" / "new.png").write_bytes(b"z")
    found = looked(store)
    assert [one.name for one in found.values() if one.state == "stale"] == ["scans of batch n077"]
    assert "of batch n077" in found["corpus", None].why[0]


def record(**change) -> Record:
    base = {
        "asset": "burned_in_text", "partition": "b", "fingerprint": "f", "recipe": "r", "data_version": "d",
        "inputs": {"scans": "1"}, "config": {"canvas": 0, "encoder": {"name": "a"}}, "files": {}, "metadata": {},
        "created": 0.0, "seconds": 0.0, "code_version": "1", "extra": {"engine": "easyocr", "weights": {"x": "1"}},
    }  # fmt: skip
    return Record(**(base | change))


@pytest.mark.parametrize(
    "old, plan, words",
    [
        ({}, {"code_version": "2"}, ["the program's version of this step changed (1 -> 2)"]),
        (
            {},
            {"config": {"canvas": 640, "encoder": {"name": "b"}}},
            ["settings changed: canvas 0 -> 640, encoder.name a -> b"],
        ),
        ({}, {"extra": {"engine": "easyocr", "weights": {"x": "2"}}}, ["EasyOCR's weights changed"]),
        ({}, {"inputs": {"scans": "2"}}, ["made from another scans than the present one"]),
        ({"code_version": "", "extra": {}}, {}, ["it was made by an earlier release"]),
        ({"inputs": {"answers": "1"}}, {"inputs": {"answers": "2"}}, ["the answers of `fusc audit-labels` changed"]),
        (
            {"inputs": {"clean_images/a": "1", "pseudo_labels/a": "1"}},
            {"inputs": {}},
            ["batch a is in it and should not be: gone, marked external, or failed a check"],
        ),
    ],
)  # fmt: skip
def test_every_difference_has_its_words(old, plan, words):
    before = record(**old)
    recipe = Recipe(
        plan.get("code_version", "1"),
        plan.get("config", before.config),
        plan.get("extra", before.extra or {"engine": "easyocr"}),
    )
    assert reasons(before, Plan(recipe, plan.get("inputs", before.inputs))) == words


def test_names_are_listed_and_counted():
    assert named("batch", ["b"]) == "batch b" and named("batch", ["b", "a"]) == "batches a and b"
    assert named("batch", ["a", "b", "c"]) == "batches a, b and c"
    assert named("batch", "abcde") == "batches a, b, c and 2 more"
    assert flat({"a": {"b": (1, 2)}}) == {"a.b": [1, 2]}


def test_the_verb_prints_the_counts_first_and_loads_nothing_heavy(settled, monkeypatch, capsys):
    monkeypatch.setenv("FUSC_DATA", str(settled.root))
    assert main(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "fresh" in lines[0] and "missing" in lines[0] and lines[1].startswith("judged by the settings each was made")
    assert not any(line.startswith("  fresh") for line in lines) and "no model is in service" in lines
    assert main(["status", "--all", "--asset", "corpus"]) == 0
    assert "  fresh    corpus" in capsys.readouterr().out
    assert main(["status", "--json", "--batch", "b1"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["batch"] for row in rows} == {"b1"} and rows[0]["state"] == "fresh"
    assert main(["status", "--batch", "nope"]) == 1
    assert "there is no batch 'nope'; known: b1" in capsys.readouterr().err
    code = (
        "import sys; from fusc_pipeline.cli.main import main; main(['status']); "
        "print([n for n in ('torch','cv2','pandas','faiss','sklearn','easyocr','timm') if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.stdout.splitlines()[-1] == "[]", ran.stdout + ran.stderr
