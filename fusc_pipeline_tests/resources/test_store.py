"""The store: nothing half-written is visible, equal work is found again, damage is noticed."""

import json
import os
import stat
import subprocess
import sys

import pyarrow as pa
import pytest

from fusc_pipeline.errors import BadInput, BadSetting
from fusc_pipeline.resources.store import RECORD, Recipe, Store
from fusc_pipeline.schemas import PSEUDO_LABELS, TABLES

ROW = {"image_id": "a", "view": "Brain", "alias": "brain", "score": 1.0, "reason": "labelled"}


def labels(*ids: str) -> pa.Table:
    return pa.Table.from_pylist([{**ROW, "image_id": i} for i in ids], schema=PSEUDO_LABELS)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def publish(store, recipe, inputs=None, ids=("a", "b"), partition="b1"):
    with store.write("pseudo_labels", partition, recipe, inputs or {}) as draft:
        draft.write_table(labels(*ids))
        draft.metadata["dagster/row_count"] = len(ids)
    return store.require("pseudo_labels", partition)


def test_round_trip_keeps_rows_schema_and_metadata(store):
    record = publish(store, Recipe("1", {"x": 1}), {"scans": "v"})
    table = store.table("pseudo_labels", "b1")
    assert table.column("image_id").to_pylist() == ["a", "b"]
    assert table.schema.field("score").metadata[b"comment"].startswith(b"match score")
    assert record.metadata == {"dagster/row_count": 2}
    assert record.inputs == {"scans": "v"}
    assert store.partitions("pseudo_labels") == ["b1"]


def test_equal_content_has_equal_data_version_whatever_made_it(store):
    first = publish(store, Recipe("1"))
    second = publish(store, Recipe("2"))
    assert first.fingerprint != second.fingerprint
    assert first.data_version == second.data_version


def test_a_model_is_versioned_by_its_fingerprint(store):
    with store.write("simclr_encoder", None, Recipe("1"), {}, model=True) as draft:
        draft.path("weights").write_bytes(b"x")
    record = store.require("simclr_encoder")
    assert record.data_version == record.fingerprint


@pytest.mark.parametrize(
    "recipe,inputs",
    [(Recipe("2", {"x": 1}), {"i": "v"}), (Recipe("1", {"x": 2}), {"i": "v"}), (Recipe("1", {"x": 1}), {"i": "w"})],
)
def test_every_ingredient_changes_the_fingerprint(recipe, inputs):
    assert recipe.fingerprint(inputs) != Recipe("1", {"x": 1}).fingerprint({"i": "v"})


def test_going_back_to_an_earlier_recipe_finds_its_version(store):
    old, new = Recipe("1", {"k": 1}), Recipe("1", {"k": 2})
    publish(store, old, ids=("a",))
    publish(store, new, ids=("b",))
    found = store.find("pseudo_labels", "b1", old.fingerprint({}))
    assert found is not None
    assert store.table("pseudo_labels", "b1").column("image_id").to_pylist() == ["a"]


def test_superseded_versions_are_dropped_but_never_the_one_in_use(store):
    for k in range(6):
        publish(store, Recipe("1", {"k": k}))
    slot = store.folder("pseudo_labels", "b1").parent
    assert len([p for p in slot.iterdir() if p.is_dir()]) == 3
    assert store.require("pseudo_labels", "b1").config == {"k": 5}


def test_a_damaged_file_is_no_hit(store):
    recipe = Recipe("1")
    publish(store, recipe)
    path = store.folder("pseudo_labels", "b1") / "table.parquet"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    assert store.find("pseudo_labels", "b1", recipe.fingerprint({})) is None
    assert publish(store, recipe).data_version == store.require("pseudo_labels", "b1").data_version
    assert store.find("pseudo_labels", "b1", recipe.fingerprint({})) is not None


def test_a_failed_write_leaves_the_last_good_version_and_no_trace(store):
    publish(store, Recipe("1"), ids=("a",))
    slot = store.folder("pseudo_labels", "b1").parent
    before = sorted(p.name for p in slot.iterdir())
    with pytest.raises(RuntimeError), store.write("pseudo_labels", "b1", Recipe("2"), {}) as draft:
        draft.write_table(labels("c"))
        raise RuntimeError("power cut")
    assert sorted(p.name for p in slot.iterdir()) == before
    assert store.table("pseudo_labels", "b1").column("image_id").to_pylist() == ["a"]


KILLED_WRITER = """
import os, sys
from fusc_pipeline.resources.store import Recipe, Store
store = Store(sys.argv[1])
with store.write("pseudo_labels", "b1", Recipe("2"), {}) as draft:
    draft.path("table.parquet").write_bytes(b"half")
    (draft.work / "part-0").write_text("kept")
    os.kill(os.getpid(), 9)
"""


