"""Ingestion as assets: each layout of a delivery, archives in it, and what the metadata and `fusc files` tell of it."""

import io
import json
import os
import zipfile

import dagster as dg
import pytest
from PIL import Image

from fusc_pipeline.cli.main import main
from fusc_pipeline.defs.build import build_definitions
from fusc_pipeline.operations.inbox import Inbox
from fusc_pipeline.scans.identity import create_key
from fusc_pipeline.store.store import Store
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import cache_states, failures, materialise
from fusc_pipeline_tests.scans.make import sector

HEADER = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(sector(160, 200, r0=20, r1=140, seed=seed)[0]).save(buffer, "PNG")
    return buffer.getvalue()


def put(folder, name, data):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def fetal_planes(folder, rows, images):
    for number, name in enumerate(images):
        put(folder, f"Images/{name}.png", png(number))
    put(folder, "FETAL_PLANES_DB_data.csv", "\n".join([HEADER, *rows, ""]).encode())


@pytest.fixture
def place(tmp_path):
    """(store, inbox, folder of a delivery); with a key."""
    store = Store(tmp_path / "data")
    create_key(store.root / "private" / "hmac.key")
    folder = tmp_path / "delivery"
    folder.mkdir()
    return store, Inbox(store.root), folder


def ingest(store, batch="b1"):
    """Materialise the two ingestion assets of a registered batch: (result, metadata of `scans`)."""
    definitions = build_definitions(root=str(store.root))
    config = {
        "ops": {"scans": {"config": {"workers": 1}}},
        "loggers": {"console": {"config": {"log_level": "ERROR"}}},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("scan_batch", [batch])
        result = definitions.resolve_implicit_global_asset_job_def().execute_in_process(
            asset_selection=[dg.AssetKey("scans"), dg.AssetKey("rejected_scans")],
            partition_key=batch,
            instance=instance,
            run_config=config,
            raise_on_error=False,
        )
    assert failures(result) == {}
    return result, store.require("scans", batch).metadata


def files_told(store, capsys, monkeypatch, batch="b1"):
    monkeypatch.setenv("FUSC_DATA", str(store.root))
    capsys.readouterr()
    assert main(["files", batch]) == 0
    return capsys.readouterr().out.splitlines()


def test_a_plain_folder_with_an_archive_in_it_grows(place, capsys, monkeypatch):
    store, inbox, folder = place
    put(folder, "Patient0007.png", png(0))
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        archive.writestr("in/a.png", png(1))
        archive.writestr("in/notes.txt", b"dear Mrs CANARY")
        archive.writestr("../../out.png", png(2))
    inbox.register("b1", folder)
    _, told = ingest(store)
    assert {name: told[name] for name in ("files", "archives", "rejected", "layout", "changed_while_read")} == {
        "files": 4,
        "archives": 1,
        "rejected": 2,
        "layout": "plain",
        "changed_while_read": False,
    }
    assert (told["content/b_mode"], told["content/colour_flow"], told["images_not_in_data_set"]) == (2, 0, 0)
    lines = files_told(store, capsys, monkeypatch)
    assert any(line.startswith("more.zip!/in/notes.txt: not_an_image") for line in lines)
    assert any(line.startswith("more.zip!/../../out.png: unsafe_name") for line in lines)
    assert lines[-1] == "2 rejected"
    assert list((inbox.private / "unpacked").iterdir()) == []
    first = store.table("scans", "b1").to_pylist()

    put(folder, "new.png", png(3))
    result, told = ingest(store)
    assert cache_states(result) == {"scans": "miss", "rejected_scans": "miss"}
    assert (told["files"], told["files_reused"], told["dagster/row_count"]) == (5, 2, 3)
    kept = {row["image_id"]: row for row in store.table("scans", "b1").to_pylist()}
    assert all(kept[row["image_id"]] == row for row in first)
    assert set(cache_states(ingest(store)[0]).values()) == {"hit"}


def test_fetal_planes_db_is_known_by_its_table(place, capsys, monkeypatch):
    store, inbox, folder = place
    rows = [
        "Patient00001_Plane3_1_of_1;1;Fetal brain;Trans-ventricular;CANARY;Voluson E6;1 ",
        "Patient00002_Plane5_1_of_1;2;Fetal femur;Not A Brain;CANARY;Aloka;0 ",
        "Patient00003_Plane5_1_of_1;3;Fetal femur;Not A Brain;CANARY;Aloka;0 ",
        "Patient00004_Plane5_1_of_1;4;Fetal foot;Not A Brain;CANARY;Aloka;0 ",
    ]
    images = ["Patient00001_Plane3_1_of_1", "Patient00002_Plane5_1_of_1", "Patient00004_Plane5_1_of_1"]
    fetal_planes(folder, rows, images)
    inbox.register("b1", folder)
    _, told = ingest(store)
    assert (told["layout"], told["files"], told["rows_refused"], told["rejected"]) == ("fetal_planes_db", 3, 2, 2)
    assert told["images_not_in_data_set"] == 1
    found = {(r["own_label"], r["own_split"], r["machine"]) for r in store.table("scans", "b1").to_pylist()}
    assert found == {
        ("Fetal brain, trans-ventricular", "train", "ge voluson e6"),
        ("Fetal femur", "test", "hitachi"),
        (None, None, None),
    }
    table = "FETAL_PLANES_DB_data.csv"
    lines = files_told(store, capsys, monkeypatch)
    assert [line.split(":")[0] for line in lines if ":" in line] == [
        f"{table} line 4",
        f"{table} line 5",
        "Images/Patient00004_Plane5_1_of_1.png",
    ]
    assert "taken without a label" in lines[-2] and lines[-1] == "1 not in the data set"
    for path in store.root.rglob("*"):
        assert path.is_dir() or b"CANARY" not in path.read_bytes(), path

    # A corrected row makes the rows anew: what is known of unchanged images may have changed.
    rows[3] = rows[3].replace("Fetal foot", "Fetal femur")
    fetal_planes(folder, rows, images)
    _, told = ingest(store)
    assert (told["files_reused"], told["rows_refused"], told["images_not_in_data_set"]) == (0, 1, 0)
    labels = store.table("scans", "b1", ["own_label"]).column("own_label").to_pylist()
    assert sorted(labels) == ["Fetal brain, trans-ventricular", "Fetal femur", "Fetal femur"]


def test_a_folder_per_view_is_said_to_be_one(place, capsys, monkeypatch):
    store, inbox, folder = place
    put(folder, "train/Femur/1.png", png(0))
    put(folder, "test/4CH/2.png", png(1))
    monkeypatch.setenv("FUSC_DATA", str(store.root))
    monkeypatch.setenv("DAGSTER_HOME", str(store.root))
    assert main(["add-batch", str(folder), "--key", "b1", "--layout", "folder_per_view"]) == 0
    assert "4CH, Femur" in capsys.readouterr().out
    put(folder, "Doe Jane/3.png", png(2))  # a folder that came later: nobody said that its name is a label
    _, told = ingest(store)
    assert (told["layout"], told["images_not_in_data_set"]) == ("folder_per_view", 1)
    rows = store.table("scans", "b1").to_pylist()
    assert {(r["own_label"], r["own_split"]) for r in rows} == {("Femur", "train"), ("4CH", "test"), (None, None)}
    assert files_told(store, capsys, monkeypatch)[-2].startswith("Doe Jane/3.png: taken without a label")

    # Added again without a layout it keeps its own; another one must be asked for.
    assert main(["add-batch", str(folder), "--key", "b1"]) == 0
    assert inbox.layout("b1") == ("folder_per_view", ["4CH", "Femur"])
    assert main(["add-batch", str(folder), "--key", "b1", "--layout", "plain"]) == 0
    assert inbox.layout("b1") == ("plain", [])


@pytest.mark.parametrize(("layout", "message"), [("fetal_planes_db", "holds 0 files"), ("folder_per_view", "no file")])
def test_a_layout_that_does_not_fit_is_refused_at_once(place, capsys, monkeypatch, layout, message):
    store, inbox, folder = place
    put(folder, "x.png", png(0))
    monkeypatch.setenv("FUSC_DATA", str(store.root))
    assert main(["add-batch", str(folder), "--key", "b1", "--layout", layout]) == 1
    assert message in capsys.readouterr().err
    assert inbox.layout("b1") == ("auto", [])


def test_a_folder_that_changes_while_it_is_listed_and_names_that_are_no_text(place, monkeypatch):
    _, inbox, folder = place
    put(folder, "a.png", b"x")
    (folder / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
    inbox.register("b1", folder)
    before = inbox.listing("b1")
    assert inbox.listing("b1") == before

    walk = os.walk

    def walk_and_lose(top, **options):
        for parent, folders, names in walk(top, **options):
            (folder / "a.png").unlink(missing_ok=True)
            yield parent, folders, names

    monkeypatch.setattr(os, "walk", walk_and_lose)
    assert inbox.listing("b1") != before


def test_a_batch_that_grows_while_it_is_read_says_so(place, monkeypatch):
    store, inbox, folder = place
    put(folder, "a.png", png(0))
    inbox.register("b1", folder)
    listing = Inbox.listing

    def grow(self, batch):
        put(folder, "later.png", png(1))
        return listing(self, batch)

    monkeypatch.setattr(Inbox, "listing", grow)
    _, told = ingest(store)
    assert told["changed_while_read"] and told["files"] == 1
    monkeypatch.setattr(Inbox, "listing", listing)
    result, told = ingest(store)
    assert cache_states(result)["scans"] == "miss"
    assert (told["files"], told["files_reused"], told["changed_while_read"]) == (2, 1, False)


def test_the_registry_is_private(place):
    _, inbox, folder = place
    put(folder, "a.png", b"x")
    inbox.register("b1", folder, "folder_per_view", ["Femur"])
    entry = inbox.private / "batches" / "b1.json"
    assert os.stat(entry).st_mode & 0o777 == 0o600
    assert json.loads(entry.read_text()) == {"folder": str(folder), "layout": "folder_per_view", "views": ["Femur"]}


def test_the_corpus_carries_a_data_sets_own_labels_along(tmp_path, phantom_frames):
    store = Store(tmp_path / "data")
    own = [("Fetal femur", "train"), ("Other", "test"), (None, None)]
    fill_store(store, phantom_frames, own=[own[i % 3] for i in range(len(phantom_frames))])
    assert failures(materialise(store, "corpus")) == {}
    corpus = store.table("corpus").to_pandas()
    assert corpus["own_label"].value_counts().to_dict() == {"Fetal femur": 12, "Other": 12}
    assert set(corpus.loc[corpus["own_label"] == "Other", "own_split"]) == {"test"}
    assert store.require("corpus").metadata["with_own_label"] == 24


def test_the_corpus_is_made_without_the_scans(tmp_path, phantom_frames):
    """They may be deleted once the clean images stand: nothing but the own labels is missing then."""
    import shutil

    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames)
    shutil.rmtree(store.root / "assets" / "scans")
    assert failures(materialise(store, "corpus")) == {}
    assert store.table("corpus").column("own_label").null_count == 36
