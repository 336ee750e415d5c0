"""What `fusc run` makes for an external batch, and the mark that makes it one."""

import pytest

from fusc_pipeline import runner
from fusc_pipeline.build import build_definitions
from fusc_pipeline.cli import main
from fusc_pipeline.defs.materialize import PARTITIONED
from fusc_pipeline.errors import BadInput
from fusc_pipeline.resources.inbox import Inbox
from fusc_pipeline.resources.store import Recipe, Store
from fusc_pipeline_tests.conftest import fill_store
from fusc_pipeline_tests.defs.graph import materialise


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("FUSC_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (tmp_path / "planes").mkdir()
    (tmp_path / "planes" / "x.png").write_bytes(b"x")
    return tmp_path


def steps(batch: str, known=("planes",)) -> list:
    graph = build_definitions().resolve_asset_graph()
    keys = set(graph.materializable_asset_keys)
    found = runner._external_steps(batch, keys, runner._steps(batch, keys, known, graph))
    return [(partition, {key.to_user_string() for key in chosen}) for partition, chosen in found]


def published(store: Store, *assets: str) -> None:
    for asset in assets:
        with store.write(asset, None, Recipe("test"), {}):
            pass


def test_an_external_batch_trains_nothing(root, capsys):
    assert steps("planes") == [("planes", PARTITIONED - {"batch_assignments"})]
    assert "is external and waits: no model was trained yet" in capsys.readouterr().out
    store = Store(root / "data")
    published(store, "corpus")
    assert steps("planes")[1:] == [(None, {"external_purity"})]
    published(store, "model_in_service")
    assert steps("planes")[0] == ("planes", set(PARTITIONED))
    published(store, "cluster_report")
    assert steps("planes")[1:] == [(None, {"external_purity", "cluster_report"})]
    with pytest.raises(BadInput, match="there is no batch 'other'"):
        steps("other")


def test_all_batches_are_assigned_once_the_model_stands():
    graph = build_definitions().resolve_asset_graph()
    keys = set(graph.materializable_asset_keys)
    steps = runner._steps(None, keys, ["a", "b"], graph)
    found = [(partition, {key.to_user_string() for key in chosen}) for partition, chosen in steps]
    own = PARTITIONED - {"batch_assignments"}
    assert found[:2] == [("a", own), ("b", own)]
    assert found[2][0] is None and "model_in_service" in found[2][1] and not found[2][1] & PARTITIONED
    assert found[3:5] == [("a", {"batch_assignments"}), ("b", {"batch_assignments"})]
    assert set().union(*(chosen for _, chosen in found)) == {key.to_user_string() for key in keys}
    assert [p for p, _ in runner._steps("a", keys, ["a", "b"], graph)] == ["a"]


def test_the_mark_stays_until_it_is_taken_back(root, capsys):
    folder, inbox = str(root / "planes"), Inbox(root / "data")
    assert main(["add-batch", folder, "--key", "planes"]) == 0
    assert not inbox.is_external("planes")
    assert main(["add-batch", folder, "--key", "planes", "--external"]) == 0
    assert "external: no model is trained on it" in capsys.readouterr().out
    assert main(["add-batch", folder, "--key", "planes", "--layout", "plain"]) == 0
    assert inbox.is_external("planes") and inbox.layout("planes") == ("plain", [])
    assert main(["add-batch", folder, "--key", "planes", "--no-external"]) == 0
    assert not inbox.is_external("planes") and inbox.layout("planes") == ("plain", [])


def test_a_check_is_told_once_with_what_follows_from_it(small_store, capsys, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("fusc_pipeline.splitting.split_by_subject", lambda *_given: ["train", "test"] * 18)
        assert not runner._tell(materialise(small_store, 'key:"corpus" or key:"simclr_encoder"'), 1.0)
    lines = capsys.readouterr().out.splitlines()
    (told,) = [line for line in lines if "subjects_in_one_split" in line]
    assert "ERROR, nothing is built on it:" in told and "subjects are in both splits" in told
    assert not any("blocking asset check" in line for line in lines) and lines[-1] == "-- FAILED in 1.0 s"


def test_warnings_are_counted_and_fail_nothing(tmp_path, phantom_frames, capsys):
    store = Store(tmp_path / "data")
    fill_store(store, phantom_frames, labels=False)
    assert runner._tell(materialise(store, "corpus"), 1.0)
    assert capsys.readouterr().out.splitlines()[-1] == "-- done in 1.0 s, 1 warning (above)"