def test_a_killed_writer_leaves_no_version_and_its_draft_is_swept(store):
    publish(store, Recipe("1"), ids=("a",))
    subprocess.run([sys.executable, "-c", KILLED_WRITER, str(store.root)], check=False)
    slot = store.folder("pseudo_labels", "b1").parent
    assert any(p.name.startswith(".") for p in slot.iterdir())
    assert store.table("pseudo_labels", "b1").column("image_id").to_pylist() == ["a"]
    with store.alone("pseudo_labels", "b1"), store.write("pseudo_labels", "b1", Recipe("2"), {}) as draft:
        assert (draft.work / "part-0").read_text() == "kept"
        draft.write_table(labels("z"))
    assert not any(p.name.startswith(".") for p in slot.iterdir())
    assert not draft.work.exists()


def test_a_record_cut_short_counts_as_absent(store):
    record = publish(store, Recipe("1"))
    path = store.folder("pseudo_labels", "b1") / RECORD
    path.write_text(path.read_text()[:40])
    assert store.record("pseudo_labels", "b1") is None
    assert store.find("pseudo_labels", "b1", record.fingerprint) is None


def test_schema_is_enforced_on_write(store):
    with pytest.raises(BadInput, match=r"missing \['alias'.*unknown \['name'\]"):
        with store.write("pseudo_labels", "b1", Recipe("1"), {}) as draft:
            draft.write_table(pa.table({"image_id": ["a"], "name": ["x"]}))
    with pytest.raises(BadInput, match="wrong type.*score"):
        with store.write("pseudo_labels", "b1", Recipe("1"), {}) as draft:
            draft.write_table(labels("a").set_column(3, "score", pa.array([1.0], pa.float64())))


def test_schema_is_enforced_on_read(store, monkeypatch):
    publish(store, Recipe("1"))
    wider = PSEUDO_LABELS.append(pa.field("new", pa.string()))
    monkeypatch.setitem(__import__("fusc_pipeline.schemas", fromlist=["TABLES"]).TABLES, "pseudo_labels", wider)
    with pytest.raises(BadInput, match=r"missing \['new'\].*materialise it again"):
        store.table("pseudo_labels", "b1")


@pytest.mark.parametrize("key", ["../evil", "a/b", "..", ".hidden", "a\\b"])
def test_a_key_cannot_leave_the_store(store, key):
    with pytest.raises(BadSetting, match="cannot name a folder"), store.write("pseudo_labels", key, Recipe("1"), {}):
        pass
    assert not (store.root.parent / "evil").exists()


def test_missing_output_names_the_command(store):
    with pytest.raises(BadInput, match=r"dagster asset materialize --select '\+key:.corpus.'"):
        store.table("corpus")


def test_a_url_root_is_refused():
    with pytest.raises(BadSetting, match="only a local folder"):
        Store("s3://bucket/fusc")


def test_scans_are_private(store):
    with store.write("scans", "b1", Recipe("1"), {}) as draft:
        draft.path("x").write_bytes(b"x")
    assert os.stat(store.root / "assets" / "scans").st_mode & 0o777 == 0o700


def test_same_recipe_finds_the_version_to_grow_from(store):
    recipe = Recipe("1")
    publish(store, recipe, {"scans": "old"})
    assert store.same_recipe("pseudo_labels", "b1", recipe.key) is not None
    assert store.same_recipe("pseudo_labels", "b1", Recipe("2").key) is None


def test_record_is_json_a_person_can_read(store):
    publish(store, Recipe("1", {"epochs": 3}))
    content = json.loads((store.folder("pseudo_labels", "b1") / RECORD).read_text())
    assert content["config"] == {"epochs": 3}
    assert set(content["files"]) == {"table.parquet"}


def test_what_a_killed_run_left_is_continued_only_from_the_same_inputs(store):
    def die(inputs, **how):
        with pytest.raises(RuntimeError), store.write("simclr_encoder", None, Recipe("1"), inputs, **how) as draft:
            (draft.work / "checkpoint").write_text("half")
            raise RuntimeError("killed")

    die({"corpus": "old"})
    with store.write("simclr_encoder", None, Recipe("1"), {"corpus": "new"}) as draft:
        assert not (draft.work / "checkpoint").exists()
        draft.path("weights").write_text("x")
    die({"scans": "old"}, incremental=True)
    with store.write("simclr_encoder", None, Recipe("1"), {"scans": "grown"}, incremental=True) as draft:
        assert (draft.work / "checkpoint").exists()
        draft.path("weights").write_text("x")


@pytest.mark.parametrize("asset", ["scans", "burned_in_text"])
def test_what_may_name_somebody_is_closed_to_others_whatever_the_umask(store, asset):
    before = os.umask(0)
    try:
        with store.write(asset, "b1", Recipe("1"), {}) as draft:
            draft.write_table(pa.Table.from_pylist([], schema=TABLES[asset]))
            draft.path("beside.parquet").write_bytes(b"x")
            assert stat.S_IMODE(draft.folder.stat().st_mode) == 0o700  # while it is written, too
            (draft.work / "part").touch()
            assert stat.S_IMODE((store.root / "work" / asset).stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert stat.S_IMODE((store.root / "assets" / asset).stat().st_mode) == 0o700
    files = [path for path in store.folder(asset, "b1").rglob("*") if path.is_file()]
    assert len(files) == 3 and {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
