"""The store: nothing half-written is visible, equal work is found again, damage is noticed."""

import json
import os
import stat
import subprocess
import sys

import pyarrow as pa
import pytest

from fusc_pipeline.base.errors import BadInput, BadSetting
from fusc_pipeline.base.schemas import PSEUDO_LABELS, TABLES
from fusc_pipeline.store.store import RECORD, Recipe, Store

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
from fusc_pipeline.store.store import Recipe, Store
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
    with store.exclusive("pseudo_labels", "b1"), store.write("pseudo_labels", "b1", Recipe("2"), {}) as draft:
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
    monkeypatch.setitem(__import__("fusc_pipeline.base.schemas", fromlist=["TABLES"]).TABLES, "pseudo_labels", wider)
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


HOLDS = ["table.parquet", "beside.bin"]


FIRST = Recipe("1")


def two_files(store, recipe=FIRST, beside=b"12", holds=HOLDS, **how):
    with (
        store.exclusive("pseudo_labels", "b1"),
        store.write("pseudo_labels", "b1", recipe, {}, holds=holds, **how) as draft,
    ):
        draft.write_table(labels("a"))
        (draft.work / "part").write_text("a part")
        if beside is not None:
            draft.path("beside.bin").write_bytes(beside)
    return store.require("pseudo_labels", "b1")


def test_what_was_declared_and_not_written_is_not_published(store):
    good = two_files(store)
    with pytest.raises(ValueError, match=r"pseudo_labels was made without beside\.bin; nothing was published"):
        two_files(store, Recipe("2"), beside=None)
    assert store.require("pseudo_labels", "b1") == good and len(store.versions("pseudo_labels", "b1")) == 1


@pytest.mark.parametrize("harm", ["gone", "cut short", "declared since"])
def test_a_version_that_lacks_a_file_is_no_hit_and_says_which(store, harm):
    record = two_files(store)
    path, holds = store.place(record) / "beside.bin", HOLDS
    if harm == "gone":
        path.unlink()
    elif harm == "cut short":
        path.write_bytes(b"1")
    else:
        holds = [*HOLDS, "beside.bin", "new.bin"]
    name = "new.bin" if harm == "declared since" else "beside.bin"
    assert store.lacking(record, holds) == [name]
    assert store.damaged("pseudo_labels", "b1", record.fingerprint, holds) == [name]
    assert store.find("pseudo_labels", "b1", record.fingerprint, holds) is None
    assert store.damaged("pseudo_labels", "b1", Recipe("9").fingerprint({}), holds) == []


def test_a_record_of_an_earlier_release_is_whole_with_the_files_it_names_and_one_of_a_later_is_read(store):
    record = two_files(store, holds=())
    path = store.place(record) / RECORD
    content = json.loads(path.read_text())
    for later in ("sizes", "holds", "content"):
        del content[later]
    path.write_text(json.dumps(content))
    old = store.find("pseudo_labels", "b1", record.fingerprint, HOLDS)
    assert old is not None and old.holds == [] and store.lacking(old) == []
    path.write_text(json.dumps(content | {"of_a_later_release": 1}))
    assert store.require("pseudo_labels", "b1") == old


def killed_at(monkeypatch, name):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(f"fusc_pipeline.store.store.{name}", killed)


def test_work_that_has_served_is_never_continued_from(store, monkeypatch):
    killed_at(monkeypatch, "remove_folder")
    with pytest.raises(KeyboardInterrupt):
        two_files(store)
    monkeypatch.undo()
    record = store.require("pseudo_labels", "b1")
    (work,) = store.finished_work("pseudo_labels", "b1")
    assert (work / "part").exists() and store.lacking(record) == []
    with store.exclusive("pseudo_labels", "b1"), store.write("pseudo_labels", "b1", Recipe("1"), {}) as draft:
        assert not list(draft.work.iterdir()), "force computes everything anew"
        draft.write_table(labels("a"))


def test_work_that_has_not_served_yet_is_kept_even_where_a_version_of_the_same_fingerprint_stands(store, monkeypatch):
    two_files(store)
    killed_at(monkeypatch, "replace_folder")  # made by force, and killed before it could take the other's place
    with pytest.raises(KeyboardInterrupt):
        two_files(store, beside=b"34")
    monkeypatch.undo()
    assert store.finished_work("pseudo_labels", "b1") == []
    with store.exclusive("pseudo_labels", "b1"):
        assert (store.work("pseudo_labels", "b1", Recipe("1").fingerprint({})) / "part").exists()


def test_a_model_made_again_under_its_fingerprint_is_told_apart_unless_it_says_the_same(store):
    first = two_files(store, model=True)
    assert first.data_version == first.fingerprint
    assert two_files(store, model=True).data_version == first.data_version
    other = two_files(store, beside=b"34", model=True)
    assert other.fingerprint == first.fingerprint and other.data_version != first.data_version
    assert two_files(store, beside=b"34", model=True).data_version == other.data_version


def test_times_in_a_file_make_no_other_data_version(store):
    def write(text, recipe):
        with store.write("pseudo_labels", "b1", recipe, {}) as draft:
            draft.write_table(labels("a"))
            draft.path("history.json").write_text(text)
            draft.tells("history.json", {"loss": 1.0})
        return store.require("pseudo_labels", "b1")

    first, second = write("took 3 s", Recipe("1")), write("took 4 s", Recipe("2"))
    assert first.data_version == second.data_version and first.files != second.files


def test_a_version_half_removed_is_not_put_back(store):
    record = publish(store, Recipe("1"))
    place = store.place(record)
    (place / "table.parquet").unlink()
    os.replace(place, place.parent / f".{place.name}.old-gc1")
    with store.exclusive("pseudo_labels", "b1"):
        assert [path.name for path in place.parent.iterdir()] == ["current"]


def test_a_verdict_on_a_version_that_was_replaced_meanwhile_is_dropped(store):
    from fusc_pipeline.store.check_results import Verdict

    judged = publish(store, Recipe("1"))
    publish(store, Recipe("1"), ids=("z",))
    store.keep_verdict(judged, Verdict("sound", "1", False, True, "ERROR", "wrong"))
    assert store.verdicts("pseudo_labels", "b1") == {}
    store.keep_verdict(store.require("pseudo_labels", "b1"), Verdict("sound", "1", True, True, "ERROR", "right"))
    assert set(store.verdicts("pseudo_labels", "b1")) == {"sound"}


@pytest.mark.parametrize("nonsense", [b"", b"\xff\xfe", b"no such version", b"../../.. 0"])
def test_a_pointer_or_a_mark_of_nonsense_is_as_good_as_none(store, nonsense):
    record = publish(store, Recipe("1"))
    slot, work = store.place(record).parent, store.work("pseudo_labels", "b1", "k" * 16)
    (slot / "current").write_bytes(nonsense)
    (work / "_published").write_bytes(nonsense)
    assert store.record("pseudo_labels", "b1") is None and store.finished_work("pseudo_labels", "b1") == []
    assert store.find("pseudo_labels", "b1", record.fingerprint) == record
    assert store.require("pseudo_labels", "b1") == record
